"""Answers to exercises, as learners would write them: wrong ones with what the check must say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True)
class Answer:
    """phrase: words that the message about a wrong answer must contain. A right one has none."""

    exercise: str
    function: Function
    phrase: str = ""

    def __str__(self) -> str:
        return f"{self.exercise}-{self.function.__name__}"


ANSWERS: list[Answer] = []


def wrong(exercise: str, phrase: str) -> Callable[[Function], Function]:
    """Register a wrong answer."""

    def register(function: Function) -> Function:
        ANSWERS.append(Answer(exercise, function, phrase))
        return function

    return register


def right(exercise: str) -> Callable[[Function], Function]:
    """Register a right answer that is written differently from the solution."""
    return wrong(exercise, "")
