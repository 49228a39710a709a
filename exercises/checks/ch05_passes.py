"""Pass C of a path patch, with each place where one can go wrong: for 5.2, 5.4 and 5.5."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from exercises.checks.ch05_values import (
    Values,
    averaged,
    layer,
    next_head,
    of,
    of_first,
    passed,
    values,
)
from pathpatch import Node, Tokens
from pathpatch.nodes import Model, mlps

Slip: TypeAlias = Callable[[str], bool]
LATE = ": a lambda in a loop looks up its variable when it is called, and not when it is made"


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
    if nodes and slip("every frozen node gets the value of the last one" + LATE):
        return dict.fromkeys(nodes, values(model, q.orig, nodes[-1:])[nodes[-1]])
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
