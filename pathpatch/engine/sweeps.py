"""Sweeps: path patching of many senders over many prompts, one row for each sender."""

import sys
from collections.abc import Iterable, MutableMapping
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from pathpatch.activation import check_sets
from pathpatch.effects import Array, Effects
from pathpatch.engine.blocks import about, as_array, blocks
from pathpatch.engine.cost import Plan, plan_spec
from pathpatch.engine.identity import identity
from pathpatch.engine.jobs import do_jobs, job_grid
from pathpatch.engine.spec import Spec, SweepOptions
from pathpatch.engine.store import Blocks
from pathpatch.forward import run
from pathpatch.metrics import Metric, answer_prob, logit_diff
from pathpatch.nodes import LOGITS, Model, Node, names
from pathpatch.prompts import Prompts
from pathpatch.uncertainty import clusters


def path_sweep(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str] | None = None,
    metric: Metric = logit_diff,
    options: SweepOptions | None = None,
) -> Effects:
    """Path patch each sender by itself to all receivers together, on every prompt.

    A sender is a node, or several joined by + that are patched together ("9.6@END+9.9@END").
    frozen: as in `path_patch`; by default all heads. For denoising give `prompts.swapped()`.
    options: engine, memory, folder and executor. What the fast engine cannot do (other frozen
    nodes, other model families) goes to the literal form; the result says which one ran.
    Says what it costs first, and shows progress.

    Returns: Effects, the metric of every sender on every prompt.
    Raises: PathPatchError, before any pass, for nodes that do not exist or cannot do this.
    Book: chapters 5 and 11.
    """
    options = options or SweepOptions()
    spec = Spec.of(model, prompts, senders, receivers, frozen, metric)
    return _announce_and_run(model, prompts, plan_spec(model, prompts, spec, options), options)


def activation_sweep(
    model: Model,
    prompts: Prompts,
    nodes: Iterable[Node | str],
    metric: Metric = logit_diff,
    options: SweepOptions | None = None,
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
    options, sets = options or SweepOptions(), check_sets(model, prompts.orig, nodes)
    spec = Spec(sets, [], [], "nothing", metric, engine="activation patching")
    return _announce_and_run(model, prompts, plan_spec(model, prompts, spec, options), options)


def _announce_and_run(
    model: Model, prompts: Prompts, planned: Plan, options: SweepOptions
) -> Effects:
    if planned.seconds > 2:
        print(planned, file=sys.stderr)
    return run_plan(model, prompts, planned, options)


def run_plan(model: Model, prompts: Prompts, planned: Plan, options: SweepOptions) -> Effects:
    """Do the jobs that are not done yet, and put the table together."""
    spec = planned.spec
    asked = {"receivers": [str(node) for node in spec.receivers], "frozen": spec.frozen_name}
    details = about(model, prompts, spec.senders, spec.metric, engine=spec.engine, **asked)
    rows = names(spec.senders)
    jobs = job_grid(len(rows), len(prompts), spec)
    done: MutableMapping[int, Array] = {}
    if options.folder:
        key = {**asdict(details), "senders": rows, "block": spec.block, "rows": spec.rows}
        key |= identity(model, prompts, spec.metric)
        shapes = [(1 + len(rows[some]), len(prompts[columns])) for some, columns in jobs]
        done = Blocks(options.folder, key, shapes)
    do_jobs(model, prompts, spec, jobs, done, options.executor)
    base, patched = np.empty(len(prompts)), np.empty((len(rows), len(prompts)))
    for i, (some, columns) in enumerate(jobs):
        base[columns], patched[some, columns] = done[i][0], done[i][1:]
    return Effects(rows, base, patched, details, clusters(prompts))


def baseline(model: Model, prompts: Prompts) -> dict[str, np.ndarray]:
    """What the model does before any patch, for each prompt.

    Returns: logit_diff and answer_prob on the clean run; answer_first, 1 where the answer's logit
    is above the foil's; logit_diff_corrupt, the same two names on the corrupt run.
    """
    found: dict[str, list[Tensor]] = {}
    for block in blocks(prompts):
        clean = run(model, block.orig, reads=[LOGITS])[LOGITS]
        corrupt = run(model, block.new, reads=[LOGITS])[LOGITS]
        difference = logit_diff(clean, block)
        for name, values in (
            ("logit_diff", difference),
            ("answer_first", (difference > 0).double()),
            ("answer_prob", answer_prob(clean, block)),
            ("logit_diff_corrupt", logit_diff(corrupt, block)),
        ):
            found.setdefault(name, []).append(values)
    return {name: as_array(torch.cat(values)) for name, values in found.items()}
