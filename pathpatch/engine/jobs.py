"""The blocks of a sweep: done here, or by the workers of an executor."""

import functools
import threading
from collections.abc import Callable, MutableMapping
from concurrent.futures import Executor, as_completed
from typing import Any, TypeAlias

import torch

from pathpatch.effects import Array
from pathpatch.engine.blocks import as_array, beside
from pathpatch.engine.fast import patch_all
from pathpatch.engine.identity import config, digest, library
from pathpatch.engine.literal import literal_passes
from pathpatch.engine.progress import progress
from pathpatch.engine.spec import Spec
from pathpatch.engine.total import patch_nodes
from pathpatch.errors import PathPatchError
from pathpatch.models.load import load_model
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import Model, device_of
from pathpatch.prompts import Prompts

Job: TypeAlias = tuple[slice, slice]  # some senders and some prompts
Tick: TypeAlias = Callable[[int], object]
_ONE_AT_A_TIME = threading.Lock()  # hooks sit on the model: threads that share it must take turns


class Parcel:
    """A model that travels to another process by its name, and is loaded there once, when used.

    It is loaded in the same dtype and on the same device ("cuda:0"), which the worker must have.

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
            model, device = self.model, str(device_of(self.model))
            made_of = (fingerprint(model), digest(config(model)), library())
            self._recipe = (model.cfg.model_name, model.W_E.dtype, device, *made_of)
        return Parcel, (None, self._recipe)


@functools.lru_cache(maxsize=1)
def _load_same(
    name: str, dtype: torch.dtype, device: str, sha256: str, setting: str, versions: str
) -> Model:
    if library() != versions:
        raise PathPatchError(
            f"a worker has {library()}, the sweep {versions}; install the same on both sides"
        )
    model = load_model(name, dtype, device)
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
    """The jobs of a sweep: all senders and all prompts, each in blocks."""
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
    quiet: bool = False,
) -> None:
    """Do the jobs that are not done yet, here or on the workers of the executor."""
    todo = {
        i: (prompts[columns], spec.part(rows, columns))
        for i, (rows, columns) in enumerate(jobs)
        if i not in done
    }
    total = len(prompts) * len(spec.senders)
    left = sum(len(part) * len(task.senders) for part, task in todo.values())
    words: dict[str, Any] = {"unit": "patch", "desc": spec.said}
    with progress(total=total, initial=total - left, disable=quiet, **words) as bar:
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


@torch.no_grad()  # the weights of an adapter want gradients
def compute(parcel: Parcel, prompts: Prompts, spec: Spec, tick: Tick = int) -> Array:
    """Do one job.

    tick: is told how many patches are done, some at a time.

    Returns: [1 + sender, batch], the metric of pass B and that of every sender.
    """
    with _ONE_AT_A_TIME:
        fast = patch_all if spec.receivers else patch_nodes
        passes = fast if spec.engine == "fast" else literal_passes
        base, found = passes(parcel.model, beside(parcel.model, prompts), spec)
        # [1 + sender, batch]: the value of pass B stays for senders that no receiver can see.
        values = base.repeat(1 + len(spec.senders), 1)
        told = 0
        for rows, part in found:
            values[[1 + row for row in rows]] = part
            told += part.numel()
            tick(part.numel())
        tick(values[1:].numel() - told)
    return as_array(values)
