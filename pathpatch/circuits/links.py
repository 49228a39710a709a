"""Parts of a circuit: nodes, and edges between them.

An edge is written "0.1.z@S2 -> 2.0.k@S2": what the sender writes, as far as it goes straight to the
receiver. Without positions it is at all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, runtime_checkable

from pathpatch.errors import PathPatchError, as_list
from pathpatch.nodes import Model, Node, as_nodes
from pathpatch.prompts import END

SENDERS = ("embed", "z", "mlp_out")
RECEIVERS = ("q", "k", "v", "mlp_in", "logits")
ARROW = "->"
FORM = "an edge looks like 0.1.z@S2 -> 2.0.k@S2"


@dataclass(frozen=True)
class Link:
    """An edge of a circuit: from the output of the embedding, a head or an MLP to the input of a
    head or an MLP, or to the logits. `str(link)` and `parts` are inverse."""

    sender: Node
    receiver: Node

    def __str__(self) -> str:
        return f"{self.sender} {ARROW} {self.receiver}"

    @property
    def at(self) -> str | int | None:
        """The position of both ends: a direct path stays in its position. None: all positions."""
        return self.sender.at if self.receiver.at is None else self.receiver.at

    def everywhere(self) -> "Link":
        """The same edge at all positions."""
        return Link(self.sender.everywhere(), self.receiver.everywhere())

    def copies(self, model: Model) -> list["Link"]:
        """One edge for each query head that reads a shared key or value vector."""
        node = self.receiver
        if not node.shared:
            return [self]
        heads = node.heads(model)
        return [Link(self.sender, replace(node, head=head, shared=False)) for head in heads]

    def check(self, model: Model) -> None:
        """Raises: PathPatchError for ends that are not there, at different positions, of kinds
        that do not send or receive, or in the wrong order."""
        for node, kinds in ((self.sender, SENDERS), (self.receiver, RECEIVERS)):
            node.check(model)
            if node.kind not in kinds:
                does = "send" if kinds is SENDERS else "receive"
                raise PathPatchError(f"{self}: {node} does not {does}; {', '.join(kinds)} do")
        positions = {self.sender.at, self.receiver.at} - {None}
        if len(positions) > 1:
            raise PathPatchError(f"{self}: a direct path stays in its position; give both ends one")
        if self.receiver.kind == "logits" and self.at not in (None, END):
            raise PathPatchError(f"{self}: logits are read at END; nothing elsewhere reaches them")
        if step(self.sender) >= step(self.receiver):
            raise PathPatchError(f"{self}: the receiver does not come after the sender")


Part: TypeAlias = Node | Link


@runtime_checkable
class Ends(Protocol):
    """An edge by the names of its ends, such as `Circuit.edges` has."""

    @property
    def sender(self) -> str: ...
    @property
    def receiver(self) -> str: ...


Parts: TypeAlias = Iterable[Part | Ends | str | tuple[Node | str, Node | str]]


def parts(circuit: Parts) -> list[Part]:
    """Nodes and edges, as they may be given, in order, without repetition.

    A node is a `Node` or its name, an edge a `Link`, its name, a pair of nodes, or anything that
    has a sender and a receiver, such as the edges of a circuit that was discovered.
    Raises: PathPatchError for what is neither.
    """
    found: list[Part] = []
    for given in as_list(circuit, "nodes or edges"):
        if isinstance(given, Link):
            found.append(given)
        elif isinstance(given, str) and ARROW in given:
            found.append(_link(given.split(ARROW)))
        elif isinstance(given, tuple | list):
            found.append(_link(given))
        elif isinstance(given, Ends):
            found.append(_link([given.sender, given.receiver]))
        else:
            found += as_nodes([given])
    return list(dict.fromkeys(found))


def _link(ends: Iterable[Node | str]) -> Link:
    nodes = as_nodes(ends)
    if len(nodes) != 2:
        raise PathPatchError(f"cannot read {' '.join(map(str, nodes))!r} as an edge: {FORM}")
    return Link(*nodes)


def step(node: Node) -> float:
    """When a node is computed or read: attention of layer i at 2 i, its MLP at 2 i + 1."""
    if node.layer is None:
        return -1.0 if node.kind == "embed" else float("inf")
    return 2.0 * node.layer + node.kind.startswith("mlp")
