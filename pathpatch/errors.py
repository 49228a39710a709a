"""The one error class of the library."""

from collections.abc import Iterable
from difflib import get_close_matches
from math import inf
from numbers import Integral, Real
from typing import Any

LARGEST = 2**63 - 1  # whole numbers above it stumble somewhere: in torch, as numbers of seconds


class PathPatchError(ValueError):
    """Something cannot be done. The message says what was asked, what came, what would work."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the closest known one, or all of them."""
    known = sorted(known)
    close = get_close_matches(str(word), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def as_list(values: Any, what: str) -> list[Any]:
    """The values as a list. Raises: PathPatchError for a string, whose letters nobody means, and
    for one value by itself."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        kind = "the string" if isinstance(values, str) else "one"
        said = "None" if values is None else f"{kind} {values!r}; use [{values!r}]"
        raise PathPatchError(f"expected a list of {what}, got {said}")
    return list(values)


def check_number(
    name: str, value: Any, low: float | int, high: float | int = inf, *, whole: bool = False
) -> Any:
    """The value; a whole number, such as numpy's, as an int.

    Raises: PathPatchError for what is not a finite (whole) number from low to high, and for one
    that would not fit into 64 bits.
    """
    kind = Integral if whole else Real
    right = isinstance(value, kind) and not isinstance(value, bool)
    if not right or not low <= value <= min(high, LARGEST):  # false for what is no number
        kinds = f"a {'whole ' * whole}number"
        span = f"from {low} on" if high == inf else f"from {low} to {high}"
        raise PathPatchError(f"{name} must be {kinds} {span}, got {value!r:.80}")
    return int(value) if whole else value
