"""Exercises for the book: in an editor, in a notebook, or at the terminal.

In a notebook, or at the end of an exercise file, `check(my_function)` says whether the function is
right and, if not, what it does instead; `hint("5.2")` gives the next hint. At the terminal,
`python -m exercises` lists everything that can be done.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["check", "hint"]


def check(function: Callable[..., Any]) -> bool:
    """Judge a function that you wrote, print what was found, and keep your progress.

    The name of the function says which exercise it is. Returns: whether it is right (for an open
    question: in good form).
    Raises: PathPatchError when no exercise has a function of that name.
    """
    from exercises import desk  # here, because a list of exercises should not wait for torch

    return desk.check(function)


def hint(name: str) -> None:
    """Print the next hint of an exercise: a question, then the approach, then a line of code."""
    from exercises import hints

    hints.hint(name)
