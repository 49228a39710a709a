"""The literal form of a sweep: the methods of the root, one set of nodes after another."""

from collections.abc import Iterator
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.spec import Spec
from pathpatch.forward import run
from pathpatch.metrics import per_prompt
from pathpatch.nodes import LOGITS, Model
from pathpatch.paths import passes_c_and_d
from pathpatch.prompts import Prompts

RowBatches: TypeAlias = Iterator[tuple[list[int], Float[Tensor, "sender batch"]]]


def literal_passes(model: Model, prompts: Prompts, spec: Spec) -> tuple[Tensor, RowBatches]:
    """The same as `patch_all`, one set of senders after another, by the root's own functions.

    Without receivers it is activation patching.
    """
    b = run(model, prompts.orig, reads=[*spec.frozen, LOGITS])
    a = run(model, prompts.new, reads=[node for nodes in spec.senders for node in nodes])
    receivers = [LOGITS if node == LOGITS.everywhere() else node for node in spec.receivers]
    through = {"receivers": receivers, "frozen": spec.frozen}

    def passes() -> RowBatches:
        for i, nodes in enumerate(spec.senders):
            if spec.receivers:
                logits = passes_c_and_d(model, a, b, senders=nodes, **through)
            else:
                patched = {node: a[node] for node in nodes}
                logits = run(model, prompts.orig, reads=[LOGITS], writes=patched)[LOGITS]
            yield [i], per_prompt(spec.metric, logits, prompts)[None]

    return per_prompt(spec.metric, b[LOGITS], prompts), passes()
