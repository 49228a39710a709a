"""The one error class of the library."""

from collections.abc import Iterable
from difflib import get_close_matches


class PathPatchError(ValueError):
    """Something cannot be done. The message says what was asked, what came, what would work."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the closest known one, or all of them."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
