"""What a check consists of: calls, what is right, and what each known mistake gives.

A check names a mistake by its *result*: it computes what the mistake would give and compares. So
it does not matter how the learner came to make it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

CLOSE = 1e-8  # all models of the checks are float64


class Wrong(Exception):
    """An answer of the wrong form. The message says what came and what would be right."""


@dataclass(frozen=True)
class Case:
    """One call of the learner's function.

    shown: the call as one would write it. expected, and the values of mistakes: results, or
    functions that compute them. advice: what to try when no known mistake fits. model: it must be
    as before afterwards, without hooks.
    """

    shown: str
    call: Callable[[Any], Any]
    expected: Any
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""
    model: Any = None


Cases = Callable[[], Iterator[Case]]
CHECKS: dict[str, Cases] = {}  # name of the learner's function -> its cases


def checks(cases: Cases) -> Cases:
    """Register a generator of cases under its name, which is that of the learner's function."""
    CHECKS[cases.__name__] = cases
    return cases


def value(of: Any) -> Any:
    """A result that may have to be computed first."""
    return of() if callable(of) else of


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal, up to rounding."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape:
            return False
        return bool(((one.double() - other.double()).abs() < CLOSE).all())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if _is_list(one) and _is_list(other):
        return len(one) == len(other) and all(map(same, one, other))
    if _is_number(one) and _is_number(other):
        return abs(float(one) - float(other)) < CLOSE
    return type(one) is type(other) and bool(one == other)


def form(of: Any) -> str:
    """The kind of a result, with its shape: what must agree before the numbers can."""
    if isinstance(of, Tensor):
        return f"a tensor of shape {list(of.shape)}"
    if isinstance(of, Mapping):
        return f"a dict with the keys {', '.join(sorted(map(str, of)))}" if of else "an empty dict"
    if _is_list(of):
        return f"a {type(of).__name__} of {len(of)}"
    if _is_number(of):
        return "a number"
    return "nothing (None)" if of is None else f"a {type(of).__name__}"


def describe(of: Any) -> str:
    """A result in a line."""
    if isinstance(of, Tensor):
        numbers = ", ".join(f"{x:.4g}" for x in of.double().flatten()[:4].tolist())
        return f"{numbers}{', ...' if of.numel() > 4 else ''} ({form(of).removeprefix('a ')})"
    if isinstance(of, Mapping):
        parts = [f"{key}: {describe(v) if isinstance(v, Tensor) else v}" for key, v in of.items()]
        return "{" + "; ".join(parts[:8]) + ("; ..." if len(parts) > 8 else "") + "}"
    text = repr(of)
    return text if len(text) < 300 else text[:300] + " ..."


def _is_number(x: Any) -> bool:
    if isinstance(x, Tensor):
        return x.ndim == 0
    return hasattr(x, "__float__") and not isinstance(x, bool | str)


def _is_list(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str | bytes)


@torch.no_grad()
def hooks_on(model: torch.nn.Module) -> list[str]:
    """The hook points of a model on which somebody left a hook."""
    points: Mapping[str, Any] = model.hook_dict
    return [name for name, point in points.items() if point.fwd_hooks]
