"""Circuits as diagrams: heads by layer, and what acts on them through which door."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import isotonic_regression

from pathpatch.circuits.circuit import Circuit, Edge
from pathpatch.errors import PathPatchError
from pathpatch.nodes import Node
from pathpatch.pictures.passes import stage
from pathpatch.pictures.pen import Point, arrow, box, sheets, text

Spot: TypeAlias = Node | tuple[int, int]  # a box, or where a link passes a row: (link, row)
Points: TypeAlias = list[Point]
Rectangle: TypeAlias = tuple[float, float, float, float]

# In inches: a box, and a door that hangs below it; the width that a box and a line keep free; from
# row to row, and below the first; a label's height, and its width for each character.
SIZE, TAB, SPACE, LANE, FLOOR, BASE = (0.9, 0.26), 0.14, 1.03, 0.17, 0.8, 0.72
LINE, CHARACTER = 0.13, 0.08
DOORS = {"q": -0.25, "k": 0.0, "v": 0.25}  # where they are, from the middle of the box
LOWERS: dict[str, Any] = {"color": "#b2182b", "linestyle": "-"}  # the colours of the heat maps
RAISES: dict[str, Any] = {"color": "#2166ac", "linestyle": (0, (3, 1.2))}


def circuit_diagram(circuit: Circuit) -> Figure:
    """Heads by layer, first below, with an arrow for every edge, to the door (q, k, v) it uses.

    A wider line is a larger effect; solid red lowers the metric when it is patched, dashed blue
    raises it. On each line: the change in percent of the metric before.

    Raises: PathPatchError for a circuit without edges.
    Book: chapters 7 and 12.
    """
    if not circuit.edges:
        raise PathPatchError("this circuit has no edges, so there is nothing to draw")
    wiring = Wiring(circuit)
    figure = sheets(wiring.width, BASE + FLOOR * (len(wiring.rows) - 1) + 0.3)
    axes, lines = figure.axes[0], wiring.lines()
    taken, most = list[Rectangle](), max(abs(edge.change) for edge in circuit.edges) or 1
    for row in wiring.rows:
        for node in [spot for spot in row if isinstance(spot, Node)]:
            x, y = wiring.place[node]
            box(axes, (x, y), SIZE)
            name = str(node.everywhere()).removesuffix(".z")
            text(axes, (x, y), name if node.kind == "logits" else f"{name} @{node.at}")
            taken.append((x, y - TAB / 2, SIZE[0], SIZE[1] + TAB))
        floor = {"embed": "tokens", "logits": ""}.get(node.kind, f"layer {node.layer}")
        text(axes, (0.1, y), floor, ha="left", color="#666666")
    doors: dict[Point, str] = {}
    for link, line in zip(wiring.links, lines, strict=True):
        arrow(axes, *line, lw=0.7 + 3.3 * abs(link.edge.change) / most, **_style(link))
        doors |= {line[-1]: link.door} if link.door else {}
    for (x, y), door in doors.items():
        box(axes, (x, y + TAB / 2), (TAB, TAB))
        text(axes, (x, y + TAB / 2), door)
    for link, line in zip(wiring.links, lines, strict=True):
        words = f"{link.edge.percent:+.0f} %"
        size = CHARACTER * len(words), LINE
        place = _free(line, lines, taken, size)
        taken.append((*place, *size))
        text(axes, place, words, "white", color=_style(link)["color"])
    keys = {"patching it lowers the metric": LOWERS, "raises it": RAISES}
    handles = [Line2D([], [], lw=2.4, label=words, **style) for words, style in keys.items()]
    figure.legend(handles=handles, ncols=2, fontsize=8, frameon=False, loc="lower left")
    return figure


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
        for k, link in enumerate(self.links):
            low, high = (floors.index(stage(node)) for node in (link.start, link.stop))
            passes: list[Spot] = [(k, i) for i in range(low + 1, high)]
            for i, spot in enumerate(passes, low + 1):
                self.rows[i].append(spot)
            self.chains.append([link.start, *passes, link.stop])
        x = self._settle()
        left, right = min(x.values()), max(x.values())
        self.width = max(7.5, right - left + 2)  # 7.5: the book's page
        scale = min(1.5, (self.width - 2) / ((right - left) or 1))
        self.place = {
            spot: (self.width / 2 + 0.3 + scale * (x[spot] - (left + right) / 2), BASE + FLOOR * i)
            for i, row in enumerate(self.rows)
            for spot in row
        }

    def _settle(self) -> dict[Spot, float]:
        """Move every spot to the middle of its neighbours, again and again; rows sort at first."""
        near: dict[Spot, list[Spot]] = defaultdict(list)
        for one, other in [pair for chain in self.chains for pair in pairwise(chain)]:
            near[one].append(other)
            near[other].append(one)
        x = {spot: float(i) for row in self.rows for i, spot in enumerate(row)}
        for turn in range(100):
            for row in self.rows[:: 1 if turn % 2 else -1]:
                want = {s: 0.98 * sum(x[n] for n in near[s]) / len(near[s]) for s in row}
                if turn < 40:
                    row.sort(key=want.__getitem__)
                x |= _apart(row, want)
        return x

    def lines(self) -> list[Points]:
        """The line of each link: from a box's top, through the rows, to the door of another."""
        found = []
        for link, chain in zip(self.links, self.chains, strict=True):
            (x, y), half = np.transpose([self.place[spot] for spot in chain]), SIZE[1] / 2
            # Lines that leave or enter a box share its width, in the order of where they go.
            start, stop = (0.27 * np.tanh(3 * (x[b] - x[a])) for a, b in ((0, 1), (-1, -2)))
            x, y = x.repeat(2)[1:-1], np.stack([y - half, y + half], 1).flatten()[1:-1]
            x[0] += start
            x[-1] += DOORS[link.door] if link.door else stop
            y[-1] -= TAB * bool(link.door)
            n = len(x)
            t = np.linspace(0, n - 1, 15 * (n - 1) + 1)  # upright at each of these points
            smooth = CubicHermiteSpline(range(n), x, np.zeros(n))(t), np.interp(t, range(n), y)
            found.append([(x, y) for x, y in np.transpose(smooth).tolist()])
        return found


