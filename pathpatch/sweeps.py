"""Sweeps: path patching of many senders over many prompts, one row for each sender."""

import sys
from collections.abc import Iterable, MutableMapping
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from pathpatch.cost import plan
from pathpatch.effects import About, Array, Effects
from pathpatch.forward import run
from pathpatch.ioi import templates
from pathpatch.jobs import as_array, do_jobs, grid
from pathpatch.metrics import Metric, answer_prob, logit_diff
from pathpatch.models import Model, fingerprint
from pathpatch.nodes import LOGITS, Node
from pathpatch.prompts import Prompts
from pathpatch.spec import How, Spec
from pathpatch.store import Blocks, prompts_sha256


def sweep(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str] | None = None,
    metric: Metric = logit_diff,
    how: How | None = None,
) -> Effects:
    """Path patch each sender by itself to all receivers together, on every prompt.

    A sender is a node, or several joined by + that are patched together ("9.6@END+9.9@END").
    frozen: as in `path_patch`; by default all heads. For denoising give `prompts.swapped()`.
    how: engine, memory, folder and executor. What the fast engine cannot do (other frozen nodes,
    other model families) goes to the literal form; the result says which one ran.
    Says what it costs first, and shows progress.

    Returns: Effects, the metric of every sender on every prompt.
    Raises: PathPatchError, before any pass, for nodes that do not exist or cannot do this.
    Book: chapters 5 and 11.
    """
    how = how or How()
    planned = plan(
        model,
        prompts,
        senders=senders,
        receivers=receivers,
        frozen=frozen,
        metric=metric,
        how=how,
    )
    if planned.seconds > 2:
        print(planned, file=sys.stderr)
    spec = planned.spec
    about = _about(model, prompts, spec)
    names = spec.names()
    key = {**asdict(about), "senders": names, "block": spec.block, "rows": spec.rows}
    done: MutableMapping[int, Array] = Blocks(how.folder, key) if how.folder else {}
    jobs = grid(len(names), len(prompts), spec)
    do_jobs(model, prompts, spec, jobs, done, how.executor)
    base, patched = np.empty(len(prompts)), np.empty((len(names), len(prompts)))
    for i, (rows, columns) in enumerate(jobs):
        base[columns], patched[rows, columns] = done[i][0], done[i][1:]
    return Effects(names, base, patched, about, templates(prompts))


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


def blocks(prompts: Prompts, size: int = 32) -> list[Prompts]:
    """The prompts, some at a time."""
    return [prompts[i : i + size] for i in range(0, len(prompts), size)]


def _about(model: Model, prompts: Prompts, spec: Spec) -> About:
    return About(
        model=model.cfg.model_name,
        model_sha256=fingerprint(model),
        prompts_sha256=prompts_sha256(prompts),
        receivers=[str(node) for node in spec.receivers],
        at=",".join(dict.fromkeys(str(node.at) for nodes in spec.senders for node in nodes)),
        frozen=spec.frozen_name,
        direction=prompts.direction,
        metric=getattr(spec.metric, "__name__", "custom"),
        engine=spec.engine,
    )
