"""The truth: plain hooks on an untouched Hugging Face model, and nothing of the library.

A head's output is its slice of what enters the output projection of its attention. What an MLP
reads is taken after its norm, which sees one position: to replace it there or before is the same.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

MLPS = ("mlp", "feed_forward", "ffn", "block_sparse_moe")
PROJECTIONS = ("o_proj", "c_proj", "out_proj", "dense", "wo")
Place = tuple[str, int]  # "resid" or "mlp": the input of a block or of its MLP, and its number
Change = Callable[[int, Tensor], Tensor | None]  # layer, value -> what stands there instead


def projections(hf_model: Any) -> list[str]:
    """The names of the output projections of attention, one for each layer."""
    names = [name.split(".") for name, _ in hf_model.named_modules()]
    return [
        ".".join(name)
        for name in names
        if name[-1] in PROJECTIONS and len(name) > 1 and "att" in name[-2]
    ]


def layers(hf_model: Any) -> list[Any]:
    """The transformer blocks: the first module with a number on the way to each projection."""
    found = []
    for name in projections(hf_model):
        parts = name.split(".")
        number = next(i for i, part in enumerate(parts) if part.isdigit())
        found.append(hf_model.get_submodule(".".join(parts[: number + 1])))
    return found


def mlps(hf_model: Any) -> list[Any]:
    """The MLP of every block; where a family calls it otherwise, none."""
    found = [dict(layer.named_children()) for layer in layers(hf_model)]
    return [parts[name] for parts in found for name in MLPS if name in parts]


@torch.no_grad()
def forward(hf_model: Any, ids: Tensor, **changes: Change) -> Tensor:
    """The logits at the last token, with hooks on heads' outputs (z), and on the inputs of blocks
    (resid) and of MLPs (mlp)."""

    def first_input(change: Change, layer: int) -> Callable[..., Any]:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            value = args[0] if args else kwargs["hidden_states"]
            new = change(layer, value.clone())
            if new is None:
                return None
            if args:
                return (new, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": new}

        return hook

    with ExitStack() as stack:
        places = {
            "z": [hf_model.get_submodule(name) for name in projections(hf_model)],
            "resid": layers(hf_model),
            "mlp": mlps(hf_model),
        }
        for kind, change in changes.items():
            for layer, module in enumerate(places[kind]):
                hook = first_input(change, layer)
                handle = module.register_forward_pre_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
        return hf_model(ids).logits[:, -1]


def capture(hf_model: Any, ids: Tensor) -> tuple[list[Tensor], Tensor]:
    """The heads' outputs of every layer [batch, pos, head and d_head], and the logits at END."""
    found: list[Tensor] = []

    def keep(layer: int, value: Tensor) -> None:
        found.append(value)

    return found, forward(hf_model, ids, z=keep)


def slice_of(head: int, heads: int, value: Tensor) -> slice:
    """Where a head is in what enters the projection."""
    width = value.shape[-1] // heads
    return slice(head * width, (head + 1) * width)


def path_patch(
    hf_model: Any, ids: Tensor, new: Tensor, sender: tuple[int, int], heads: int, to: Place | None
) -> Tensor:
    """Path patching, one head at END to the logits, or to a place at END."""
    kind, number = to or ("resid", -1)
    layer, head = sender
    a, _ = capture(hf_model, new)
    b, _ = capture(hf_model, ids)
    stored: list[Tensor] = []

    def freeze(i: int, value: Tensor) -> Tensor:
        value = b[i].clone()
        if i == layer:
            part = slice_of(head, heads, value)
            value[:, -1, part] = a[i][:, -1, part]
        return value

    def keep(i: int, value: Tensor) -> None:
        if i == number:
            stored.append(value[:, -1])

    logits = forward(hf_model, ids, z=freeze, **{kind: keep})
    if to is None:
        return logits

    def write(i: int, value: Tensor) -> Tensor | None:
        if i != number:
            return None
        value[:, -1] = stored[0]
        return value

    return forward(hf_model, ids, **{kind: write})
