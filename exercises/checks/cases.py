"""What a check consists of: calls, what is right, and what each known mistake gives.

A check names a mistake by its *result*: it computes what the mistake would give and compares. So
it does not matter how the learner came to make it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
        one, other = (f"{x[tuple(where)].item():.6g}" for x in (got, expected))
        if where:
            one += f" at {where}, where it is most off ({form(got)})"
        return one, other
    return describe(got), describe(expected)


def with_keys(found: Any, keys: Iterable[str]) -> dict[str, Any]:
    """A dict that has these keys. Raises: Wrong for anything else."""
    if isinstance(found, dict) and found.keys() == set(keys):
        return found
    what = f"the keys {[*found]}" if isinstance(found, dict) else describe(found)
    raise Wrong(f"came back {what}\n  expected  a dict with the keys {[*keys]}")


def describe(of: Any) -> str:
    """A result in a line."""
    if isinstance(of, Mapping):
        return "; ".join(f"{key}: {describe(x)}" for key, x in of.items()) or form(of)
    if isinstance(of, list | tuple) and any(isinstance(x, Tensor) for x in of):
        return f"{form(of)}, the first of which is {describe(of[0])}"
    text = form(of) if isinstance(of, Tensor) and of.ndim else repr(of)
    return text if len(text) < 300 else text[:300] + " ..."


def _is_number(x: Any) -> bool:
    return hasattr(x, "__float__") and getattr(x, "ndim", 0) == 0 and not isinstance(x, bool)


def _is_list(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str | bytes)
