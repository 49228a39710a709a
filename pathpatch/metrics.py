"""Metrics of the logits at END: one number for every prompt. The caller averages."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.prompts import Prompts

Metric: TypeAlias = Callable[[Tensor, Prompts], Tensor]  # (logits at END, prompts) -> [..., batch]


def logit_diff(
    logits: Float[Tensor, "*more batch vocab"], prompts: Prompts
) -> Float[Tensor, "*more batch"]:
    """Logit of the answer minus logit of the foil, in logits. Above 0: the answer is ahead.

    Source: Wang et al. 2023, section 2. Book: chapter 2.
    """
    return _pick(logits, prompts.answer) - _pick(logits, prompts.foil)


def answer_prob(
    logits: Float[Tensor, "*more batch vocab"], prompts: Prompts
) -> Float[Tensor, "*more batch"]:
    """Probability of the answer among all tokens, 0 to 1. Source: Meng et al. 2022, section 2."""
    return _pick(logits.softmax(-1), prompts.answer)


METRICS: dict[str, Metric] = {"logit_diff": logit_diff, "answer_prob": answer_prob}


def per_prompt(metric: Metric, logits: Tensor, prompts: Prompts) -> Tensor:
    """The metric of logits [..., batch, vocab], one number for every prompt: [..., batch].

    Raises: PathPatchError for a metric that gives anything else, such as a mean over the prompts,
    or a value that is not a finite number.
    """
    values, name = metric(logits, prompts), getattr(metric, "__name__", "given")
    came = f"shape {list(values.shape)}" if isinstance(values, Tensor) else repr(type(values))
    if came != f"shape {list(logits.shape[:-1])}":
        raise PathPatchError(
            f"the metric {name} returned {came} for logits of shape {list(logits.shape)}; it must "
            f"return a tensor with one number for each prompt, not averaged, of shape "
            f"{list(logits.shape[:-1])}"
        )
    if not torch.isfinite(values).all():
        at = int((~torch.isfinite(values)).nonzero()[0, -1])
        raise PathPatchError(
            f"the metric {name} is not a finite number on the prompt {prompts.pairs[at].clean!r}"
        )
    return values


def recovered(
    value: Float[Tensor, "*more batch"],
    corrupt: Float[Tensor, " batch"],
    clean: Float[Tensor, " batch"],
) -> Float[Tensor, "*more batch"]:
    """Where a metric lies between its value on the corrupt text (0) and the clean one (1).

    One number for each prompt. In noising clean is x_orig; in denoising it is x_new.

    Unbounded where the two are close; report it with the difference itself.
    """
    return (value - corrupt) / (clean - corrupt)


def _pick(values: Tensor, ids: Tensor) -> Tensor:
    index = ids.to(values.device).expand(values.shape[:-1]).unsqueeze(-1)  # [..., batch, 1]
    return values.gather(-1, index).squeeze(-1)
