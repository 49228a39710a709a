"""Prompts some at a time, and what is recorded about every table of results."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathpatch.effects import About, Effects
from pathpatch.metrics import Metric
from pathpatch.models.load import fingerprint
from pathpatch.nodes import Model, Sets, names
from pathpatch.prompts import Prompts
from pathpatch.uncertainty import clusters

BLOCK = 32  # prompts in one forward pass


def blocks(prompts: Prompts) -> list[Prompts]:
    return [prompts[i : i + BLOCK] for i in range(0, len(prompts), BLOCK)]


def about(model: Model, prompts: Prompts, sets: Sets, metric: Metric, **asked: Any) -> About:
    """What was asked, of which model. asked: receivers, frozen and engine."""
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
    return values.double().cpu().numpy()


def table(
    model: Model,
    prompts: Prompts,
    sets: Sets,
    metric: Metric,
    parts: Iterable[tuple[Tensor, Tensor]],
    **asked: Any,
) -> Effects:
    """Effects from the base and the patched values [set, batch] of every block of prompts.

    asked: receivers, frozen and engine.
    """
    base, patched = (as_array(torch.cat(part, -1)) for part in zip(*parts, strict=True))
    details = about(model, prompts, sets, metric, **asked)
    return Effects(names(sets), base, patched, details, clusters(prompts))
