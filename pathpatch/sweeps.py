"""Sweeps: path patching of many senders over many prompts, one row for each sender."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from pathpatch.blocks import as_array, blocks, measure, say_cost
from pathpatch.deltas import patch_all, supports, work
from pathpatch.effects import Effects
from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.forward import run
from pathpatch.metrics import Metric, answer_prob, logit_diff
from pathpatch.models import Model
from pathpatch.nodes import LOGITS, Node, Sets, as_nodes, heads, mlps, node_set
from pathpatch.paths import check_nodes, path_patch
from pathpatch.prompts import Prompts

FROZEN: dict[str, Callable[[Model], list[Node]]] = {
    "heads": heads,
    "heads+mlps": lambda model: heads(model) + mlps(model),
}


def sweep(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str] | None = None,
    metric: Metric = logit_diff,
    engine: str = "fast",
) -> Effects:
    """Path patch each sender by itself to all receivers together, on every prompt.

    A sender is a node, or several joined by + that are patched together ("9.6@END+9.9@END").
    frozen: as in `path_patch`; by default all heads. For denoising give `prompts.swapped()`.
    engine: "fast", or "literal" for the four passes of `path_patch`, which also does what the
    fast one cannot (other frozen nodes, other model families); the result says which one ran.
    Says what it costs first, and shows progress.

    Returns: Effects, the metric of every sender on every prompt.
    Raises: PathPatchError, before any pass, for nodes that do not exist or cannot do this.
    Book: chapter 5.
    """
    sets = [node_set(sender) for sender in senders]
    targets = as_nodes(receivers)
    kept = heads(model) if frozen is None else as_nodes(frozen)
    if not sets:
        raise PathPatchError("the sweep has no senders")
    for nodes in sets:
        check_nodes(model, prompts.clean, nodes, targets)
    if engine not in ENGINES:
        raise PathPatchError(f"unknown engine {engine!r}; {did_you_mean(engine, ENGINES)}")
    name = _frozen_name(model, kept)
    if name not in FROZEN or not supports(model):
        engine = "literal"
    passes = _passes(engine, model, prompts, sets, targets, kept)
    say_cost(model, prompts, f"{engine} engine", passes)
    return measure(
        model,
        prompts,
        sets,
        lambda block: ENGINES[engine](model, block, sets, targets, kept, metric),
        metric,
        receivers=[str(node) for node in targets],
        frozen=name,
        engine=engine,
    )


def literal_passes(
    model: Model,
    prompts: Prompts,
    sets: Sets,
    receivers: Sequence[Node],
    frozen: Sequence[Node],
    metric: Metric,
) -> Iterator[tuple[list[int], Tensor]]:
    """The four passes for one sender after another. Yields: the row, and its metric [1, batch]."""
    b = run(model, prompts.clean, reads=frozen)
    a = run(model, prompts.corrupt, reads=[node for nodes in sets for node in nodes])
    for i, nodes in enumerate(sets):
        logits = path_patch(
            model, prompts.clean, b, a, senders=nodes, receivers=receivers, frozen=frozen
        )
        yield [i], metric(logits, prompts)[None]


Engine: TypeAlias = Callable[..., Iterator[tuple[list[int], Tensor]]]
ENGINES: dict[str, Engine] = {"fast": patch_all, "literal": literal_passes}


def baseline(model: Model, prompts: Prompts) -> dict[str, np.ndarray]:
    """What the model does before any patch, for each prompt.

    Returns: logit_diff and answer_prob on the clean run; answer_first, 1 where the answer's logit
    is above the foil's; logit_diff_corrupt, the same two names on the corrupt run.
    """
    found: dict[str, list[Tensor]] = {}
    for block in blocks(prompts):
        clean = run(model, block.clean, reads=[LOGITS])[LOGITS]
        corrupt = run(model, block.corrupt, reads=[LOGITS])[LOGITS]
        difference = logit_diff(clean, block)
        for name, values in (
            ("logit_diff", difference),
            ("answer_first", (difference > 0).double()),
            ("answer_prob", answer_prob(clean, block)),
            ("logit_diff_corrupt", logit_diff(corrupt, block)),
        ):
            found.setdefault(name, []).append(values)
    return {name: as_array(torch.cat(values)) for name, values in found.items()}


def _passes(
    engine: str, model: Model, prompts: Prompts, sets: Sets, targets: list[Node], kept: list[Node]
) -> float:
    """What a sweep costs, in forward passes for each block of prompts."""
    if engine == "fast":
        return 3 + work(model, blocks(prompts)[0], sets, targets, kept)
    return 3.0 + (1 if any(node.kind == "logits" for node in targets) else 2) * len(sets)


def _frozen_name(model: Model, frozen: list[Node]) -> str:
    """`heads` or `heads+mlps` for the two usual choices, else the nodes."""
    for name, nodes in FROZEN.items():
        if set(nodes(model)) == set(frozen):
            return name
    return ",".join(map(str, frozen))
