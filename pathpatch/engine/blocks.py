"""Prompts some at a time, where the model is, and what is recorded about every table of results."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathpatch.effects import About, Effects
from pathpatch.metrics import Metric
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import Model, Sets, device_of
from pathpatch.prompts import Prompts
from pathpatch.uncertainty import clusters

BLOCK = 32  # prompts in one forward pass


def beside(model: Model, prompts: Prompts) -> Prompts:
    """The prompts with their tensors where the model is: there a metric finds both them and the
    logits. Prompts are made on the CPU, whatever the model."""
    device = device_of(model)
    return replace(
        prompts,
        orig=prompts.orig.to(device),
        new=prompts.new.to(device),
        answer=prompts.answer.to(device),
        foil=prompts.foil.to(device),
    )


def blocks(model: Model, prompts: Prompts) -> list[Prompts]:
    """The prompts in blocks for one forward pass each, where the model is."""
    there = beside(model, prompts)
    return [there[i : i + BLOCK] for i in range(0, len(prompts), BLOCK)]


def about(model: Model, prompts: Prompts, sets: Sets, metric: Metric, **asked: Any) -> About:
    """What was asked, of which model. Give also the receivers, the frozen nodes and the engine."""
    return About(
        model=model.cfg.model_name,
        model_sha256=fingerprint(model),
        prompts_sha256=prompts.sha256(),
        at=",".join(dict.fromkeys(str(node.at) for nodes in sets for node in nodes)),
        direction=prompts.direction,
        metric=getattr(metric, "__name__", "custom"),
        **asked,
    )


def as_array(values: Tensor) -> np.ndarray:
    """A float64 array in the computer's own memory. First moved: some devices have no float64."""
    return values.detach().cpu().double().numpy()


def table(
    model: Model,
    prompts: Prompts,
    sets: Sets,
    metric: Metric,
    parts: Iterable[tuple[Tensor, Tensor]],
    **asked: Any,
) -> Effects:
    """The effects, put together from the blocks of prompts.

    parts: for each block the metric before, [batch], and after patching each set, [set, batch].
    `asked` takes the receivers, the frozen nodes and the engine, as `About` has them.
    """
    base, patched = (as_array(torch.cat(part, -1)) for part in zip(*parts, strict=True))
    details = about(model, prompts, sets, metric, **asked)
    return Effects(sets, base, patched, details, clusters(prompts))
