"""The blocks of a sweep: done here, or by the workers of an executor."""

import functools
import threading
from collections.abc import Callable, MutableMapping
from concurrent.futures import Executor, as_completed
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from tqdm import tqdm

from pathpatch.activation import activation_patch
from pathpatch.effects import Array
from pathpatch.engine.blocks import as_array
from pathpatch.engine.fast import RowBatches, patch_all
from pathpatch.engine.identity import config, digest, library
from pathpatch.engine.spec import Spec
from pathpatch.errors import PathPatchError
from pathpatch.forward import run
from pathpatch.metrics import per_prompt
from pathpatch.models.load import fingerprint, load_model
from pathpatch.nodes import LOGITS, Model
from pathpatch.paths import path_patch
from pathpatch.prompts import Prompts

Job: TypeAlias = tuple[slice, slice]  # some senders and some prompts
Tick: TypeAlias = Callable[[int], object]
_ONE_AT_A_TIME = threading.Lock()  # hooks sit on the model: threads that share it must take turns


class Parcel:
    """A model that travels to another process by its name, and is loaded there once, when used.

    Raises: PathPatchError, there, when the name does not bring the same weights and configuration,
    or the versions of what computes differ.
    """

    def __init__(self, model: Model = None, recipe: tuple[Any, ...] = ()) -> None:
        self._model, self._recipe = model, recipe

    @property
    def model(self) -> Model:
        return _load_same(*self._recipe) if self._model is None else self._model

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._recipe:
            cfg = self.model.cfg
            made_of = (fingerprint(self.model), digest(config(self.model)), library())
            self._recipe = (cfg.model_name, cfg.dtype, *made_of)
        return Parcel, (None, self._recipe)


@functools.lru_cache(maxsize=1)
def _load_same(name: str, dtype: torch.dtype, sha256: str, setting: str, versions: str) -> Model:
    if library() != versions:
        raise PathPatchError(
            f"a worker has {library()}, the sweep {versions}; install the same on both sides"
        )
    model = load_model(name, dtype)
    for what, same in (
        ("other weights", fingerprint(model) == sha256),
        ("another configuration", digest(config(model)) == setting),
    ):
        if not same:
            raise PathPatchError(
                f"a worker loads {name!r} and gets {what} than the sweep was asked about; "
                f"save the model into a folder and load it from there, on both sides"
            )
    return model


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
            yield [i], per_prompt(spec.metric, logits, prompts)[None]

    return per_prompt(spec.metric, b[LOGITS], prompts), passes()
