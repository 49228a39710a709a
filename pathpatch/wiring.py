"""Circuits as diagrams: heads by layer, and what acts on them through which door."""

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pathpatch.edges import Circuit
from pathpatch.errors import PathPatchError
from pathpatch.layout import BASE, FLOOR, SIZE, TAB, Points, Wiring
from pathpatch.nodes import Node
from pathpatch.plots import Point, arrow, box, sheet, text

Rectangle: TypeAlias = tuple[float, float, float, float]

LOWERS = {"color": "#b2182b", "linestyle": "-"}  # the colours of the heat maps
RAISES = {"color": "#2166ac", "linestyle": (0, (3, 1.2))}
LINE, CHARACTER = 0.13, 0.08  # inches: a label's height, and its width for each character


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
    width, height = wiring.width, BASE + FLOOR * (len(wiring.rows) - 1) + 0.3
    figure = Figure(figsize=(width, height))
    axes = sheet(figure, 0.0, 0.0, width, height)
    taken: list[Rectangle] = []
    for row in wiring.rows:
        for node in [spot for spot in row if isinstance(spot, Node)]:
            x, y = wiring.place[node]
            box(axes, (x, y), SIZE, ("white", "black"))
            text(axes, (x, y), _name(node))
            taken.append((x, y - TAB / 2, SIZE[0], SIZE[1] + TAB))
        floor = {"embed": "tokens", "logits": ""}.get(node.kind, f"layer {node.layer}")
        text(axes, (0.1, y), floor, ha="left", color="#666666")
    most = max(abs(edge.change) for edge in circuit.edges)
    lines = wiring.lines()
    for link, line in zip(wiring.links, lines, strict=True):
        _line(axes, line, link.edge.change, most)
    doors = {
        (link.stop, link.door): line[-1] for link, line in zip(wiring.links, lines, strict=True)
    }
    for (_, door), (x, y) in doors.items():
        if door:
            box(axes, (x, y + TAB / 2), (TAB, TAB), ("white", "black"))
            text(axes, (x, y + TAB / 2), door)
    for link, line in zip(wiring.links, lines, strict=True):
        words = f"{link.edge.percent:+.0f} %"
        place = _free(line, lines, taken, CHARACTER * len(words))
        taken.append((*place, CHARACTER * len(words), LINE))
        text(axes, place, words, "white", color=_style(link.edge.change)["color"])
    for x, sign, words in ((0.1, -1.0, "patching it lowers the metric"), (2.75, 1.0, "raises it")):
        _line(axes, [(x, 0.15), (x + 0.4, 0.15), (x + 0.41, 0.15)], sign, 2.0)
        text(axes, (x + 0.5, 0.15), words, ha="left")
    return figure


def _style(change: float) -> dict[str, Any]:
    return LOWERS if change < 0 else RAISES


def _line(axes: Axes, points: Points, change: float, most: float) -> None:
    """A line as wide as its change is large, with its head at the last point."""
    width, style = 0.7 + 3.3 * abs(change) / most, _style(change)
    axes.plot(*zip(*points[:-1], strict=True), lw=width, zorder=1, **style)
    arrow(axes, points[-2], points[-1], lw=width, color=style["color"])


def _free(line: Points, lines: list[Points], taken: list[Rectangle], width: float) -> Point:
    """The place on a line for a label: off boxes and labels, then off other lines, then in the
    middle. taken: (x, y, width, height) around the middle (x, y)."""
    others = np.array([at for other in lines if other is not line for at in other] or [(9e9, 9e9)])

    def trouble(k: int) -> tuple[int, int, float]:
        x, y = line[k]
        hits = [
            abs(x - a) < (width + w) / 2 and abs(y - b) < (LINE + h) / 2 for a, b, w, h in taken
        ]
        near = (abs(others[:, 0] - x) < width / 2) & (abs(others[:, 1] - y) < LINE / 2)
        return sum(hits), int(near.sum()), abs(k - len(line) / 2)

    return line[min(range(len(line)), key=trouble)]


def _name(node: Node) -> str:
    name = str(replace(node, at=None)).removesuffix(".z")
    return name if node.kind == "logits" else f"{name} @{node.at}"
