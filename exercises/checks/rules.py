"""What a call must hold to beside its result, and what of a result counts: no solution is here."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from exercises.checks.cases import Case
from exercises.checks.pairs import what_holds
from exercises.room.plain import Array
from exercises.room.room import Reply


def by_hooks_alone(case: Case, reply: Reply) -> str:
    """3.2 and 5.4 are to be done without the library."""
    if all(one["by"] == "hooks" for one in reply.passes):
        return ""
    return (
        "The function calls pathpatch (`run`, `path_patch` or the like), which does the passes for "
        "you.\n  This exercise is to do them with hooks of the model."
    )


def up_to_end(x_orig: int) -> Callable[[Case, Any], Any]:
    """The logits of the prompts; what a model says about padding is not asked for.

    x_orig: which argument of the call holds the tokens.
    """

    def tidy(case: Case, found: Any) -> Any:
        words = case.args[x_orig] != 0
        if not isinstance(found, Array) or found.values.shape[:2] != words.shape:
            return found
        outside = (...,) + (None,) * (found.values.ndim - 2)
        return replace(found, values=torch.where(words[outside], found.values, 0))

    return tidy


def in_order(case: Case, found: Any) -> Any:
    """The sets, and the heads of each, in any order."""
    if not isinstance(found, dict):
        return found
    return {way: _sorted(sets) for way, sets in found.items()}


def _sorted(sets: Any) -> Any:
    try:
        return sorted([sorted(heads) for heads in sets])
    except TypeError:
        return sets


def rows(case: Case, found: Any) -> Any:
    """Row numbers may come in an array as well as in a list."""
    if not isinstance(found, dict):
        return found
    return {key: _listed(rows) for key, rows in found.items()}


def _listed(rows: Any) -> Any:
    return list(rows.values.tolist()) if isinstance(rows, Array) and rows.values.ndim else rows


RULES = {"path_patch_by_hooks": by_hooks_alone, "patch_by_hooks": by_hooks_alone}
TIDIED = {
    "pairs_for": what_holds,
    "patch_by_hooks": up_to_end(3),
    "smallest_sets": in_order,
    "path_patch_by_hooks": up_to_end(1),
    "standing_out": rows,
}
