"""Exercises for the book: in an editor, in a notebook, or at the terminal.

In a notebook, or at the end of an exercise file, `check(my_function)` says whether the function is
right and, if not, what it does instead; `hint("5.2")` gives the next hint. At the terminal,
`python -m exercises` lists everything that can be done.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["check", "hint"]


def check(function: Callable[..., Any]) -> Any:
    """Judge a function that you wrote, print what was found, and keep your progress.

    The name of the function says which exercise it is. It runs in a process of its own, so nothing
    that it changes or breaks stays. Returns: a verdict, which is true where the function is right
    (for an open question: in good form).
    Raises: PathPatchError when no exercise has a function of that name.
    """
    from exercises.room import process  # here: a list of exercises should not wait for torch

    process.warm()  # the process loads torch while this one does
    from exercises import desk

    return desk.check(function)


def hint(name: str) -> None:
    """Print the next hint of an exercise: a question, then the approach, then a line of code.

    After a check that failed, what often goes wrong comes first, by what one sees.
    """
    from exercises import hints

    hints.hint(name)
