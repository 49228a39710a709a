"""Which model it is: the fingerprint of its weights, taken once, and what else it computes with."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from pathpatch.nodes import Model

Weights: TypeAlias = list[tuple[str, Tensor]]
State: TypeAlias = list[tuple[object, ...]]
PLAIN = (str, int, float, bool, type(None), torch.dtype)
PLACES = ("device", "name_or_path")  # where it is, and where it came from


def fingerprint(model: Model, *, again: bool = False) -> str:
    """SHA-256 of all weights (64 hexadecimal digits): which model a result belongs to.

    It is the same on every device. A bridge has up to four names for the same tensor, which is
    hashed once, under the first. Hashing takes longer than many a sweep, so the result is kept for
    the model until a weight is replaced, moved, or changed in place, through `weight.data` too,
    where it is more than rounding to the sum of its row. again: whether to hash in any case.
    """
    weights = _weights(model)
    state = _state(weights)
    kept, sha256 = _known.get(model, (None, ""))
    if again or kept != state:
        sha256 = _hash(weights)
        _known[model] = state, sha256
    return sha256


def settings(model: Model) -> Iterator[str]:
    """What a model computes with beside its weights: of every module its class, buffers (the
    angles of rotary positions are in no list of weights), and public attributes that are plain
    values or functions. What starts with _ a pass may leave there."""
    named = [*model.named_modules(), *model.original_model.named_modules()]
    parts: dict[Any, str] = {module: name for name, module in named}
    for part, name in [*parts.items(), (model.cfg, "cfg")]:
        yield f"{name} {type(part).__qualname__}"
        public = {k: v for k, v in vars(part).items() if k[0] != "_" and k not in PLACES}
        for key, value in sorted({**public, **vars(part).get("_buffers", {})}.items()):
            if text := _plain(value):
                yield f" {key} = {text}"


def _plain(value: Any) -> str:
    """A value as a text that is the same in every process; "" for those without one."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {_hash([('', value)])}"
    if isinstance(value, list | tuple | dict):
        items = value.items() if isinstance(value, dict) else value
        return repr([_plain(item) for item in items])
    if callable(value) and hasattr(value, "__qualname__"):
        code = getattr(getattr(value, "__code__", None), "co_code", b"")
        return f"{value.__module__}.{value.__qualname__} {code.hex()}"
    return repr(value) if isinstance(value, PLAIN) else ""


_known: WeakKeyDictionary[Model, tuple[State, str]] = WeakKeyDictionary()


def _weights(model: Model) -> Weights:
    """Every tensor under the first of its names, in the order of the names."""
    named = sorted(model.original_model.state_dict().items(), reverse=True)
    first = {(w.data_ptr(), w.shape, w.stride()): (key, w) for key, w in named}
    return sorted(first.values(), key=lambda pair: pair[0])


def _state(weights: Weights) -> State:
    """What differs after a change. A reference to a storage, unlike its address, is never used
    again, and does not keep old weights in memory. What was made in inference mode does not count
    its versions: it differs each time."""
    return [
        (
            *(key, StorageWeakRef(w.untyped_storage()), w.storage_offset(), w.shape, w.dtype),
            object() if w.is_inference() else w._version,
            _glance(w),
        )
        for key, w in weights
    ]


def _glance(weight: Tensor) -> int:
    """A hash of the sums of rows and columns: torch counts no change through `weight.data`."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    table = weight.detach().reshape(len(weight) if weight.ndim else 1, -1)
    sums = torch.cat([table.sum(1, dtype=wide), table.sum(0, dtype=wide)])
    return hash(sums.cpu().numpy().tobytes())


def _hash(weights: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for key, weight in weights:
        digest.update(key.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
