"""What checks the shapes in the signatures of pathpatch while the tests run."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype, except in functions that are made inside others: hooks, made anew at every run.

    They have no shapes in their signatures, and to wrap each of them took longer than to run it.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)
