"""Sweeps: path patching of many senders over many prompts, one row for each sender."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pathpatch.deltas import patch_all, supports, work
from pathpatch.effects import About, Effects
from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.forward import run
from pathpatch.ioi import templates
from pathpatch.metrics import Metric, answer_prob, logit_diff
from pathpatch.models import Model, fingerprint
from pathpatch.nodes import LOGITS, Node, as_nodes, heads, mlps
from pathpatch.paths import check_nodes, path_patch
from pathpatch.prompts import Prompts
from pathpatch.suffix import Sets

BLOCK = 32  # prompts in one forward pass
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
    sets = [as_nodes(str(sender).split("+")) for sender in senders]
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
    _say_cost(engine, model, prompts, sets, targets, kept)
    base, patched = [], []
    with tqdm(total=len(prompts) * len(sets), unit="patch", delay=2, desc=engine) as bar:
        for block in blocks(prompts):
            base.append(metric(run(model, block.clean, reads=[LOGITS])[LOGITS], block))
            values = base[-1].repeat(len(sets), 1)  # for the senders that no receiver can see
            for rows, found in ENGINES[engine](model, block, sets, targets, kept, metric):
                values[rows] = found
                bar.update(len(rows) * len(block))
            patched.append(values)
        bar.update(bar.total - bar.n)
    about = About(
        model=model.cfg.model_name,
        model_sha256=fingerprint(model),
        receivers=[str(node) for node in targets],
        at=",".join(dict.fromkeys(str(node.at) for nodes in sets for node in nodes)),
        frozen=name,
        direction=prompts.direction,
        metric=getattr(metric, "__name__", "custom"),
        engine=engine,
    )
    names = ["+".join(map(str, nodes)) for nodes in sets]
    before, after = as_array(torch.cat(base)), as_array(torch.cat(patched, 1))
    return Effects(names, before, after, about, templates(prompts))


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


def blocks(prompts: Prompts) -> list[Prompts]:
    return [prompts[i : i + BLOCK] for i in range(0, len(prompts), BLOCK)]


def _say_cost(
    engine: str, model: Model, prompts: Prompts, sets: Sets, targets: list[Node], kept: list[Node]
) -> None:
    """Before a run of over two seconds, say what it will take, by the time of one forward pass."""
    first, *others = blocks(prompts)
    started = time.perf_counter()
    run(model, first.clean, reads=[LOGITS])
    seconds = time.perf_counter() - started
    each = 1 if any(node.kind == "logits" for node in targets) else 2
    fast = engine == "fast"
    passes = 3 + (work(model, first, sets, targets, kept) if fast else each * len(sets))
    passes *= 1 + len(others)
    if passes * seconds > 2:
        print(
            f"{engine} engine: the work of about {passes:.0f} forward passes of up to {BLOCK} "
            f"prompts, about {passes * seconds / 60:.1f} minutes",
            file=sys.stderr,
        )


def _frozen_name(model: Model, frozen: list[Node]) -> str:
    """`heads` or `heads+mlps` for the two usual choices, else the nodes."""
    for name, nodes in FROZEN.items():
        if set(nodes(model)) == set(frozen):
            return name
    return ",".join(map(str, frozen))


def as_array(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
