"""What a call must hold to beside its result, and what of a result counts: no solution is here."""

from dataclasses import replace
from typing import Any

import torch

from exercises.checks.cases import Case
from exercises.room.plain import Array
from exercises.room.room import Reply


def by_hooks_alone(case: Case, reply: Reply) -> str:
    """5.4 is to be done without the library."""
    if all(one["by"] == "hooks" for one in reply.passes):
        return ""
    return (
        "The function calls pathpatch (`run`, `path_patch` or the like), which does the passes for "
        "you.\n  This exercise is to do them with model.run_with_cache and model.run_with_hooks."
    )


def up_to_end(case: Case, found: Any) -> Any:
    """The logits of the prompts; what a model says about padding is not asked for."""
    words = case.args[1] != 0
    if not isinstance(found, Array) or found.values.shape[:2] != words.shape:
        return found
    outside = (...,) + (None,) * (found.values.ndim - 2)
    return replace(found, values=torch.where(words[outside], found.values, 0))


RULES = {"path_patch_by_hooks": by_hooks_alone}
TIDIED = {"path_patch_by_hooks": up_to_end}
