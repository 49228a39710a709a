"""Sweeps: path or activation patching of many nodes over many prompts, one row for each."""

import sys
from collections.abc import Iterable, MutableMapping
from dataclasses import asdict
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from pathpatch.effects import Array, Effects
from pathpatch.engine.blocks import about, as_array, blocks
from pathpatch.engine.cost import plan_spec
from pathpatch.engine.identity import identity, numbers
from pathpatch.engine.jobs import do_jobs, job_grid
from pathpatch.engine.spec import Spec, SweepOptions, check_sets
from pathpatch.engine.store import Blocks, resized
from pathpatch.forward import run
from pathpatch.metrics import Metric, answer_prob, logit_diff
from pathpatch.models.devices import HALF
from pathpatch.nodes import LOGITS, Entries, Model, Node, names
from pathpatch.prompts import Prompts
from pathpatch.uncertainty import clusters


def path_sweep(
    model: Model,
    prompts: Prompts,
    *,
    senders: Entries,
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str] | None = None,
    metric: Metric = logit_diff,
    options: SweepOptions | None = None,
) -> Effects:
    """Path patch each sender by itself to all receivers together, on every prompt.

    A sender is a node, or several that are patched together: "9.6@END+9.9@END", or a list of them.
    frozen: as in `path_patch`; by default all heads. For denoising give `prompts.swapped()`.
    options: how to compute it. What the fast engine cannot do (other frozen nodes, other model
    families) goes to the literal form; the result says which one ran.
    The sweep says first what it costs, if that is over two seconds, and then shows progress.

    Returns: Effects, the metric of every sender on every prompt.
    Raises: PathPatchError, before any pass, for nodes that do not exist or cannot do this.
    Book: chapters 5 and 11.
    """
    spec = Spec.of(model, prompts, senders, receivers, frozen, metric)
    return run_sweep(model, prompts, spec, SweepOptions.of(options))


def activation_sweep(
    model: Model,
    prompts: Prompts,
    *,
    nodes: Entries,
    metric: Metric = logit_diff,
    options: SweepOptions | None = None,
) -> Effects:
    """Patch each node by itself into the run on x_orig, with its value on x_new, on every prompt.

    An entry is a node, or several that are patched together: "9.6@END+9.9@END", or a list of them;
    `grid` lists all nodes of a kind. For denoising give `prompts.swapped()`. options: as in
    `path_sweep`; the fast engine runs only what comes after the nodes, in layers and positions. The
    sweep says first what it costs, if that is over two seconds, and then shows progress.

    Returns: Effects, the metric of every entry on every prompt. It names no receivers: every
    reader of a node sees its new value.
    Raises: PathPatchError, before any pass, for nodes that do not exist.
    Book: chapters 3 and 11.
    """
    sets = check_sets(model, prompts.orig, nodes)
    spec = Spec(sets, [], [], "nothing", metric)
    return run_sweep(model, prompts, spec, SweepOptions.of(options))


def run_sweep(model: Model, prompts: Prompts, spec: Spec, options: SweepOptions) -> Effects:
    """Say what it costs, do the jobs that are not done yet, and put the table together."""
    planned = plan_spec(model, prompts, spec, options)
    if planned.seconds > 2 and not options.quiet:
        print(planned, file=sys.stderr)
    spec = resized(planned.spec, options.folder) if options.folder else planned.spec
    if spec.engine == "fast":
        say_rounding(model)
    asked = {"receivers": [str(node) for node in spec.receivers], "frozen": spec.frozen_name}
    details = about(model, prompts, spec.senders, spec.metric, engine=spec.said, **asked)
    rows = names(spec.senders)
    jobs = job_grid(len(rows), len(prompts), spec)
    done: MutableMapping[int, Array] = {}
    if options.folder:
        key = {**asdict(details), "senders": rows, "block": spec.block, "rows": spec.rows}
        key |= identity(model, prompts, spec.metric, options.identity)
        key |= {"noise": numbers(spec.corruption.noise)} if spec.corruption else {}
        shapes = [(1 + len(rows[some]), len(prompts[columns])) for some, columns in jobs]
        done = Blocks(options.folder, key, shapes)
    do_jobs(model, prompts, spec, jobs, done, options.executor, options.quiet)
    base, patched = np.empty(len(prompts)), np.empty((len(rows), len(prompts)))
    for i, (some, columns) in enumerate(jobs):
        base[columns], patched[some, columns] = done[i][0], done[i][1:]
    return Effects(spec.senders, base, patched, details, clusters(prompts), seed=options.seed)


def say_rounding(model: Model) -> None:
    """Say, once for each model in half precision, that the engines differ there, and the remedy."""
    dtype = model.W_E.dtype
    if dtype in HALF and model not in _told:
        _told.add(model)
        print(
            f"in {str(dtype).removeprefix('torch.')} the fast and the literal engine round "
            f"differently (by up to 0.24 logits in a model of 8 billion weights); for the numbers "
            f"of the literal passes say engine='literal', for exact ones load it in float32",
            file=sys.stderr,
        )


_told: WeakSet[Model] = WeakSet()


def baseline(model: Model, prompts: Prompts) -> dict[str, np.ndarray]:
    """What the model does before any patch, for each prompt.

    Returns: logit_diff and answer_prob on x_orig; answer_first, 1 where the answer's logit is
    above the foil's there; logit_diff_new, the logit difference of the same two words on x_new.
    """
    found: dict[str, list[Tensor]] = {}
    for block in blocks(model, prompts):
        b = run(model, block.orig, reads=[LOGITS])[LOGITS]
        a = run(model, block.new, reads=[LOGITS])[LOGITS]
        difference = logit_diff(b, block)
        for name, values in (
            ("logit_diff", difference),
            ("answer_first", (difference > 0).to(difference.dtype)),
            ("answer_prob", answer_prob(b, block)),
            ("logit_diff_new", logit_diff(a, block)),
        ):
            found.setdefault(name, []).append(values)
    return {name: as_array(torch.cat(values)) for name, values in found.items()}
