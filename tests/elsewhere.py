"""A device that is not the CPU, on any computer: what would fail on a GPU fails here.

`elsewhere(model)` puts a model on a pretended device. Its tensors stay in the computer's own memory
and give the same numbers, but they carry a mark, every tensor that is computed from them or is made
with `device=` that place carries it too, and their `.device` says so. As on a GPU, a marked and an
unmarked tensor do not meet in one operation (unless one of them is a single number, as torch
allows), and a marked one must be moved before numpy sees it. Stricter than a GPU in one thing:
index tensors must be there as well, since each that is not costs a copy and a wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

from pathpatch.nodes import Model

PLACE = torch.device("mps")  # a name that torch knows; nothing of Apple's is used
TO_NUMPY = (Tensor.numpy, Tensor.__array__)
_MARK = "_is_elsewhere"


def is_there(value: Tensor) -> bool:
    return getattr(value, _MARK, False)


def _mark(value: Tensor) -> Tensor:
    setattr(value, _MARK, True)
    return value


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or getattr(function, "__name__", str(function))


class Elsewhere(TorchFunctionMode):
    """While this is active, marked tensors behave as if they were on PLACE."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function == Tensor.device.__get__:
            return PLACE if is_there(args[0]) else function(*args)
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = any(map(is_there, given))
        if function in (Tensor.to, Tensor.cpu):
            return self._move(function, args, kwargs)
        if function in TO_NUMPY and there:
            raise TypeError("cannot turn a tensor that is elsewhere into an array: move it first")
        if there and (left := [x for x in given if not is_there(x) and x.dim() > 0]):
            shapes = [list(x.shape) for x in left]
            raise RuntimeError(
                f"{_name(function)} got tensors elsewhere and tensors of shape {shapes} on the CPU"
            )
        asked = kwargs.get("device")
        if asked is not None:
            there = torch.device(asked) == PLACE
            kwargs["device"] = "cpu"
        found = function(*args, **kwargs)
        return tree_map_only(Tensor, _mark, found) if there else found

    def _move(self, function, args, kwargs) -> Tensor:
        value, *rest = args
        wanted = [x for x in (*rest, *kwargs.values()) if isinstance(x, str | torch.device)]
        there = is_there(value) if function is Tensor.to else False
        if wanted:
            there = torch.device(wanted[0]) == PLACE
        others = [x for x in rest if isinstance(x, Tensor)]  # value.to(other)
        if others:
            there = is_there(others[0])
        rest = ["cpu" if isinstance(x, str | torch.device) else x for x in rest]
        kwargs = {k: "cpu" if k == "device" else x for k, x in kwargs.items()}
        found = function(value, *rest, **kwargs)
        if there == is_there(value):
            return _mark(found) if there else found
        found = found.clone() if found is value else found  # a mark belongs to one object
        return _mark(found) if there else found


@contextmanager
def elsewhere(model: Model) -> Iterator[Model]:
    """The model on the pretended device, for as long as the context lasts."""
    module = model.original_model
    weights = [*module.parameters(), *module.buffers()]
    for weight in weights:
        _mark(weight)
    try:
        with Elsewhere():
            yield model
    finally:
        for weight in weights:
            delattr(weight, _MARK)
