"""What a check consists of: calls, what is right, and what each known mistake gives.

A check names a mistake by its *result*: it computes what the mistake would give and compares. So
it does not matter how the learner came to make it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

CLOSE = 1e-5  # all models are float64, but a learner may store a value as float32


class Wrong(Exception):
    """An answer of the wrong form. The message says what came and what would be right."""


@dataclass(frozen=True)
class Case:
    """One call of the learner's function.

    shown: the call as one would write it. mistakes: words -> what the mistake gives, or a function
    that computes all of them, for when they are needed. advice: what to try when no known mistake
    fits. given: the model, prompts and tensors that are handed out; they must be as before
    afterwards, without hooks.
    """

    shown: str
    call: Callable[[Any], Any]
    expected: Any
    mistakes: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    advice: str = ""
    given: tuple[Any, ...] = ()


Cases = Callable[[], Iterator[Case]]
CHECKS: dict[str, Cases] = {}  # name of the learner's function -> its cases


def checks(cases: Cases) -> Cases:
    """Register a generator of cases under its name, which is that of the learner's function."""
    CHECKS[cases.__name__] = cases
    return cases


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


def contrast(got: Any, expected: Any) -> tuple[str, str]:
    """Two results that are not the same, each in a line: where they differ most."""
    if isinstance(got, Mapping) and isinstance(expected, Mapping) and got.keys() == expected.keys():
        for key in got:
            if not same(got[key], expected[key]):
                one, other = contrast(got[key], expected[key])
                return f"{key}: {one}", f"{key}: {other}"
    if isinstance(got, Tensor) and isinstance(expected, Tensor) and got.shape == expected.shape:
        off = (got.double() - expected.double()).abs().nan_to_num(torch.inf)
        where = [int(i) for i in np.unravel_index(int(off.argmax()), off.shape)]
        one, other = (f"{x[tuple(where)].item():.4g}" for x in (got, expected))
        if where:
            one += f" at {where}, where it is most off ({form(got)})"
        return one, other
    return describe(got), describe(expected)


def describe(of: Any) -> str:
    """A result in a line."""
    text = form(of) if isinstance(of, Tensor) and of.ndim else repr(of)
    if isinstance(of, Mapping) and any(isinstance(x, Tensor) for x in of.values()):
        text = "; ".join(f"{key}: {form(x)}" for key, x in of.items())
    return text if len(text) < 300 else text[:300] + " ..."


def _is_number(x: Any) -> bool:
    if isinstance(x, Tensor):
        return x.ndim == 0
    return hasattr(x, "__float__") and not isinstance(x, bool | str)


def _is_list(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str | bytes)
