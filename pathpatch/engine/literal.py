"""The literal form of a sweep: the methods of the root, one set of nodes after another."""

from collections.abc import Iterator
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from pathpatch.activation import activation_patch
from pathpatch.engine.spec import Spec
from pathpatch.forward import run
from pathpatch.nodes import LOGITS, Model
from pathpatch.paths import path_patch
from pathpatch.prompts import Prompts

RowBatches: TypeAlias = Iterator[tuple[list[int], Float[Tensor, "sender batch"]]]


def literal_passes(model: Model, prompts: Prompts, spec: Spec) -> tuple[Tensor, RowBatches]:
    """As `patch_all`, one set after another: path patching, or, without receivers, activation's."""
    b = run(model, prompts.orig, reads=[*spec.frozen, LOGITS])
    a = run(model, prompts.new, reads=[node for nodes in spec.senders for node in nodes])
    receivers = [LOGITS if node == LOGITS.everywhere() else node for node in spec.receivers]
    through = {"receivers": receivers, "frozen": spec.frozen}

    def passes() -> RowBatches:
        for i, nodes in enumerate(spec.senders):
            if spec.receivers:
                logits = path_patch(model, prompts.orig, b, a, senders=nodes, **through)
            else:
                logits = activation_patch(model, prompts.orig, a, nodes=nodes)
            yield [i], spec.metric(logits, prompts)[None]

    return spec.metric(b[LOGITS], prompts), passes()
