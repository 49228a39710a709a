"""Where the boxes and lines of a diagram stand, in inches. Nothing is drawn here."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from pathpatch.edges import Circuit, Edge
from pathpatch.nodes import Node
from pathpatch.passes import At, Stage, stage
from pathpatch.picture import FourPasses

Spot: TypeAlias = Node | tuple[int, int]  # a box, or where a link passes a row: (link, row)
Points: TypeAlias = list[tuple[float, float]]

WIDTH = 7.5  # of the book's page
LINE = 0.135  # the height of a line of text
# Circuits. The size of a box and of the doors that hang below it; the width that a box and a line
# keep free; from row to row, and below the first.
SIZE, TAB, SPACE, LANE, FLOOR, BASE = (0.9, 0.26), 0.14, 1.03, 0.17, 0.8, 0.72
DOORS = {"q": -0.25, "k": 0.0, "v": 0.25}  # where they are, from the middle of the box


class Panel:
    """The places of one pass, from the panel's lower left corner; the same in all four.

    rail: position -> x of the line that is its residual stream. bottom and top: stage -> y of its
    boxes. center: node -> (x, y).
    """

    def __init__(self, data: FourPasses) -> None:
        rows: dict[tuple[Stage, At], list[Node]] = {}
        for node in data.nodes:
            rows.setdefault((stage(node), node.at), []).append(node)
        slots = {
            at: max(len(row) for (_, where), row in rows.items() if where == at)
            for at in data.positions
        }
        n_slots = sum(slots.values())
        self.per_row = min(4, max(1, 8 // n_slots))
        self.width = WIDTH / self.per_row
        slot = (self.width - 0.04 - 0.14 * len(slots)) / n_slots
        self.box_width = min(slot - 0.04, 1.3)

        self.rail: dict[At, float] = {}
        x = 0.04
        for at in data.positions:
            self.rail[at] = x + 0.05
            x += 0.14 + slots[at] * slot
        self.bottom: dict[Stage, float] = {}
        self.top: dict[Stage, float] = {}
        y = 0.28
        for i in sorted({stage(node) for node in data.nodes}):
            texts = [cell.text for (_, node), cell in data.cells.items() if stage(node) == i]
            self.bottom[i] = y + 0.27
            y = self.bottom[i] + 0.06 + LINE * (3 + max(text.count("\n") for text in texts))
            self.top[i] = y
        self.height = y + 0.5
        self.center = {
            node: (
                self.rail[at] + 0.09 + k * slot + self.box_width / 2,
                (self.bottom[i] + self.top[i]) / 2,
            )
            for (i, at), row in rows.items()
            for k, node in enumerate(row)
        }


@dataclass(frozen=True)
class Link:
    """An edge between two boxes: who sends, whose box receives, and at which door of it."""

    edge: Edge
    start: Node
    stop: Node
    door: str  # q, k, v, or nothing


class Wiring:
    """The places of a circuit: a row for each layer, embeddings below, logits on top.

    rows: from below, the spots of each, left to right. chains: the spots of each link. place:
    where a spot is, (x, y).
    """

    def __init__(self, circuit: Circuit) -> None:
        self.links = list(_links(circuit))
        boxes = dict.fromkeys(node for link in self.links for node in (link.start, link.stop))
        floors = sorted({stage(node) for node in boxes})
        self.rows: list[list[Spot]] = [
            sorted((node for node in boxes if stage(node) == floor), key=str) for floor in floors
        ]
        self.chains: list[list[Spot]] = []
        self.near: dict[Spot, list[Spot]] = defaultdict(list)
        for k, link in enumerate(self.links):
            low, high = (floors.index(stage(node)) for node in (link.start, link.stop))
            passes: list[Spot] = [(k, i) for i in range(low + 1, high)]
            for i, spot in enumerate(passes, low + 1):
                self.rows[i].append(spot)
            self.chains.append([link.start, *passes, link.stop])
            for one, other in pairwise(self.chains[-1]):
                self.near[one].append(other)
                self.near[other].append(one)
        x = self._settle()
        left, right = min(x.values()), max(x.values())
        self.width = max(WIDTH, right - left + 2)
        scale = min(1.5, (self.width - 2) / ((right - left) or 1))
        self.place = {
            spot: (self.width / 2 + 0.3 + scale * (x[spot] - (left + right) / 2), BASE + FLOOR * i)
            for i, row in enumerate(self.rows)
            for spot in row
        }

    def _settle(self) -> dict[Spot, float]:
        """Move every spot to the middle of its neighbours, again and again; rows sort at first."""
        x: dict[Spot, float] = {}
        for row in self.rows:
            x |= _apart(row, {spot: float(i) for i, spot in enumerate(row)})
        for turn in range(100):
            for row in self.rows[:: 1 if turn % 2 else -1]:
                want = {s: 0.98 * sum(x[n] for n in self.near[s]) / len(self.near[s]) for s in row}
                if turn < 40:
                    row.sort(key=want.__getitem__)
                x |= _apart(row, want)
        return x

    def lines(self) -> list[Points]:
        """The line of each link: from a box's top, through the rows, to the door of another."""
        found = []
        for link, chain in zip(self.links, self.chains, strict=True):
            points: Points = []
            for spot in chain:
                x, y = self.place[spot]
                points += [(x, y - SIZE[1] / 2), (x, y + SIZE[1] / 2)]
            points = points[1:-1]
            points[0] = points[0][0] + self._share(link, 0), points[0][1]
            shift = DOORS[link.door] if link.door else self._share(link, 1)
            points[-1] = points[-1][0] + shift, points[-1][1] - TAB * bool(link.door)
            found.append(_smooth(points))
        return found

    def _share(self, link: Link, end: int) -> float:
        """Lines that leave or enter a box share its width, in the order of where they go."""
        same = [
            (self.place[chain[1 if end == 0 else -2]], one is link)
            for one, chain in zip(self.links, self.chains, strict=True)
            if (one.start == link.start if end == 0 else one.stop == link.stop)
        ]
        order = [mine for _, mine in sorted(same, key=lambda pair: pair[0][0])]
        return 0.6 * SIZE[0] * ((order.index(True) + 0.5) / len(order) - 0.5)


