"""The blocks of a sweep, done here or by the workers of an executor."""

import threading
from collections.abc import Callable, MutableMapping
from concurrent.futures import Executor, as_completed
from dataclasses import replace
from typing import TypeAlias

from torch import Tensor
from tqdm import tqdm

from pathpatch.activation import activation_patch
from pathpatch.blocks import as_array
from pathpatch.deltas import Found, patch_all
from pathpatch.effects import Array
from pathpatch.forward import run
from pathpatch.models import Model, Parcel
from pathpatch.nodes import LOGITS
from pathpatch.paths import path_patch
from pathpatch.prompts import Prompts
from pathpatch.spec import Spec

Job: TypeAlias = tuple[slice, slice]  # some senders and some prompts
Tick: TypeAlias = Callable[[int], object]
_ONE_AT_A_TIME = threading.Lock()  # hooks sit on the model: threads that share it must take turns


def job_grid(senders: int, prompts: int, spec: Spec) -> list[Job]:
    """The grid of senders and prompts in blocks."""
    rows, columns = (
        [slice(i, min(i + size, length)) for i in range(0, length, size)]
        for length, size in ((senders, spec.at_once), (prompts, spec.block))
    )
    return [(row, column) for column in columns for row in rows]


def do_jobs(
    model: Model,
    prompts: Prompts,
    spec: Spec,
    jobs: list[Job],
    done: MutableMapping[int, Array],
    executor: Executor | None,
) -> None:
    """Do the jobs that are not done yet, here or on the workers of the executor."""
    todo = {
        i: (prompts[columns], replace(spec, senders=spec.senders[rows]))
        for i, (rows, columns) in enumerate(jobs)
        if i not in done
    }
    total = len(prompts) * len(spec.senders)
    left = sum(len(part) * len(task.senders) for part, task in todo.values())
    bar = tqdm(total=total, initial=total - left, unit="patch", delay=2, desc=spec.engine)
    with bar:
        if executor is None:
            for i, (part, task) in todo.items():
                done[i] = compute(Parcel(model), part, task, bar.update)
            return
        parcel = Parcel(model)
        futures = {executor.submit(compute, parcel, *job): i for i, job in todo.items()}
        try:
            for future in as_completed(futures):
                done[futures[future]] = future.result()
                bar.update(done[futures[future]][1:].size)
        finally:
            for future in futures:
                future.cancel()


def compute(parcel: Parcel, prompts: Prompts, spec: Spec, tick: Tick = int) -> Array:
    """One job. Returns: [1 + sender, batch], the metric of pass B and that of every sender."""
    with _ONE_AT_A_TIME:
        passes = patch_all if spec.engine == "fast" else literal_passes
        base, found = passes(parcel.model, prompts, spec)
        values = base.repeat(1 + len(spec.senders), 1)  # stays for senders no receiver can see
        told = 0
        for rows, part in found:
            values[[1 + row for row in rows]] = part
            told += part.numel()
            tick(part.numel())
        tick(values[1:].numel() - told)
    return as_array(values)


def literal_passes(model: Model, prompts: Prompts, spec: Spec) -> tuple[Tensor, Found]:
    """As `patch_all`, one set after another: path patching, or, without receivers, activation's."""
    b = run(model, prompts.clean, reads=[*spec.frozen, LOGITS])
    a = run(model, prompts.corrupt, reads=[node for nodes in spec.senders for node in nodes])
    receivers = [LOGITS if node == LOGITS.everywhere() else node for node in spec.receivers]
    through = {"receivers": receivers, "frozen": spec.frozen}

    def passes() -> Found:
        for i, nodes in enumerate(spec.senders):
            if spec.receivers:
                logits = path_patch(model, prompts.clean, b, a, senders=nodes, **through)
            else:
                logits = activation_patch(model, prompts.clean, a, nodes=nodes)
            yield [i], spec.metric(logits, prompts)[None]

    return spec.metric(b[LOGITS], prompts), passes()
