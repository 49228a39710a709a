"""Nodes: the addresses of activations. The only file that knows a hook name.

9.6.z@END       output of head 6 in layer 9 (before W_O) at the position END; also 9.6@END
9.6.q@END       its query there; also k, v, and pattern (the attention row from that position)
20.kv0.v@S2     the value vector that all query heads of key/value head 0 share
9.mlp_out@END   also attn_out, resid_pre, resid_post
9.mlp_in@END    what the MLP reads there, before its norm; the residual stream goes on without it
embed@S2        the token embedding
logits          without a position: all positions
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, TypeAlias

import torch

from pathpatch.errors import PathPatchError, as_list, did_you_mean

_HOOKS = {
    "z": "blocks.{}.attn.hook_z",
    "q": "blocks.{}.attn.hook_q",
    "k": "blocks.{}.attn.hook_k",
    "v": "blocks.{}.attn.hook_v",
    "pattern": "blocks.{}.attn.hook_pattern",
    "attn_out": "blocks.{}.hook_attn_out",
    "mlp_in": "blocks.{}.hook_mlp_in",
    "mlp_out": "blocks.{}.hook_mlp_out",
    "resid_pre": "blocks.{}.hook_resid_pre",
    "resid_post": "blocks.{}.hook_resid_post",
    "embed": "hook_embed",
    "logits": "unembed.hook_out",
}
KINDS = tuple(_HOOKS)
_OF_HEADS = ("z", "q", "k", "v", "pattern")
_OF_MODEL = ("embed", "logits")
Model: TypeAlias = Any  # a TransformerBridge: importing its class takes seconds, so only wrap does
_FORM = re.compile(r"(?:(\d+)\.)?(?:(kv)?(\d+)(?:\.|(?=@|$)))?([a-z_]+)?(?:@(.+))?")


@dataclass(frozen=True)
class Node:
    """The address of an activation. `str(node)` and `Node.parse` are inverse."""

    kind: str
    layer: int | None = None
    head: int | None = None
    shared: bool = False  # head counts key/value heads, and means all query heads that read it
    at: str | int | None = None  # a position label or token index; None: all positions

    def __post_init__(self) -> None:
        for name, part in vars(self).items():
            if not isinstance(part, str | Integral | None):
                raise PathPatchError(f"the {name} of a node cannot be {part!r}; see Node.parse")

    @staticmethod
    def parse(text: str) -> "Node":
        """Read a node as it is printed. Raises: PathPatchError with the known kinds or forms."""
        match = isinstance(text, str) and _FORM.fullmatch(text.strip())
        if not match:
            raise PathPatchError(f"cannot read {text!r} as a node; examples: 9.6.q@END, logits")
        layer, shared, head, kind, at = match.groups()
        kind = kind or ("z" if head else "")
        if kind not in _HOOKS:
            hint = did_you_mean(kind, _HOOKS)
            raise PathPatchError(f"unknown kind {kind!r} in node {text!r}; {hint}")
        needs = (kind not in _OF_MODEL, kind in _OF_HEADS, bool(shared) <= (kind in ("k", "v")))
        if needs != (layer is not None, head is not None, True):
            form = "9.6.z" if kind in _OF_HEADS else "logits" if kind in _OF_MODEL else "9.mlp_out"
            form = form.replace("logits" if kind in _OF_MODEL else form.split(".")[-1], kind)
            raise PathPatchError(f"cannot read {text!r}: a {kind} node looks like {form}@END")
        return Node(
            kind,
            None if layer is None else int(layer),
            None if head is None else int(head),
            bool(shared),
            int(at) if at and at.isdecimal() else at,
        )

    def __str__(self) -> str:
        head = None if self.head is None else f"{'kv' if self.shared else ''}{self.head}"
        parts = [self.layer, head, self.kind]
        at = "" if self.at is None else f"@{self.at}"
        return ".".join(str(part) for part in parts if part is not None) + at

    @property
    def hook(self) -> str:
        """The name of the hook point where this activation passes."""
        if self.kind not in _HOOKS:
            raise PathPatchError(f"unknown kind {self.kind!r}; {did_you_mean(self.kind, _HOOKS)}")
        return _HOOKS[self.kind].format(self.layer)

    def is_in(self, model: Model) -> bool:
        """Whether the model has this hook point. Some families have no attention in some layers."""
        return self.hook in model.cfg.places

    def everywhere(self) -> "Node":
        """The same activation at all positions."""
        return replace(self, at=None)

    def heads(self, model: Model) -> list[int]:
        """The query heads whose copy this node is; empty for a node without a head."""
        if self.head is None:
            return []
        group = model.cfg.query_heads_per_kv if self.shared else 1
        return list(range(self.head * group, (self.head + 1) * group))

    def check(self, model: Model) -> None:
        """Raises: PathPatchError when the model has no such layer, head or MLP, or the node was
        built by hand of parts that its printed form does not name."""
        if Node.parse(str(self)) != self:
            raise PathPatchError(f"{self!r} is not the node that {str(self)!r} names; write it so")
        if self.kind in ("mlp_in", "mlp_out") and model.cfg.attn_only:
            raise PathPatchError(f"there is no {self}: {model.cfg.model_name} has no MLPs")
        limits = [("layer", self.layer, model.cfg.n_layers)]
        group = model.cfg.query_heads_per_kv if self.shared else 1
        name = "key/value head" if self.shared else "head"
        limits.append((name, self.head, model.cfg.n_heads // group))
        for what, number, limit in limits:
            if number is not None and number >= limit:
                raise PathPatchError(
                    f"{what} {number} of node {self} is out of range: "
                    f"{model.cfg.model_name} has {what}s 0 to {limit - 1}"
                )
        if not self.is_in(model):
            raise PathPatchError(
                f"there is no {self}: TransformerBridge gives {model.cfg.model_name} no such place"
            )


def device_of(model: Model) -> torch.device:
    """Where the model is: whatever meets its values in a pass must be there too."""
    return model.W_E.device


Sets: TypeAlias = Sequence[Sequence[Node]]  # each set is patched together
Entries: TypeAlias = Iterable[Node | str | Iterable[Node | str]]  # sets, as they may be given

LOGITS = Node("logits", at="END")
WRITABLE = frozenset(KINDS) - {"logits"}
UNEMBED = "unembed.hook_in"  # where the final state enters the unembedding
_JOIN = re.compile(r"\+(?=\s*(?:\d+\.|embed|logits))")  # a + before a node: not that of S1+1


def as_nodes(nodes: Iterable[Node | str]) -> list[Node]:
    """Nodes from nodes or their names, in order, without repetition. A name may join several
    by + ("9.6@END+9.9@S1+1" is two). Raises: PathPatchError for what is neither."""
    found: list[Node] = []
    for given in as_list(nodes, "nodes"):
        if not isinstance(given, Node | str):
            raise PathPatchError(f"expected a node, or a name such as 9.6.q@END, got {given!r}")
        parts = _JOIN.split(given) if isinstance(given, str) else [given]
        found += [Node.parse(part) if isinstance(part, str) else part for part in parts]
    return list(dict.fromkeys(found))


def node_set(entry: Node | str | Iterable[Node | str]) -> list[Node]:
    """The nodes of an entry that are patched together: one node, names joined by +, or a list."""
    return as_nodes([entry] if isinstance(entry, str) or not isinstance(entry, Iterable) else entry)


def grid(model: Model, kind: str, positions: Iterable[str | int | None] = (None,)) -> list[Node]:
    """All nodes of a kind, layer by layer: every head, where it has heads, at every position.

    Raises: PathPatchError for an unknown kind.
    """
    if kind not in _HOOKS:
        raise PathPatchError(f"unknown kind {kind!r}; {did_you_mean(kind, _HOOKS)}")
    layers = [None] if kind in _OF_MODEL else range(model.cfg.n_layers)
    numbers = range(model.cfg.n_heads) if kind in _OF_HEADS else [None]
    at = as_list(positions, "positions")
    return [Node(kind, i, head, at=where) for i in layers for head in numbers for where in at]


def heads(model: Model, at: str | int | None = None) -> list[Node]:
    """The outputs of all heads: what the paper freezes in pass C."""
    return grid(model, "z", [at])


def mlps(model: Model, at: str | int | None = None) -> list[Node]:
    """The outputs of all MLPs: freeze these too for edge patching. Some models have none."""
    return [] if model.cfg.attn_only else grid(model, "mlp_out", [at])


FROZEN: dict[str, Callable[[Model], list[Node]]] = {
    "heads": heads,
    "heads+mlps": lambda model: heads(model) + mlps(model),
}


def names(sets: Sets) -> list[str]:
    """The sets as they are printed."""
    return ["+".join(map(str, nodes)) for nodes in sets]
