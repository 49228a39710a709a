"""What a call leaves changed: the arguments it was given, and the settings of the process."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

State = dict[str, str]  # what it is, in words -> a digest
MODEL_PARTS = {
    "dtype": "the model is in another dtype or on another device now: leave it as it is",
    "weights": "the weights of the model are changed: patch values, not weights",
    "mode": "the model is in another mode (train or eval) now: leave it as it is",
    "hooks": "hooks are left behind on the model, so that every later run would be patched too: "
    "use run_with_hooks, which takes them off again",
    "cfg": "the settings of the model (cfg) are changed",
}


def state_of(names: list[str], args: tuple[Any, ...]) -> State:
    """A digest of every argument, and of every aspect of a model."""
    found: State = {}
    for name, thing in zip(names, args, strict=True):
        if isinstance(thing, torch.nn.Module):
            found |= {MODEL_PARTS[part]: text for part, text in _of_model(thing).items()}
        else:
            found[name] = _digest(thing)
    return found


def settings() -> State:
    """What an answer may have set for the whole process."""
    return {
        "torch.set_default_dtype": str(torch.get_default_dtype()),
        "torch.set_default_device": str(torch.get_default_device()),
        "torch.set_grad_enabled": str(torch.is_grad_enabled()),
        "torch.set_num_threads": str(torch.get_num_threads()),
    }


def changes(before: State, after: State) -> list[str]:
    """What differs, in words."""
    return [name for name in before if before[name] != after.get(name)]


def _of_model(model: torch.nn.Module) -> State:
    modules = dict(model.named_modules())
    inner = getattr(model, "original_model", None)
    if isinstance(inner, torch.nn.Module):
        modules |= {f"inner.{name}": module for name, module in inner.named_modules()}
    tensors = {
        f"{name}.{own}": tensor
        for name, module in modules.items()
        for own, tensor in {**module._parameters, **module._buffers}.items()
        if tensor is not None
    }
    kinds = [f"{name} {t.dtype} {t.device} {t.requires_grad}" for name, t in tensors.items()]
    return {
        "dtype": _digest(kinds),
        "weights": _digest(tensors),
        "mode": _digest([f"{name} {module.training}" for name, module in modules.items()]),
        "hooks": _digest([f"{name} {_hooks(module)}" for name, module in modules.items()]),
        "cfg": _digest(sorted(f"{k}={v!r}" for k, v in vars(model.cfg).items())),
    }


def _hooks(module: torch.nn.Module) -> list[str]:
    """The hooks of a module that the bridge has not put there itself, at its first pass."""
    sorts = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    own = ("transformers.", "transformer_lens.model_bridge.")
    found = [hook for sort in sorts for hook in getattr(module, sort).values()]
    found = [hook for hook in found if not str(getattr(hook, "__module__", "")).startswith(own)]
    points = [len(getattr(module, sort, ())) for sort in ("fwd_hooks", "bwd_hooks")]
    return [repr(found), repr(points)]


def _digest(thing: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, thing)
    return digest.hexdigest()


def _feed(digest: Any, thing: Any) -> None:
    digest.update(type(thing).__name__.encode())
    if isinstance(thing, Tensor):
        # a copy: a tensor of one entry is contiguous with any stride, and `view` is not content
        values = thing.detach().cpu().clone(memory_format=torch.contiguous_format)
        digest.update(f"{thing.shape}{thing.dtype}{thing.requires_grad}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            digest.update(repr(key).encode())
            _feed(digest, value)
        if tokens := getattr(thing, "tokens", None):  # a Run
            _feed(digest, tokens)
    elif isinstance(thing, list | tuple):
        for part in thing:
            _feed(digest, part)
    elif is_dataclass(thing):
        for field in fields(thing):
            _feed(digest, getattr(thing, field.name))
    else:
        digest.update(repr(thing).encode())
