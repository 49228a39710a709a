"""What checks the signatures of pathpatch while the tests run: types everywhere, shapes too."""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial
from types import FunctionType
from typing import Any, get_args

import jaxtyping
from beartype import beartype

JAXTYPED = jaxtyping.jaxtyped


def jaxtyped(thing: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    """The same as in jaxtyping, but only for what has a shape in its signature.

    What binds shapes to names takes thirty times as long as beartype alone, which sees the same
    mistakes where there are no shapes.
    """
    if thing is None:
        return partial(jaxtyped, typechecker=typechecker)
    if isinstance(thing, FunctionType) and not has_shape(*thing.__annotations__.values()):
        return typechecker(thing)
    made_here = is_dataclass(thing) and vars(thing).get("__init__")
    if made_here and not has_shape(*made_here.__annotations__.values()):
        thing.__init__ = typechecker(made_here)
        return thing
    return JAXTYPED(thing, typechecker=typechecker)


def has_shape(*hints: Any) -> bool:
    """Whether one of the hints is a shape or holds one. A single word names a class of ours."""
    return any(
        (isinstance(hint, str) and not hint.isidentifier())
        or (isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray))
        or has_shape(*(hint if isinstance(hint, list) else get_args(hint)))
        for hint in hints
    )


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype, except in functions that are made inside others: hooks, made anew at every run.

    They have no shapes in their signatures, and to wrap each of them took longer than to run it.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)


# The option --jaxtyping-packages (pyproject.toml) puts whatever stands under this name on every
# function and class of the library when it is imported: conftest.py imports this file before.
jaxtyping.jaxtyped = jaxtyped
