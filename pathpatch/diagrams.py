"""The four passes with their values, and circuits, as diagrams."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pathpatch.layout import LINE, WIDTH, Panel
from pathpatch.models import Model
from pathpatch.nodes import Node
from pathpatch.passes import At, stage
from pathpatch.picture import Cell, FourPasses, four_passes
from pathpatch.plots import arrow, box, sheet, text
from pathpatch.prompts import Prompts
from pathpatch.readout import Show

RED, YELLOW = ("#f09a8d", "#a61c00"), ("#ffe28a", "#8a6a00")  # face and outline
GREY, WHITE, TOKEN = ("#cfcfcf", "#6e6e6e"), ("white", "black"), ("white", "#9a9a9a")
HATCH = {"white": "#b8b8b8", RED[0]: "#d46a5a"}
CHANGED: dict[str, Any] = {"color": "black", "lw": 2.2}
SAME: dict[str, Any] = {"color": "#a0a0a0", "lw": 0.9}
HANDED: dict[str, Any] = {"color": YELLOW[1], "lw": 1.4, "linestyle": (0, (3, 2))}
WRITERS = ("embed", "z", "mlp_out", "resid_post")  # what adds to the residual stream
OUT = 0.085  # how far from a box the lines go to the stream, in inches
NAMES = {"z": "head", "q": "query", "k": "key", "v": "value", "mlp_out": "MLP"}
FROM = {"C frozen": " (B)", "C patched": " (A)", "D patched": " (C)"}
TITLES = {
    "A": r"$x_\mathrm{new}$",
    "B": r"$x_\mathrm{orig}$",
    "C": r"$x_\mathrm{orig}$, sender patched",
    "D": r"$x_\mathrm{orig}$, receiver patched",
}


def pass_diagram(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    nodes: Iterable[Node | str] = (),
    frozen: Iterable[Node | str] | None = None,
    show: Show | None = None,
) -> Figure:
    """Passes A, B, C and D side by side, each node with the value that the pass goes on with.

    A column is a position, layers go upwards, and the line beside the boxes is the residual
    stream: a box reads it from below and adds to it above (residual connections are implied). A
    box that was overwritten reads nothing. Lines between columns are attention.

    prompts: one pair. nodes: what to draw besides the senders, the receivers and the logits.
    frozen: what pass C freezes; nothing said: all heads, as in the paper. show: (node, value,
    value in pass B) -> text; nothing said: `readout`.

    Raises: PathPatchError for more than one pair, and for nodes that are not there, have no
    position, or cannot send or receive.
    Source: Wang et al. 2023, App. B, Fig. 11. Book: chapter 5.
    """
    ends = {"senders": senders, "receivers": receivers}
    data = four_passes(model, prompts, **ends, nodes=nodes, frozen=frozen, show=show)
    panel = Panel(data)
    height = 4 // panel.per_row * panel.height + 0.5
    figure = Figure(figsize=(WIDTH, height))
    behind, corner = sheet(figure, 0.0, 0.0, WIDTH, height), {}
    for i, name in enumerate("ABCD"):
        row, column = divmod(i, panel.per_row)
        corner[name] = column * panel.width, height - (row + 1) * panel.height
        axes = sheet(figure, *corner[name], panel.width, panel.height)
        PassDrawing(axes, name, data, panel).draw()
    for i, node in enumerate(data.receivers):
        (x, y), half = panel.center[node], panel.box_width / 2
        y += 0.1 * (i - (len(data.receivers) - 1) / 2)  # receivers side by side: arrows apart
        start = corner["C"][0] + x + half, corner["C"][1] + y
        arrow(behind, start, (corner["D"][0] + x - half, corner["D"][1] + y), **HANDED)
    _legend(sheet(figure, 0.0, 0.0, WIDTH, 0.5))
    return figure


@dataclass
class PassDrawing:
    """One pass on its own axes."""

    axes: Axes
    name: str
    data: FourPasses
    panel: Panel

    def draw(self) -> None:
        y = self.panel.height
        text(self.axes, (0.06, y - 0.15), f"Pass {self.name}", size=10, weight="bold", ha="left")
        text(self.axes, (0.06, y - 0.33), TITLES[self.name], ha="left")
        for at in self.data.positions:
            self._stream(at)
        for node in self.data.nodes:
            if self._cell(node).role not in ("patched", "frozen"):
                self._reads(node)
            if node.kind in WRITERS:
                (x, _), y = self.panel.center[node], self.panel.top[stage(node)]
                out = (x, y), (x, y + OUT), (self.panel.rail[node.at], y + OUT)
                arrow(self.axes, *out, **self._style(self._cell(node).differs))
            self._box(node)

    def _cell(self, node: Node) -> Cell:
        return self.data.cells[self.name, node]

    def _style(self, changed: bool) -> dict[str, Any]:
        return CHANGED if changed else SAME

    def _seen(self, node: Node) -> list[At]:
        """Other positions that a head attends to, of which no key or value is drawn."""
        drawn = [node.at, *(n.at for n in self.data.inputs[node])]
        return [at for at in self._cell(node).looks if at not in drawn]

    def _stream(self, at: At) -> None:
        """The token, and the line of its residual stream up to what reads it last."""
        word, panel, x = self.data.words[self.name, at], self.panel, self.panel.rail[at]
        differs = word != self.data.words["B", at]
        width = panel.box_width + 0.13
        center = x - 0.04 + width / 2, 0.18
        new = self.name == "A"
        box(self.axes, center, (width, 0.2), TOKEN, HATCH["white"] if new else None)
        weight = "bold" if differs else "normal"
        text(self.axes, center, f"{at}: {word.strip()}", "white" if new else None, weight=weight)
        here = [n for n in self.data.nodes if n.at == at]
        ends = [
            panel.top[stage(n)] + OUT if n.kind in WRITERS else panel.bottom[stage(n)] - OUT
            for n in here
        ]
        ends += [panel.bottom[stage(n)] - OUT for n in self.data.nodes if at in self._seen(n)]
        y = 0.28
        for i in panel.bottom:
            if y >= max(ends):
                break
            style = self._style(self.data.streams[self.name, i, at])
            end = min(panel.top[i] + OUT, max(ends))
            self.axes.plot([x, x], [y, end], **style, solid_capstyle="projecting", zorder=1)
            y = end

    def _reads(self, node: Node) -> None:
        """What goes into a box: its stream, and for a head what it attends to."""
        i, (x, _), panel = stage(node), self.panel.center[node], self.panel
        y, half, inputs = panel.bottom[i], panel.box_width / 2, self.data.inputs[node]
        side = x - half, y + 0.15
        if node.kind != "embed" and not any(n.kind == "q" for n in inputs):
            style = self._style(self.data.streams[self.name, i, node.at])
            arrow(self.axes, (panel.rail[node.at], y - OUT), (x, y - OUT), (x, y), **style)
        for n in inputs:
            (x_n, y_n), style = panel.center[n], self._style(self._cell(n).differs)
            if n.at == node.at:
                arrow(self.axes, (x_n, panel.top[stage(n)]), (x, y), **style)
            else:
                arrow(self.axes, (x_n + half, y_n), side, **style)
        for at in self._seen(node):
            style = self._style(self.data.streams[self.name, i, at])
            arrow(self.axes, (panel.rail[at], y - OUT), side, **style)

    def _box(self, node: Node) -> None:
        cell, (x, y), i = self._cell(node), self.panel.center[node], stage(node)
        ends = ((self.data.senders, "AC", RED), (self.data.receivers, "CD", YELLOW))
        colors = next((c for nodes, names, c in ends if node in nodes and self.name in names), None)
        face, edge = colors or (GREY if cell.role == "frozen" else WHITE)
        size = self.panel.box_width, self.panel.top[i] - self.panel.bottom[i]
        box(self.axes, (x, y), size, (face, edge), HATCH.get(face) if cell.from_new else None)
        role = cell.role + FROM.get(f"{self.name} {cell.role}", "")
        values = cell.text.split("\n")
        value = {"weight": "bold" if cell.differs else "normal"}
        styles = [{}, {"style": "italic"}, *[value] * len(values)]
        y += LINE * (len(values) + 1) / 2
        for k, (words, style) in enumerate(zip([_title(node), role, *values], styles, strict=True)):
            text(self.axes, (x, y - k * LINE), words, face if cell.from_new else None, **style)


def _title(node: Node) -> str:
    if node.kind == "logits":
        return "logit diff."
    head = "" if node.head is None else f".{'kv' if node.shared else ''}{node.head}"
    return f"{NAMES.get(node.kind, node.kind)} {'' if node.layer is None else node.layer}{head}"


def _legend(axes: Axes) -> None:
    new = r"from $x_\mathrm{new}$"
    faces = (("sender", 0.1, RED), ("receiver", 1.08, YELLOW), ("frozen", 2.12, GREY))
    for name, x, colors in (*faces, ("recomputed", 3.06, WHITE), (new, 4.3, TOKEN)):
        box(axes, (x + 0.13, 0.36), (0.26, 0.14), colors, HATCH["white"] if name == new else None)
        text(axes, (x + 0.33, 0.36), name, ha="left")
    lines = (("carries a change", 0.1, CHANGED), ("as in pass B", 1.78, SAME))
    for name, x, style in (*lines, ("stored in C, handed to D", 3.22, HANDED)):
        arrow(axes, (x, 0.13), (x + 0.4, 0.13), **style)
        text(axes, (x + 0.47, 0.13), name, ha="left")
    text(axes, (5.4, 0.36), "bold", weight="bold", ha="left")
    text(axes, (5.74, 0.36), "value differs from pass B", ha="left")
    text(axes, (5.4, 0.13), "(A)", style="italic", ha="left")
    text(axes, (5.74, 0.13), "value taken from pass A", ha="left")
