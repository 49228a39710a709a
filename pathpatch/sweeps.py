"""Sweeps: path patching of many senders over many prompts, one row for each sender."""

import sys
from collections.abc import Iterable, MutableMapping
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from pathpatch.activation import check_sets
from pathpatch.blocks import about, as_array, blocks
from pathpatch.cost import Plan, plan_spec
from pathpatch.effects import Array, Effects
from pathpatch.forward import run
from pathpatch.ioi import templates
from pathpatch.jobs import do_jobs, job_grid
from pathpatch.metrics import Metric, answer_prob, logit_diff
from pathpatch.models import Model
from pathpatch.nodes import LOGITS, Node
from pathpatch.prompts import Prompts
from pathpatch.spec import How, Spec, names
from pathpatch.store import Blocks


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
    spec = Spec.ask(model, prompts, senders, receivers, frozen, metric)
    return _say_and_measure(model, prompts, plan_spec(model, prompts, spec, how), how)


def activation_sweep(
    model: Model,
    prompts: Prompts,
    nodes: Iterable[Node | str],
    metric: Metric = logit_diff,
    how: How | None = None,
) -> Effects:
    """Patch each node by itself into the clean run, on every prompt, from the corrupt run.

    An entry is a node, or several joined by + that are patched together ("9.6@END+9.9@END");
    `grid` lists all nodes of a kind. For denoising give `prompts.swapped()`. Says what it costs
    first, and shows progress.

    Returns: Effects, the metric of every entry on every prompt. It names no receivers: every
    reader of a node sees its new value.
    Raises: PathPatchError, before any pass, for nodes that do not exist.
    Book: chapter 3.
    """
    how, sets = how or How(), check_sets(model, prompts.clean, nodes)
    spec = Spec(sets, [], [], "nothing", metric, engine="activation patching")
    return _say_and_measure(model, prompts, plan_spec(model, prompts, spec, how), how)


def _say_and_measure(model: Model, prompts: Prompts, planned: Plan, how: How) -> Effects:
    if planned.seconds > 2:
        print(planned, file=sys.stderr)
    return measure(model, prompts, planned, how)


def measure(model: Model, prompts: Prompts, planned: Plan, how: How) -> Effects:
    """Do the jobs that are not done yet, and put the table together."""
    spec = planned.spec
    asked = {"receivers": [str(node) for node in spec.receivers], "frozen": spec.frozen_name}
    details = about(model, prompts, spec.senders, spec.metric, engine=spec.engine, **asked)
    rows = names(spec.senders)
    key = {**asdict(details), "senders": rows, "block": spec.block, "rows": spec.rows}
    done: MutableMapping[int, Array] = Blocks(how.folder, key) if how.folder else {}
    jobs = job_grid(len(rows), len(prompts), spec)
    do_jobs(model, prompts, spec, jobs, done, how.executor)
    base, patched = np.empty(len(prompts)), np.empty((len(rows), len(prompts)))
    for i, (some, columns) in enumerate(jobs):
        base[columns], patched[some, columns] = done[i][0], done[i][1:]
    return Effects(rows, base, patched, details, templates(prompts))


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
