"""What may leave the room: numbers, texts, arrays, and collections of them, as JSON."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pathpatch import Node

DEEPEST, LONGEST = 6, 20_000  # levels of collections; characters of a text, entries of a collection
WHOLE, TRUTH = "int64", "bool"


@dataclass(frozen=True)
class Other:
    """Something that is no number, text or array. kind: its type."""

    kind: str
    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Array:
    """A tensor or array as it came. kind: tensor or array. dtype: the one that it had."""

    values: torch.Tensor
    kind: str
    dtype: str


def to_plain(thing: Any, depth: int = DEEPEST) -> list[Any]:
    """JSON for anything. Never raises."""
    try:
        return _to_plain(thing, depth)
    except Exception as error:  # a __repr__ or a tensor that cannot be read
        return ["other", type(thing).__name__, f"({type(error).__name__} while it was read)"]


def _to_plain(thing: Any, depth: int) -> list[Any]:
    if thing is None or isinstance(thing, bool | int | float):
        return ["is", thing]
    if isinstance(thing, Node):
        return ["is", str(thing)]
    if isinstance(thing, str):
        return ["is", thing[:LONGEST]]
    if isinstance(thing, torch.Tensor | np.ndarray | np.generic):
        return _array(thing)
    if isinstance(thing, list | tuple) and depth and len(thing) <= LONGEST:
        name = "list" if isinstance(thing, list) else "tuple"
        return [name, [to_plain(part, depth - 1) for part in thing]]
    if isinstance(thing, dict) and depth and len(thing) <= LONGEST:
        rows = list(thing.items())
        return ["dict", [[to_plain(k, depth - 1), to_plain(v, depth - 1)] for k, v in rows]]
    return ["other", type(thing).__name__, repr(thing)[:300]]


def _array(thing: torch.Tensor | np.ndarray | np.generic) -> list[Any]:
    if isinstance(thing, torch.Tensor):
        kind, dtype = "tensor", str(thing.dtype).removeprefix("torch.")
        tensor = thing.detach().cpu().resolve_conj()
        values = (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    else:
        kind, dtype, values = "array", str(thing.dtype), np.asarray(thing)
    if values.dtype.kind not in "fiub":
        return ["other", f"{kind} of {dtype}", repr(thing)[:300]]
    stored = {"b": TRUTH, "i": WHOLE, "u": WHOLE}.get(values.dtype.kind, "float64")
    data = base64.b64encode(np.ascontiguousarray(values, stored).tobytes()).decode()
    return ["array", kind, dtype, stored, list(values.shape), data]


def from_plain(row: list[Any]) -> Any:
    """What `to_plain` was given, as far as it can be said. Raises: ValueError for another form."""
    match row:
        case ["is", None | bool() | int() | float() | str() as value]:
            return value
        case ["list", parts]:
            return [from_plain(part) for part in parts]
        case ["tuple", parts]:
            return tuple(from_plain(part) for part in parts)
        case ["dict", rows]:
            found = [(from_plain(key), from_plain(value)) for key, value in rows]
            return {_hashable(key): value for key, value in found}
        case ["array", kind, dtype, "float64" | "int64" | "bool" as stored, shape, data]:
            flat = np.frombuffer(base64.b64decode(data), np.dtype(stored))
            return Array(torch.from_numpy(flat.reshape(shape).copy()), str(kind), str(dtype))
        case ["other", kind, text]:
            return Other(str(kind), str(text))
    raise ValueError(f"not a plain value: {row!r:.80}")


def _hashable(key: Any) -> Any:
    """Keys may be tuples of texts and numbers; anything else is shown as text."""
    if isinstance(key, tuple):
        return tuple(_hashable(part) for part in key)
    return key if isinstance(key, str | int | float | bool | type(None)) else repr(key)
