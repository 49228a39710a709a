"""Plain values side by side: are they the same, of what form is each, where do they differ?

All of it takes whatever an answer may return, and never raises.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import torch

from exercises.room.plain import Array, Other
from pathpatch import Node, PathPatchError

Close = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
CLOSE = 1e-5  # of a value, or by itself: all models are float64, but an answer may keep float32


def close(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Where numbers agree: nowhere for NaN, nor for inf beside inf."""
    return y.isfinite() & ((x - y).abs() <= CLOSE * (1 + y.abs()))


def close_or_broken(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The same for two wrong results, which may both have been divided by 0."""
    return close(x, y) | (x == y) | (x.isnan() & y.isnan())


def same(one: Any, other: Any, agree: Close = close) -> bool:
    """Whether two plain values are equal up to rounding; a value that is not finite never is.

    agree: where two tensors of one shape do.
    """
    one, other = _scalar(one), _scalar(other)
    if isinstance(one, Array) and isinstance(other, Array):
        x, y = one.values.double(), other.values.double()
        return x.shape == y.shape and bool(agree(x, y).all())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        one, other = by_key(one), by_key(other)
        return one.keys() == other.keys() and all(same(one[k], other[k], agree) for k in one)
    if _is_list(one) and _is_list(other):
        return len(one) == len(other) and all(map(same, one, other, repeat(agree)))
    if _is_number(one) and _is_number(other):
        return bool(agree(*map(_number, (one, other))))
    return type(one) is type(other) and not isinstance(one, Other) and bool(one == other)


def by_key(of: Mapping[Any, Any]) -> dict[Any, Any]:
    """The dict with every node among its keys written as it is printed."""
    return {_key(key): value for key, value in of.items()}


def _key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_key(part) for part in key)
    try:
        return str(Node.parse(key)) if isinstance(key, str) else key
    except PathPatchError:
        return key


def _scalar(x: Any) -> Any:
    """An array without axes is a number."""
    return x.values.item() if isinstance(x, Array) and not x.values.ndim else x


def _number(x: float) -> torch.Tensor:
    """A number without axes; one that no float can hold is infinite."""
    try:
        return torch.tensor(float(x), dtype=torch.double)
    except OverflowError:
        return torch.tensor(math.inf)


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _is_list(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str | bytes)


def kind(of: Any) -> str:
    """What two values must both be before they can be the same."""
    of = _scalar(of)
    return "number" if _is_number(of) else "list" if _is_list(of) else type(of).__name__


def form(of: Any) -> str:
    """The kind of a value, with its shape: what must agree before the numbers can."""
    if isinstance(of, Array):
        return f"a {of.kind.replace('array', 'numpy array')} of shape {list(of.values.shape)}"
    if isinstance(of, Mapping):
        return f"a dict with the keys {', '.join(sorted(map(str, of)))}" if of else "an empty dict"
    if _is_list(of):
        return f"a {type(of).__name__} of {len(of)}"
    if _is_number(of):
        return "a number"
    if isinstance(of, Other):
        return f"something of the type {of.kind}"
    return "nothing (None)" if of is None else f"a {type(of).__name__}"


def shape(of: Any) -> Any:
    """What must agree before numbers are compared, whatever holds them."""
    of = _scalar(of)
    if isinstance(of, Array):
        return tuple(of.values.shape)
    if isinstance(of, Mapping):
        return frozenset(by_key(of))
    return len(of) if _is_list(of) else form(of)


def misformed(got: Any, expected: Any) -> str:
    """What is of another form than expected, in a sentence; "" where only numbers differ."""
    if shape(got) != shape(expected):
        return f"That is {form(got)}; expected is {form(expected)}."
    if isinstance(got, Mapping) and isinstance(expected, Mapping):
        one, other = by_key(got), by_key(expected)
        for key in other:
            if said := misformed(one[key], other[key]):
                return f"{key}: {said[0].lower()}{said[1:]}"
    return ""


def contrast(got: Any, expected: Any) -> tuple[str, str]:
    """Two values that are not the same, each in a line: where they differ most."""
    if isinstance(got, Mapping) and isinstance(expected, Mapping):
        one, other = by_key(got), by_key(expected)
        if one.keys() == other.keys():
            for key in one:
                if not same(one[key], other[key]):
                    came, wanted = contrast(one[key], other[key])
                    return f"{key}: {came}", f"{key}: {wanted}"
    if isinstance(got, Array) and isinstance(expected, Array) and shape(got) == shape(expected):
        x, y = got.values.double(), expected.values.double()
        if x.ndim and x.numel():
            at = int((x - y).abs().nan_to_num(math.inf).argmax())
            where = [int(i) for i in torch.unravel_index(torch.tensor(at), x.shape)]
            came = f"{x.flatten()[at].item():.6g} at {where}, where it is most off ({form(got)})"
            return came, f"{y.flatten()[at].item():.6g}"
    return describe(got), describe(expected)


def rows_off(got: Any, expected: Any) -> str:
    """Which prompts are right, where some are; "" where that says nothing."""
    if not (isinstance(got, Array) and isinstance(expected, Array)):
        return ""
    if shape(got) != shape(expected) or not got.values.ndim or len(got.values) < 2:
        return ""
    where = close(got.values.double(), expected.values.double())
    good = where.reshape(len(where), -1).all(1).tolist()
    if not any(good):
        return ""
    right, wrong = ([i for i, ok in enumerate(good) if ok is side] for side in (True, False))
    return f"Rows {right} are right, and rows {wrong} are not."


def describe(of: Any) -> str:
    """A value in a line."""
    of = _scalar(of)
    if isinstance(of, Mapping):
        text = "; ".join(f"{key}: {describe(x)}" for key, x in of.items()) or form(of)
    elif _is_list(of) and any(isinstance(x, Array) for x in of):
        text = f"{form(of)}, the first of which is {describe(of[0])}"
    elif isinstance(of, Array) and of.values.ndim == 1 and len(of.values) <= 8:
        text = f"[{', '.join(f'{x:.6g}' for x in of.values.tolist())}]"
    else:
        text = form(of) if isinstance(of, Array) else repr(of)
    return text if len(text) < 300 else text[:300] + " ..."
