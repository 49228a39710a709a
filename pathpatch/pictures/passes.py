"""The four passes on one pair of prompts: what every node holds in each of them, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.forward import Run, run
from pathpatch.metrics import logit_diff
from pathpatch.nodes import KINDS, LOGITS, Model, Node, as_nodes, heads, mlps
from pathpatch.paths import check_nodes
from pathpatch.pictures.readout import Show, readout
from pathpatch.prompts import Prompts, Tokens

LOOKS = 0.1  # the least attention weight with which a head is said to look somewhere
STAGES = {"embed": 0, "resid_pre": 0, "q": 1, "k": 1, "v": 1, "z": 2}
STAGES |= {"mlp_in": 3, "mlp_out": 4, "resid_post": 5, "logits": 6}

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
    """One pass: what its run read, what it stores for later passes, and what it overwrote.

    before: pass B, with which the others are compared (in B itself: None).
    """

    name: str
    model: Model
    prompts: Prompts
    found: Run
    stored: Sequence[Node]
    freeze: Values
    patch: Values
    before: "Pass | None" = None

    def value(self, node: Node) -> Tensor:
        """What the pass stores or goes on with: `run` reads a value *before* it is overwritten.
        Of the logits, the logit difference."""
        value, index = self.found[node][0], self.index(node.at)
        if self.role(node) != "stored":
            for written, new in (self.freeze | self.patch).items():
                if self._holds(written, node):
                    value = new[0, index] if written.at is None else new[0]
        return logit_diff(value[None], self.prompts)[0] if node.kind == "logits" else value

    def role(self, node: Node) -> str:
        """patched, frozen, stored (for a later pass) or recomputed."""
        roles = {"stored": self.stored, "patched": self.patch, "frozen": self.freeze}
        for role, nodes in roles.items():
            if any(self._holds(other, node) for other in nodes):
                return role
        return "recomputed"

    def from_new(self, node: Node) -> bool:
        """Whether its value is that of x_new."""
        return self.name == "A" or (self.name == "C" and self.role(node) == "patched")

    def text(self, node: Node, show: Show | None = None) -> str:
        before = (self.before or self).value(node)
        return (show or readout(self.model))(node, self.value(node), before)

    def differs(self, node: Node) -> bool:
        """Whether its value is not that of pass B."""
        return _differ(self.value(node), (self.before or self).value(node))

    def stream_differs(self, where: Stage, at: At) -> bool:
        """The same of the residual stream, as the nodes of this stage read it."""
        if not (nodes := _stream(self.model, where, at)):
            return False
        passes = self, self.before or self
        here, before = (torch.stack([p.value(node) for node in nodes]).sum(0) for p in passes)
        return _differ(here, before)

    def looks(self, node: Node, at: At) -> bool:
        """Whether a head that reads anything attends to a position."""
        if node.kind != "z" or self.role(node) in ("patched", "frozen"):
            return False
        return bool(self.found[replace(node, kind="pattern")][0, self.index(at)] >= LOOKS)

    def index(self, at: At) -> int:
        """Where a position is in the prompt."""
        return int(self.found.tokens.at(at))  # type: ignore[arg-type]

    def word(self, at: At) -> str:
        return self.model.tokenizer.decode(self.found.tokens.ids[0, self.index(at)])

    def _holds(self, other: Node, node: Node) -> bool:
        """Whether the other node is this one or more: at all positions, or shared by its head."""
        there = other.at is None or self.index(other.at) == self.index(node.at)
        heads = set(node.heads(self.model)) <= set(other.heads(self.model))
        return there and heads and (other.kind, other.layer) == (node.kind, node.layer)


@dataclass(frozen=True)
class FourPasses:
    """The nodes to look at, first layer first, at positions as in the prompt, in passes A to D."""

    senders: list[Node]
    receivers: list[Node]
    nodes: list[Node]
    positions: list[At]
    passes: list[Pass]

    def inputs(self, head: Node) -> list[Node]:
        """What a head reads, of the nodes: its own query, keys and values there or earlier. What
        an MLP reads: its own input there."""
        if head.kind == "mlp_out":
            return [node for node in self.nodes if node == replace(head, kind="mlp_in")]
        if head.kind != "z":
            return []
        model, here, found = self.passes[0].model, self.positions.index(head.at), []
        for node in [n for n in self.nodes if n.layer == head.layer and n.kind in ("q", "k", "v")]:
            later = self.positions.index(node.at) - here
            mine = set(head.heads(model)) <= set(node.heads(model))
            if mine and (later == 0 or (later < 0 and node.kind != "q")):
                found.append(node)
        return found


def four_passes(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    nodes: Iterable[Node | str] = (),
    frozen: Iterable[Node | str] | None = None,
) -> FourPasses:
    """Run passes A to D on one pair; look at the senders, the receivers, the logits, and `nodes`.

    The arguments are those of `diagrams.pass_diagram`, and so are the errors.

    Source: Wang et al. 2023, App. B, Algorithm 1. Book: chapter 5.
    """
    if len(prompts) != 1:
        raise PathPatchError(f"a diagram shows one pair, got {len(prompts)}; pick one: prompts[:1]")
    senders, receivers = as_nodes(senders), as_nodes(receivers)
    frozen = heads(model) if frozen is None else as_nodes(frozen)
    check_nodes(model, prompts.orig, senders, receivers)
    shown = as_nodes([*senders, *receivers, *nodes, LOGITS])
    shown.sort(key=lambda node: (stage(node), node.head or 0, KINDS.index(node.kind)))
    places = {node.at: int(prompts.orig.at(node.at)) for node in shown}  # type: ignore[arg-type]
    positions = sorted(places, key=places.__getitem__)
    reads = [*senders, *receivers, *shown, *frozen]
    reads += [n for node in shown for at in positions for n in _stream(model, stage(node), at)]
    reads += [replace(node, kind="pattern") for node in shown if node.kind == "z"]

    def one(name: str, tokens: Tokens, stored: list[Node], freeze: Values, patch: Values) -> Pass:
        found = run(model, tokens, reads=reads, writes=freeze | patch)
        return Pass(name, model, prompts, found, stored, freeze, patch, b if name != "B" else None)

    b = one("B", prompts.orig, frozen, {}, {})
    a = one("A", prompts.new, senders, {}, {})
    freeze = {node: b.found[node] for node in frozen if node not in senders}
    c = one("C", prompts.orig, receivers, freeze, {node: a.found[node] for node in senders})
    patch = {node: c.found[node] for node in receivers if node.kind != "logits"}
    d = one("D", prompts.orig, [], {}, patch)
    d.found.update({node: c.found[node] for node in receivers if node.kind == "logits"})
    return FourPasses(senders, receivers, shown, positions, [a, b, c, d])


def _stream(model: Model, where: Stage, at: At) -> list[Node]:
    """The nodes whose sum the nodes of a stage read; nothing is below embeddings."""
    layer, place = where
    if place == STAGES["resid_pre"]:  # of the embeddings too, which have no layer (-1)
        below = Node("resid_post", layer - 1, at=at) if layer > 0 else Node("embed", at=at)
        return [below] if layer >= 0 else []
    if place == STAGES["logits"]:
        return [Node("resid_post", model.cfg.n_layers - 1, at=at)]
    kinds = ["resid_pre", "attn_out", "mlp_out"][: (place + 1) // 2]
    return [Node(kind, layer, at=at) for kind in kinds if kind != "mlp_out" or mlps(model)]


def _differ(value: Tensor, before: Tensor) -> bool:
    """Rounding does not count: what is computed again may differ in its last digits."""
    return bool((value - before).norm() > 100 * torch.finfo(value.dtype).eps * before.norm())
