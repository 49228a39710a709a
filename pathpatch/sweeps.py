"""Sweeps: path patching of many senders over many prompts, one row for each sender."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pathpatch.effects import About, Effects
from pathpatch.errors import PathPatchError
from pathpatch.forward import run
from pathpatch.metrics import answer_prob, logit_diff
from pathpatch.models import Model, fingerprint
from pathpatch.nodes import LOGITS, Node, as_nodes, heads, mlps
from pathpatch.paths import check_nodes, path_patch
from pathpatch.prompts import Prompts

BLOCK = 32  # prompts in one forward pass
FROZEN = {"heads": heads, "heads+mlps": lambda model: heads(model) + mlps(model)}
Metric = Callable[[Tensor, Prompts], Tensor]


def sweep(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str] | None = None,
    metric: Metric = logit_diff,
) -> Effects:
    """Path patch each sender by itself to all receivers together, on every prompt.

    A sender is a node, or several joined by + that are patched together ("9.6@END+9.9@END").
    frozen: as in `path_patch`; by default all heads. For denoising give `prompts.swapped()`.
    Says the number of forward passes first and shows progress.

    Returns: Effects, the metric of every sender on every prompt.
    Raises: PathPatchError, before any pass, for nodes that do not exist or cannot do this.
    Book: chapters 5 and 7.
    """
    sets = [as_nodes(str(sender).split("+")) for sender in senders]
    targets = as_nodes(receivers)
    kept = heads(model) if frozen is None else as_nodes(frozen)
    if not sets:
        raise PathPatchError("the sweep has no senders")
    for nodes in sets:
        check_nodes(model, prompts.clean, nodes, targets)
    each = 1 if any(node.kind == "logits" for node in targets) else 2
    blocks = _blocks(prompts)
    base, patched = [], []
    with tqdm(total=len(blocks) * (2 + each * len(sets)), unit="pass", delay=2) as bar:
        for block in blocks:
            started = time.perf_counter()
            b = run(model, block.clean, reads=[*kept, LOGITS])  # pass B
            if not base:
                _say_cost(bar.total, time.perf_counter() - started)
            a = run(model, block.corrupt, reads=[node for nodes in sets for node in nodes])
            bar.update(2)
            base.append(metric(b[LOGITS], block))
            rows = []
            for nodes in sets:
                logits = path_patch(
                    model, block.clean, b, a, senders=nodes, receivers=targets, frozen=kept
                )
                rows.append(metric(logits, block))
                bar.update(each)
            patched.append(torch.stack(rows))
    about = About(
        model=model.cfg.model_name,
        model_sha256=fingerprint(model),
        receivers=[str(node) for node in targets],
        at=",".join(dict.fromkeys(str(node.at) for nodes in sets for node in nodes)),
        frozen=_frozen_name(model, kept),
        direction=prompts.direction,
        metric=getattr(metric, "__name__", "custom"),
        engine="literal",
    )
    names = ["+".join(map(str, nodes)) for nodes in sets]
    return Effects(names, _array(torch.cat(base)), _array(torch.cat(patched, 1)), about)


def baseline(model: Model, prompts: Prompts) -> dict[str, np.ndarray]:
    """What the model does before any patch, for each prompt.

    Returns: logit_diff and answer_prob on the clean run; answer_first, 1 where the answer's logit
    is above the foil's; logit_diff_corrupt, the same two names on the corrupt run.
    """
    found: dict[str, list[Tensor]] = {}
    for block in _blocks(prompts):
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
    return {name: _array(torch.cat(values)) for name, values in found.items()}


def ioi_walk(model: Model, prompts: Prompts) -> Iterator[tuple[str, Effects]]:
    """The IOI circuit backward from the logits: each step's strongest heads receive in the next.

    Yields a title and the Effects of every head: to the logits at END; to the queries at END of
    the three heads that step found; to the values and to the keys at S2 of the three that the
    second step found. Found means: patching it lowers the metric, and the 95 % interval excludes
    zero. Source: Wang et al. 2023, section 3. Book: chapter 7.
    """
    at_end, at_s2 = heads(model, "END"), heads(model, "S2")
    found = sweep(model, prompts, senders=at_end, receivers=["logits@END"])
    yield "heads to the logits", found
    movers = strongest(found, 3)
    found = sweep(model, prompts, senders=at_end, receivers=_inputs(movers, "q", "END"))
    yield f"heads to the queries of {', '.join(movers)}", found
    readers = strongest(found, 3)
    for kind, name in (("v", "values"), ("k", "keys")):
        found = sweep(model, prompts, senders=at_s2, receivers=_inputs(readers, kind, "S2"))
        yield f"heads to the {name} of {', '.join(readers)}", found


def strongest(effects: Effects, n: int) -> list[str]:
    """At most n heads ("9.6"): lowest mean change first, 95 % interval below zero.

    Raises: PathPatchError when there is none.
    """
    high = effects.interval(np.random.default_rng(0))[:, 1]
    order = [i for i in np.argsort(effects.mean(), kind="stable") if high[i] < 0][:n]
    if not order:
        raise PathPatchError("no head lowers the metric beyond its 95 % interval; try more prompts")
    return [effects.senders[i].split(".z")[0] for i in order]


def _inputs(names: list[str], kind: str, at: str) -> list[str]:
    return [f"{name}.{kind}@{at}" for name in names]


def _blocks(prompts: Prompts) -> list[Prompts]:
    return [prompts[i : i + BLOCK] for i in range(0, len(prompts), BLOCK)]


def _say_cost(passes: int, seconds: float) -> None:
    if passes * seconds > 2:
        minutes = passes * seconds / 60
        print(f"{passes} forward passes, about {minutes:.1f} minutes", file=sys.stderr)


def _frozen_name(model: Model, frozen: list[Node]) -> str:
    """`heads` or `heads+mlps` for the two usual choices, else the nodes."""
    for name, nodes in FROZEN.items():
        if set(nodes(model)) == set(frozen):
            return name
    return ",".join(map(str, frozen))


def _array(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