def _links(circuit: Circuit) -> Iterator[Link]:
    """A query belongs to the head's box at its position; a key or value to all boxes of its head:
    the key of 23.3 at S2 is read by 23.3 at END. A head that only receives gets a box too. What an
    MLP reads and what it writes are one box."""
    edges = [(edge, Node.parse(edge.sender), Node.parse(edge.receiver)) for edge in circuit.edges]
    boxes = [sender for _, sender, _ in edges]
    boxes += [replace(node, kind="z") for _, _, node in edges if node.kind == "q"]
    for edge, sender, receiver in edges:
        door = receiver.kind if receiver.kind in DOORS else ""
        kinds = dict.fromkeys(DOORS, "z") | {"mlp_in": "mlp_out"}
        ends = [replace(receiver, kind=kinds.get(receiver.kind, receiver.kind))]
        if door in ("k", "v"):
            head = ends[0].everywhere()
            ends = [node for node in boxes if node.everywhere() == head] or ends
        for end in dict.fromkeys(ends):
            yield Link(edge, sender, end, door)


def _apart(row: list[Spot], want: dict[Spot, float]) -> dict[Spot, float]:
    """Where the spots of a row stand: in this order, as near as can be to where they want to be."""
    half = np.array([SPACE if isinstance(spot, Node) else LANE for spot in row]) / 2
    least = np.cumsum(half) + np.cumsum(half) - half  # from the left edge of the row, packed
    slack = isotonic_regression([want[spot] - x for spot, x in zip(row, least, strict=True)]).x
    return dict(zip(row, (slack + least).tolist(), strict=True))


def _style(link: Link) -> dict[str, Any]:
    return LOWERS if link.edge.change < 0 else RAISES


def _free(line: Points, lines: list[Points], taken: list[Rectangle], size: Point) -> Point:
    """The place on a line for a label: off boxes and labels, then off other lines, then in the
    middle. taken: (x, y, width, height) around the middle (x, y)."""
    width, height = size
    others = np.array([at for other in lines if other is not line for at in other] or [(9e9, 9e9)])

    def trouble(k: int) -> tuple[int, int, float]:
        x, y = line[k]
        hits = [
            abs(x - a) < (width + w) / 2 and abs(y - b) < (height + h) / 2 for a, b, w, h in taken
        ]
        near = (abs(others[:, 0] - x) < width / 2) & (abs(others[:, 1] - y) < height / 2)
        return sum(hits), int(near.sum()), abs(k - len(line) / 2)

    return line[min(range(len(line)), key=trouble)]