def _links(circuit: Circuit) -> Iterator[Link]:
    """A query belongs to the head's box at its position; a key or value to all boxes of its head:
    the key of 23.3 at S2 is read by 23.3 at END. A head that only receives gets a box too."""
    edges = [(edge, Node.parse(edge.sender), Node.parse(edge.receiver)) for edge in circuit.edges]
    boxes = [sender for _, sender, _ in edges]
    boxes += [replace(node, kind="z") for _, _, node in edges if node.kind == "q"]
    for edge, sender, receiver in edges:
        door = receiver.kind if receiver.kind in DOORS else ""
        ends = [replace(receiver, kind="z") if door else receiver]
        if door in ("k", "v"):
            head = ends[0].everywhere()
            ends = [node for node in boxes if node.everywhere() == head] or ends
        for end in dict.fromkeys(ends):
            yield Link(edge, sender, end, door)


def _apart(row: list[Spot], want: dict[Spot, float]) -> dict[Spot, float]:
    """Where the spots of a row stand: in this order, as near as can be to where they want to be.

    Pushed to the right where they are too near, then to the left; the mean of both keeps apart.
    """
    widths = [SPACE if isinstance(spot, Node) else LANE for spot in row]
    gaps = [(one + other) / 2 for one, other in pairwise(widths)]
    right = [want[spot] for spot in row]
    left = list(right)
    for i, gap in enumerate(gaps, 1):
        right[i] = max(right[i], right[i - 1] + gap)
    for i, gap in reversed(list(enumerate(gaps, 1))):
        left[i - 1] = min(left[i - 1], left[i] - gap)
    return {spot: (a + b) / 2 for spot, a, b in zip(row, left, right, strict=True)}


def _smooth(points: Points) -> Points:
    """Through these points, upright at each of them."""
    t = np.linspace(0, 1, 16)
    pieces = [
        np.stack([x + (x_next - x) * t**2 * (3 - 2 * t), y + (y_next - y) * t], 1)
        for (x, y), (x_next, y_next) in pairwise(points)
    ]
    return [(x, y) for x, y in np.concatenate(pieces).tolist()]
