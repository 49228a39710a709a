"""Metrics of the logits at END: one number for every prompt. The caller averages."""

from collections.abc import Callable
from typing import Any, TypeAlias

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
    _check(logits, prompts)
    return _pick(logits, prompts.answer) - _pick(logits, prompts.foil)


def answer_prob(
    logits: Float[Tensor, "*more batch vocab"], prompts: Prompts
) -> Float[Tensor, "*more batch"]:
    """Probability of the answer among all tokens, 0 to 1. Source: Meng et al. 2022, section 2."""
    _check(logits, prompts)
    return _pick(logits.softmax(-1), prompts.answer)


METRICS: dict[str, Metric] = {"logit_diff": logit_diff, "answer_prob": answer_prob}


def per_prompt(metric: Metric, logits: Tensor, prompts: Prompts) -> Tensor:
    """The metric of logits [..., batch, vocab], one number for every prompt: [..., batch].

    Raises: PathPatchError for a metric that gives anything else, such as a mean over the prompts,
    a value that is not a finite number, or one that depends on the other prompts.
    """
    values = _ask(metric, logits, prompts)
    if not torch.isfinite(values).all():
        at = int((~torch.isfinite(values)).nonzero()[0, -1])
        raise PathPatchError(
            f"the metric {_name(metric)} is not a finite number on the prompt "
            f"{prompts.pairs[at].clean!r}"
        )
    if not any(metric is known for known in METRICS.values()):
        for row in {0, len(prompts) - 1}:
            _check_alone(metric, logits, prompts, row, values)
    return values


def _ask(metric: Metric, logits: Tensor, prompts: Prompts) -> Tensor:
    """The metric gets copies: what it writes into them is lost."""
    values, shape = metric(logits.clone(), prompts[list(range(len(prompts)))]), logits.shape
    came = f"shape {list(values.shape)}" if isinstance(values, Tensor) else repr(type(values))
    if isinstance(values, Tensor) and values.is_complex():
        came = f"complex numbers of {came}"
    if came != f"shape {list(shape[:-1])}":
        raise PathPatchError(
            f"the metric {_name(metric)} returned {came} for logits of shape {list(shape)}; it "
            f"must return a tensor with one real number for each prompt, not averaged, of shape "
            f"{list(shape[:-1])}"
        )
    return values


@torch.no_grad()
def _check_alone(
    metric: Metric, logits: Tensor, prompts: Prompts, row: int, values: Tensor
) -> None:
    """Ask about one prompt again, between two copies of it with other logits: prompts are measured
    in blocks, so it may not matter who else is there."""
    three = logits[..., [row] * 3, :]  # a copy
    three[..., ::2, :] = three[..., ::2, :].flip(-1)
    eps = max(torch.finfo(t.dtype).eps for t in (logits, values) if t.is_floating_point())
    allowed = max(eps, max(eps, 1e-8) ** 0.5 * float(values.float().abs().max()))
    try:
        apart = _ask(metric, three, prompts[[row] * 3])[..., 1].float() - values[..., row].float()
        if float(apart.abs().max()) <= allowed:
            return
        found = f"is another number, by {float(apart.abs().max()):.2g},"
    except Exception as error:  # of every class: the metric is the caller's
        found = f"fails ({error})"
    raise PathPatchError(
        f"the metric {_name(metric)} on the prompt {prompts.pairs[row].clean!r} {found} when other "
        f"prompts are beside it; prompts are measured in blocks, so a metric must use nothing but "
        f"each prompt's own logits, and give the same every time"
    )


def _name(metric: Metric) -> str:
    return str(getattr(metric, "__name__", "given"))


def _check(logits: Any, prompts: Any) -> None:
    """Raises: PathPatchError for what are no prompts, or not their logits."""
    came = list(getattr(logits, "shape", []))
    if not isinstance(prompts, Prompts) or came[-2:-1] != [len(prompts)]:
        raise PathPatchError(
            f"a metric needs logits [..., batch, vocab] and the Prompts that they are of, got a "
            f"{type(logits).__name__} of shape {came} and a {type(prompts).__name__}"
        )
    if odd := [
        i for i in (*prompts.answer.tolist(), *prompts.foil.tolist()) if not 0 <= i < came[-1]
    ]:
        raise PathPatchError(f"answer or foil {odd[0]} is outside the {came[-1]} logits")


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
