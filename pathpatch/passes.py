"""One of the four passes: what it read and overwrote, and what that makes of any node in it."""

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.forward import Run
from pathpatch.metrics import logit_diff
from pathpatch.models import Model
from pathpatch.nodes import Node, mlps
from pathpatch.prompts import Prompts, Tokens

LOOKS = 0.1  # the least attention weight with which a head is said to look somewhere
STAGES = {"embed": 0, "q": 1, "k": 1, "v": 1, "z": 2, "mlp_out": 3, "resid_post": 4, "logits": 5}

At: TypeAlias = str | int | None  # a position: a label, or the index of a token; never None here
Stage: TypeAlias = tuple[int, int]  # a layer, and a place in it (STAGES)
Values: TypeAlias = dict[Node, Tensor]


def stage(node: Node) -> Stage:
    """Where a node stands on the way up. Raises: PathPatchError for one that cannot be drawn."""
    if node.kind not in STAGES or node.at is None:
        raise PathPatchError(
            f"cannot draw {node}: a diagram shows nodes with a position, such as 9.6.z@END, "
            f"of these kinds: {', '.join(STAGES)}"
        )
    return {"embed": -1, "logits": 10**6}.get(node.kind, node.layer or 0), STAGES[node.kind]


@dataclass(frozen=True)
class Pass:
    """One pass: what its run read, what it stores for later passes, and what it overwrote."""

    name: str
    model: Model
    prompts: Prompts
    found: Run
    stored: list[Node]
    freeze: Values
    patch: Values

    def value(self, node: Node) -> Tensor:
        """What the pass stores or goes on with: `run` reads a value *before* it is overwritten."""
        value, index = self.found[node][0], index_of(self.found.tokens, node.at)
        if self.role(node) != "stored":
            for written, new in (self.freeze | self.patch).items():
                if self._holds(written, node):
                    value = new[0, index] if written.at is None else new[0]
        return logit_diff(value[None], self.prompts)[0] if node.kind == "logits" else value

    def role(self, node: Node) -> str:
        roles = {"stored": self.stored, "patched": self.patch, "frozen": self.freeze}
        for role, nodes in roles.items():
            if any(self._holds(other, node) for other in nodes):
                return role
        return "recomputed"

    def stream(self, where: Stage, at: At) -> Tensor:
        """The residual stream as the nodes of this stage read it; nothing is below embeddings."""
        return sum((self.value(node) for node in reads_of(self.model, where, at)), torch.zeros(1))

    def looks(self, node: Node, positions: list[At]) -> tuple[At, ...]:
        if node.kind != "z" or self.role(node) in ("patched", "frozen"):
            return ()
        row = self.found[replace(node, kind="pattern")][0]
        return tuple(at for at in positions if row[index_of(self.found.tokens, at)] >= LOOKS)

    def word(self, at: At) -> str:
        tokens = self.found.tokens
        return self.model.tokenizer.decode(tokens.ids[0, index_of(tokens, at)])

    def _holds(self, other: Node, node: Node) -> bool:
        """Whether the other node is this one or more: at all positions, or shared by its head."""
        tokens = self.found.tokens
        there = other.at is None or index_of(tokens, other.at) == index_of(tokens, node.at)
        heads = set(node.heads(self.model)) <= set(other.heads(self.model))
        return there and heads and (other.kind, other.layer) == (node.kind, node.layer)


def index_of(tokens: Tokens, at: At) -> int:
    """Where a position is in the one prompt."""
    return int(tokens.at(at))  # type: ignore[arg-type]


def reads_of(model: Model, where: Stage, at: At) -> list[Node]:
    """The nodes whose sum the nodes of a stage read."""
    layer, place = where
    if place == STAGES["embed"]:
        return []
    if place == STAGES["logits"]:
        return [Node("resid_post", model.cfg.n_layers - 1, at=at)]
    kinds = ["resid_pre", "attn_out", "mlp_out"][: max(1, place - 1)]
    return [Node(kind, layer, at=at) for kind in kinds if kind != "mlp_out" or mlps(model)]
