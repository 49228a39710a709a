"""Passes A, B and C of a path patch, with each place where one can go wrong: for 5.2 to 5.5."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathpatch import Node, Run, Tokens, run
from pathpatch.nodes import KINDS, Model, grid, mlps

Slip: TypeAlias = Callable[[str], bool]
Values: TypeAlias = dict[Node, Tensor]

_runs: dict[Any, tuple[Tensor, Run]] = {}  # the token ids of a pass must stay alive, see `_key`
MANY = 4000  # passes that are kept


def passed(model: Model, tokens: Tokens, writes: Values, nodes: Iterable[Node]) -> Values:
    """What a pass with these writes has at some nodes. Two mistakes often end in the same pass."""
    nodes = list(nodes)
    single = {node: _single(model, node) for node in nodes}
    reads = tuple(dict.fromkeys(node.everywhere() for node in single.values()))
    key = _key(model, tokens, writes, reads)
    if key not in _runs:
        if len(_runs) > MANY:
            _runs.clear()
        _runs[key] = tokens.ids, run(model, tokens, reads=reads, writes=writes)
    return {node: _cut(tokens, node, _runs[key][1][single[node].everywhere()]) for node in nodes}


def _key(model: Model, tokens: Tokens, writes: Values, reads: tuple[Node, ...]) -> Any:
    written = [(n, new.shape, new.contiguous().numpy().tobytes()) for n, new in writes.items()]
    places = [(n.at, tuple(tokens.at(n.at).tolist())) for n in writes if n.at is not None]
    return id(model), id(tokens.ids), tuple(written), tuple(places), reads


def _single(model: Model, node: Node) -> Node:
    """One of the copies of a vector that several heads share."""
    return replace(node, head=node.heads(model)[0], shared=False) if node.shared else node


def _cut(tokens: Tokens, node: Node, whole: Tensor) -> Tensor:
    return whole if node.at is None else whole[tokens.index(node.at)]


def values(model: Model, tokens: Tokens, nodes: Iterable[Node]) -> Values:
    """What a run without changes computes at some nodes; all of them are read at once."""
    every = [place for kind in KINDS for place in grid(model, kind)]
    found = passed(model, tokens, {}, every)
    return {n: _cut(tokens, n, found[_single(model, n).everywhere()]) for n in nodes}


@dataclass(frozen=True)
class Question:
    """Path patch some senders to some receivers. orig, new: tokens with more labels, `of`."""

    model: Model
    orig: Tokens
    new: Tokens
    senders: list[Node]
    receivers: list[Node]
    frozen: list[Node]

    @property
    def swapped(self) -> "Question":
        return replace(self, orig=self.new, new=self.orig)


def labelled(tokens: Tokens) -> Tokens:
    """The same, with a label for the place that another prompt has: see `of`."""
    more = {
        f"{label} of prompt {row}": torch.full_like(places, int(places[row]))
        for label, places in tokens.positions.items()
        for row in range(len(tokens))
    }
    return Tokens(tokens.ids, tokens.positions | more)


def of(node: Node, row: int = 0) -> Node:
    """A node at the position that it has in one prompt, in all prompts."""
    return replace(node, at=f"{node.at} of prompt {row}") if isinstance(node.at, str) else node


def whole_layer(model: Model, nodes: Iterable[Node]) -> list[Node]:
    """Every head of the layers of some nodes, at their positions."""
    return [
        replace(node, head=head)
        for node in nodes
        if node.head is not None
        for head in range(model.cfg.n_heads // (model.cfg.query_heads_per_kv * node.shared or 1))
    ]


def next_head(model: Model, node: Node) -> Node:
    if node.head is None:
        return node
    group = model.cfg.query_heads_per_kv if node.shared else 1
    return replace(node, head=(node.head + 1) % (model.cfg.n_heads // group))


def averaged(found: Tensor) -> Tensor:
    return found.mean(0, keepdim=True).expand_as(found)


def of_first(found: Tensor) -> Tensor:
    return found[:1].expand_as(found)


def layer(node: Node, model: Model) -> int:
    """The layer, where the embedding comes before the first and the logits after the last."""
    if node.layer is not None:
        return node.layer
    return -1 if node.kind == "embed" else int(model.cfg.n_layers)


LATE = ": a lambda in a loop looks up its variable when it is called, and not when it is made"


def freeze(q: Question, slip: Slip) -> Values:
    """The frozen nodes with their values from pass B."""
    nodes, model = list(q.frozen), q.model
    sent = [layer(node, model) for node in q.senders]
    read = [layer(node, model) for node in q.receivers]
    if slip("nothing is frozen: what lies between h and R reacts to the new h"):
        nodes = []
    if slip("each node is frozen only at the positions of the senders, and not at all of its own"):
        places = dict.fromkeys(node.at for node in q.senders)
        nodes = [replace(n, at=at) if n.at is None else n for n in nodes for at in places]
    if slip("the MLPs are frozen too: they belong to the direct path"):
        nodes = [*nodes, *(node for node in mlps(model) if node not in nodes)]
    if slip("the last layer before R is not frozen"):
        nodes = [node for node in nodes if layer(node, model) < max(read) - 1]
    if slip("only the first layer after h is frozen"):
        nodes = [node for node in nodes if layer(node, model) == min(sent) + 1]
    if slip("only the first three layers are frozen, however many the model has"):
        nodes = [node for node in nodes if layer(node, model) < 3]
    if len(set(sent)) > 1:
        if slip("only what comes after the last of the senders is frozen"):
            nodes = [node for node in nodes if layer(node, model) > max(sent)]
        if slip("nothing in the layers of the senders is frozen, not even the other heads"):
            nodes = [node for node in nodes if layer(node, model) not in sent]
        if slip("a head that sends at one position is left free at all the others too"):
            sending = {node.everywhere() for node in q.senders}
            nodes = [node for node in nodes if node.everywhere() not in sending]
    if min(read) < max(read) and slip("nothing after the first of the receivers is frozen"):
        nodes = [node for node in nodes if layer(node, model) < min(read)]
    if slip("the frozen nodes get their values from pass A, and not from pass B"):
        return values(model, q.new, nodes)
    return values(model, q.orig, nodes)


def patch(q: Question, slip: Slip) -> Values:
    """The senders with their values from pass A."""
    nodes = list(q.senders)
    if len(nodes) > 1:
        if slip("only the first of the senders is patched"):
            nodes = nodes[:1]
        if slip("only the last of the senders is patched"):
            nodes = nodes[-1:]
    if slip("the sender is patched at all positions, and not only at its own"):
        nodes = [node.everywhere() for node in nodes]
    if slip("all heads of the sender's layer are patched"):
        every = range(q.model.cfg.n_heads)
        nodes += [
            Node("z", n.layer, i, at=n.at) for n in nodes if n.layer is not None for i in every
        ]
    if slip("the sender is patched at its position in the first prompt, in all prompts"):
        nodes = [of(node) for node in nodes]
    if slip("the sender is patched at END, and not at its own position"):
        nodes = [replace(node, at="END") for node in nodes]
    if slip("the head next to the sender is patched"):
        nodes = [next_head(q.model, node) for node in nodes]
    found = values(q.model, q.new, nodes)
    if slip("the sender's values are averaged over the prompts"):
        found = {node: averaged(new) for node, new in found.items()}
    if slip("every prompt gets the sender's value of the first prompt"):
        found = {node: of_first(new) for node, new in found.items()}
    old = values(q.model, q.orig, nodes)
    if slip("the change of the sender is patched in, and not its new value"):
        found = {node: new - old[node] for node, new in found.items()}
    if slip("the new value of the sender is added to the old one"):
        found = {node: new + old[node] for node, new in found.items()}
    if slip("the sender is set to zero, and not to its value on x_new"):
        found = {node: torch.zeros_like(new) for node, new in found.items()}
    return found


def pass_c(q: Question, slip: Slip, reads: list[Node]) -> Values:
    """What some nodes are in pass C."""
    frozen, patched = freeze(q, slip), patch(q, slip)
    if slip("the freeze is taken from A and the patch from B: it is the other way round"):
        frozen, patched = values(q.model, q.new, frozen), values(q.model, q.orig, patched)
    if slip("the freeze comes after the patch and undoes it"):
        writes = {node: new for node, new in patched.items() if node not in frozen} | frozen
    else:
        writes = {node: old for node, old in frozen.items() if node not in patched} | patched
    tokens = q.new if slip("pass C is run on x_new") else q.orig
    if slip(
        "R is as in pass B: nothing is patched where it is read, or a view of it changes later"
    ):
        return values(q.model, q.orig, reads)
    if slip("R is read in pass A, where everything is new"):
        return values(q.model, q.new, reads)
    return passed(q.model, tokens, writes, reads)
