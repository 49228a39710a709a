"""Many patches on many prompts, block by block: the cost said first, a progress bar."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pathpatch.effects import About, Effects
from pathpatch.forward import run
from pathpatch.metrics import Metric
from pathpatch.models import Model, fingerprint
from pathpatch.nodes import LOGITS, Sets
from pathpatch.prompts import Prompts

BLOCK = 32  # prompts in one forward pass


def measure(
    model: Model,
    prompts: Prompts,
    sets: Sets,
    patch: Callable[[Prompts], Iterator[tuple[list[int], Tensor]]],
    metric: Metric,
    **asked: Any,
) -> Effects:
    """The metric before and after patching each set of nodes, for every prompt.

    patch: takes a block of prompts and yields the rows of some sets, and their metric
    [row, batch]. A row that it leaves out changes nothing. asked: receivers, frozen and engine.
    """
    base, patched = [], []
    with progress(len(prompts) * len(sets), asked["engine"]) as bar:
        for block in blocks(prompts):
            base.append(metric(run(model, block.clean, reads=[LOGITS])[LOGITS], block))
            values = base[-1].repeat(len(sets), 1)
            for rows, found in patch(block):
                values[rows] = found
                bar.update(len(rows) * len(block))
            patched.append(values)
        bar.update(bar.total - bar.n)
    details = about(model, sets, metric, direction=prompts.direction, **asked)
    return Effects(names(sets), as_array(torch.cat(base)), as_array(torch.cat(patched, 1)), details)


def blocks(prompts: Prompts) -> list[Prompts]:
    return [prompts[i : i + BLOCK] for i in range(0, len(prompts), BLOCK)]


def say_cost(model: Model, prompts: Prompts, what: str, passes: float) -> None:
    """Before a run of over two seconds, say what it will take, by the time of one forward pass.

    passes: forward passes for each block of prompts.
    """
    first, *others = blocks(prompts)
    started = time.perf_counter()
    run(model, first.clean, reads=[LOGITS])
    seconds = time.perf_counter() - started
    passes *= 1 + len(others)
    if passes * seconds > 2:
        print(
            f"{what}: the work of about {passes:.0f} forward passes of up to {BLOCK} "
            f"prompts, about {passes * seconds / 60:.1f} minutes",
            file=sys.stderr,
        )


def progress(total: int, what: str) -> Any:
    """A progress bar, shown when the work takes more than two seconds."""
    return tqdm(total=total, unit="patch", delay=2, desc=what)


def about(model: Model, sets: Sets, metric: Metric, **asked: Any) -> About:
    """What was asked, of which model. asked: receivers, frozen, direction and engine."""
    return About(
        model=model.cfg.model_name,
        model_sha256=fingerprint(model),
        at=",".join(dict.fromkeys(str(node.at) for nodes in sets for node in nodes)),
        metric=getattr(metric, "__name__", "custom"),
        **asked,
    )


def names(sets: Sets) -> list[str]:
    return ["+".join(map(str, nodes)) for nodes in sets]


def as_array(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
