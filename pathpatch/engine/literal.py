"""The literal form of a sweep: the methods of the root, one set of nodes after another."""

from collections.abc import Iterator
from itertools import chain
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.spec import Corruption, Spec
from pathpatch.forward import Run, run
from pathpatch.metrics import per_prompt
from pathpatch.nodes import LOGITS, Model
from pathpatch.paths import passes_c_and_d
from pathpatch.prompts import Prompts
from pathpatch.tracing import EMBED, restored_runs

RowBatches: TypeAlias = Iterator[tuple[list[int], Float[Tensor, "sender batch"]]]


def literal_passes(model: Model, prompts: Prompts, spec: Spec) -> tuple[Tensor, RowBatches]:
    """The same as `patch_all` and `patch_nodes`, one set of nodes after another, by the root's own
    functions."""
    logits = (_restored if spec.corruption else _patched)(model, prompts, spec)
    base = per_prompt(spec.metric, next(logits), prompts)
    return base, (([i], per_prompt(spec.metric, x, prompts)[None]) for i, x in enumerate(logits))


def _patched(model: Model, prompts: Prompts, spec: Spec) -> Iterator[Float[Tensor, "batch vocab"]]:
    """The logits of pass B, then those of each set of senders: path patching, or without receivers
    activation patching."""
    b = run(model, prompts.orig, reads=[*spec.frozen, LOGITS])
    a = run(model, prompts.new, reads=[node for nodes in spec.senders for node in nodes])
    receivers = [LOGITS if node == LOGITS.everywhere() else node for node in spec.receivers]
    through = {"receivers": receivers, "frozen": spec.frozen}
    yield b[LOGITS]
    for nodes in spec.senders:
        if receivers:
            yield passes_c_and_d(model, a, b, senders=nodes, **through)
        else:
            patched = {node: a[node] for node in nodes}
            yield run(model, prompts.orig, reads=[LOGITS], writes=patched)[LOGITS]


def _restored(model: Model, prompts: Prompts, spec: Spec) -> Iterator[Float[Tensor, "batch vocab"]]:
    """The logits of the corrupted run, then those of each restored run."""
    clean = run(model, prompts.orig, reads=[EMBED, *chain(*spec.senders)])
    embeddings = corrupted(model, clean, prompts, spec.corruption)
    yield from restored_runs(model, clean, embeddings, spec.senders, spec.cut(model))


def corrupted(
    model: Model, clean: Run, prompts: Prompts, corruption: Corruption | None
) -> Float[Tensor, "batch pos d_model"]:
    """The token embeddings of the corrupted run: with noise, or those of x_new."""
    if corruption is None or corruption.noise is None:
        return run(model, prompts.new, reads=[EMBED])[EMBED]
    return clean[EMBED] + corruption.noise.to(clean[EMBED])
