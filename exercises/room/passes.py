"""Which forward passes a call makes, and what each reads and writes: evidence for the judge."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from pathpatch import Prompts, Tokens, forward

MANY = 200  # passes that are noted of one call


@contextmanager
def noted(names: list[str], args: tuple[Any, ...], into: list[dict[str, Any]]) -> Iterator[None]:
    """Note every pass while a function runs.

    Each is a dict: "of" is x_orig, x_new or "other tokens"; "by" is the library or the hooks of
    the answer; "reads" and "writes" are nodes, or the names of hook points.
    """
    known = _known(names, args)
    inside: list[bool] = []
    library = forward.attempt

    def through_library(model: Any, tokens: Tokens, plan: Any, only_end: bool = False) -> Any:
        steps = [(_node(step), step.__name__) for _, step in plan]
        reads = [node for node, name in steps if name == "read"] or ["logits"]
        writes = [node for node, name in steps if name == "write"]
        whose = _whose(known, tokens.ids)
        _note(into, {"of": whose, "by": "library", "reads": reads, "writes": writes})
        inside.append(True)
        try:
            return library(model, tokens, plan, only_end)
        finally:
            inside.pop()

    models = [thing for thing in args if isinstance(thing, torch.nn.Module)]
    kind: Any = type(models[0]) if models else None
    by_hand = kind and kind.forward

    def through_model(model: Any, *given: Any, **more: Any) -> Any:
        if not inside:
            points = [n for n, p in model.hook_dict.items() if getattr(p, "fwd_hooks", ())]
            ids = given[0] if given else more.get("input")
            _note(into, {"of": _whose(known, ids), "by": "hooks", "reads": [], "writes": points})
        return by_hand(model, *given, **more)

    with patch.object(forward, "attempt", through_library):
        if kind is None:
            yield
        else:
            with patch.object(kind, "forward", through_model):
                yield


def _note(into: list[dict[str, Any]], what: dict[str, Any]) -> None:
    if len(into) < MANY:
        into.append(what)


def _node(step: Any) -> str:
    node = inspect.getclosurevars(step).nonlocals.get("node")
    return str(node) if node else ""


def _known(names: list[str], args: tuple[Any, ...]) -> list[tuple[str, torch.Tensor]]:
    """The token ids among the arguments, by what they are."""
    found = []
    for name, thing in zip(names, args, strict=True):
        if isinstance(thing, Prompts):
            found += [("x_orig", thing.orig.ids), ("x_new", thing.new.ids)]
        elif isinstance(thing, Tokens):
            found.append(("x_orig", thing.ids))
        elif name in ("x_orig", "x_new"):
            found.append((name, thing))
    return [(name, ids.clone()) for name, ids in found]


def _whose(known: list[tuple[str, torch.Tensor]], ids: Any) -> str:
    for name, own in known:
        if isinstance(ids, torch.Tensor) and torch.equal(own, ids.cpu()):
            return name
    return "other tokens"
