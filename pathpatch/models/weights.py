"""Which weights a model has: their fingerprint, taken once."""

import hashlib
from collections.abc import Iterable
from typing import TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from pathpatch.nodes import Model

Weights: TypeAlias = list[tuple[str, Tensor]]
State: TypeAlias = list[tuple[object, ...]]


def fingerprint(model: Model, *, again: bool = False) -> str:
    """SHA-256 of all weights (64 hexadecimal digits): which model a result belongs to.

    It is the same on every device. A bridge has up to four names for the same tensor, which is
    hashed once, under the first. Hashing takes longer than many a sweep, so the result is kept for
    the model until a weight is replaced, moved, or changed in place. What is written through
    `weight.data` is not seen, since torch does not count it: after that say `again=True`.
    """
    weights = _weights(model)
    state = _state(weights)
    kept, sha256 = _known.get(model, (None, ""))
    if again or kept != state:
        sha256 = _hash(weights)
        _known[model] = state, sha256
    return sha256


_known: WeakKeyDictionary[Model, tuple[State, str]] = WeakKeyDictionary()


def _weights(model: Model) -> Weights:
    """Every tensor under the first of its names, in the order of the names."""
    named = sorted(model.original_model.state_dict().items(), reverse=True)
    first = {(w.data_ptr(), w.shape, w.stride()): (key, w) for key, w in named}
    return sorted(first.values(), key=lambda pair: pair[0])


def _state(weights: Weights) -> State:
    """What differs after a change. A reference to a storage, unlike its address, is never used
    again, and does not keep old weights in memory."""
    return [
        (key, StorageWeakRef(w.untyped_storage()), w.storage_offset(), w._version, w.shape, w.dtype)
        for key, w in weights
    ]


def _hash(weights: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for key, weight in weights:
        digest.update(key.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
