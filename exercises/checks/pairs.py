"""What can be said of pairs of prompts, whatever names were drawn: what 2.1 is judged by.

No solution is here, so it stays where the chapter's check is withheld.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

from exercises.checks.cases import Case

MANY = 200  # pairs: with few names, whatever can happen by chance does
ORDERS = ("ABBA", "BABA")
FEW, VARIES = 3, "not the same in all pairs"


def what_holds(case: Case, found: Any) -> Any:
    """What can be said of the pairs, whatever names were drawn."""
    _, frame, names, n, _ = case.args
    try:
        read = [[_names_in(frame, text) for text in (clean, corrupt)] for clean, corrupt in found]
    except (TypeError, ValueError):
        return found
    if not all(one and other for one, other in read):
        odd = next(text for pair in found for text in pair if not _names_in(frame, text))
        return f"a prompt that is not the frame with three names: {odd!r}"
    said: dict[str, Any] = {"pairs": len(read)}
    for k, order in enumerate(ORDERS):
        of_order = read[k::2]
        said[f"{order}, clean"] = _all({_kind(clean) for clean, _ in of_order})
        said[f"{order}, clean / corrupt"] = _all({_kind(*pair) for pair in of_order})
    said["names that are not in the list"] = sum(
        name not in names for pair in read for side in pair for name in side
    )
    if n >= MANY:
        said["drawn evenly"] = _evenly(read, names)
        said["drawn for each pair alone"] = len({str(pair) for pair in read[::2]}) > 5
    return said


def _names_in(frame: str, text: Any) -> tuple[str, ...]:
    """The three names in the order of their numbers; nothing where it is not the frame."""
    pattern = re.sub(r"\\\{(\d)\\\}", r"(?P<n\1>\\w+)", re.escape(frame))
    match = re.fullmatch(pattern, text) if isinstance(text, str) else None
    return tuple(match[f"n{i}"] for i in range(3)) if match else ()


def _kind(*sides: Sequence[str]) -> str:
    """Prompts with letters for names, in the order in which they come."""
    letters = dict(zip(dict.fromkeys(chain(*sides)), "ABCDEF", strict=False))
    return " / ".join(" ".join(letters[name] for name in side) for side in sides)


def _all(kinds: set[str]) -> str:
    """The few kinds that there are; which of many came up would be chance."""
    return " or ".join(sorted(kinds)) if len(kinds) <= FEW else VARIES


def _evenly(read: list[list[tuple[str, ...]]], names: Sequence[str]) -> bool:
    """Whether each name comes about as often as the others at each place, in either prompt."""
    for side in (0, 1):
        for place in range(3):
            counts = Counter(pair[side][place] for pair in read)
            share = len(read) / len(names)
            if min(counts[name] for name in names) < share / 10:
                return False
    return True
