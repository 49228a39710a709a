"""The four passes with their values as a diagram."""

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch, Patch

from pathpatch.nodes import Model, Node
from pathpatch.pictures.passes import At, FourPasses, Pass, Stage, four_passes, stage
from pathpatch.pictures.pen import Point, arrow, box, sheets, text
from pathpatch.pictures.readout import Show
from pathpatch.prompts import Prompts

Style = dict[str, Any]  # as matplotlib takes it

SENDER, RECEIVER = Style(fc="#f09a8d", ec="#a61c00"), Style(fc="#ffe28a", ec="#8a6a00")
FROZEN, WHITE = Style(fc="#cfcfcf", ec="#6e6e6e"), Style(fc="white", ec="black")
TOKEN = Style(fc="white", ec="#9a9a9a")
HATCH = {"white": "#b8b8b8", SENDER["fc"]: "#d46a5a"}
CHANGED, SAME = Style(color="black", lw=2.2), Style(color="#a0a0a0", lw=0.9)
STYLE = {True: CHANGED, False: SAME}  # of a line: does it carry a change?
HANDED = Style(color=RECEIVER["ec"], lw=1.4, linestyle=(0, (3, 2)))
WRITERS = ("embed", "resid_pre", "z", "mlp_out", "resid_post")  # what adds to the residual stream
NAMES = {"z": "head", "q": "query", "k": "key", "v": "value"}
NAMES |= {"mlp_in": "input of MLP", "mlp_out": "MLP"}
FROM = {"C frozen": " (B)", "C patched": " (A)", "D patched": " (C)"}
DONE = {"C": ", sender patched", "D": ", receiver patched"}
# In inches: the book's page, a line of text and a bold character in it, and how far from a box
# the lines go to the stream.
WIDTH, LINE, CHARACTER, OUT = 7.5, 0.135, 0.062, 0.085


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
    data = four_passes(model, prompts, **ends, nodes=nodes, frozen=frozen)
    plan = Drawing(data, show)
    figure = sheets(plan.width, plan.height, 4 // plan.per_row, plan.per_row, below=0.5)
    for axes, one in zip(figure.axes, data.passes, strict=True):
        plan.draw(axes, one)
    *_, c, d = (axes.transData for axes in figure.axes)
    for i, node in enumerate(data.receivers):
        (x, y), half = plan.center[node], plan.box_width / 2
        y += 0.1 * (i - (len(data.receivers) - 1) / 2)  # receivers side by side: arrows apart
        handed = ConnectionPatch((x + half, y), (x - half, y), c, d, arrowstyle="-|>", **HANDED)
        figure.add_artist(handed).set(mutation_scale=9, zorder=-1)
    _legend(figure)
    return figure


class Drawing:
    """Where everything stands in the drawing of a pass, from its lower left corner, in inches.

    rail: position -> x of the line that is its residual stream. bottom and top: stage -> y of its
    boxes. center: node -> (x, y).
    """

    def __init__(self, data: FourPasses, show: Show | None) -> None:
        self.data = data
        each = [(one, node) for one in data.passes for node in data.nodes]
        self.texts = {(one.name, node): one.text(node, show).split("\n") for one, node in each}
        rows: dict[tuple[Stage, At], list[Node]] = {}
        for node in data.nodes:
            rows.setdefault((stage(node), node.at), []).append(node)
        slots = [max(len(row) for (_, at), row in rows.items() if at == p) for p in data.positions]
        longest = max(len(line) for lines in self.texts.values() for line in [*lines, "recomputed"])
        for self.per_row in (4, 2, 1):  # passes side by side: as many as leave room for the words
            self.width = WIDTH / self.per_row
            slot = (self.width - 0.04 - 0.14 * len(slots)) / sum(slots)
            if slot > 0.04 + CHARACTER * longest:
                break
        self.box_width = min(slot - 0.04, 1.3)
        at_x = [0.09 + 0.14 * i + slot * sum(slots[:i]) for i in range(len(slots))]
        self.rail = dict(zip(data.positions, at_x, strict=True))
        self.bottom: dict[Stage, float] = {}
        self.top: dict[Stage, float] = {}
        self.center: dict[Node, Point] = {}
        y = 0.28
        for (i, at), row in rows.items():
            if i not in self.top:
                lines = max(len(words) for (_, n), words in self.texts.items() if stage(n) == i)
                self.bottom[i], self.top[i] = y + 0.27, y + 0.33 + LINE * (2 + lines)
                y = self.top[i]
            for k, node in enumerate(row):
                x = self.rail[at] + 0.09 + k * slot + self.box_width / 2
                self.center[node] = x, (self.bottom[i] + self.top[i]) / 2
        self.height = y + 0.5

    def draw(self, axes: Axes, one: Pass) -> None:
        name = f"Pass {one.name}"
        text(axes, (0.06, self.height - 0.15), name, ha="left", size=10, weight="bold")
        done = rf"$x_\mathrm{{{'new' if one.name == 'A' else 'orig'}}}$" + DONE.get(one.name, "")
        text(axes, (0.06, self.height - 0.33), done, ha="left")
        for at in self.data.positions:
            self._stream(axes, one, at)
        for node in self.data.nodes:
            if one.role(node) not in ("patched", "frozen"):
                self._reads(axes, one, node)
            if node.kind in WRITERS:
                (x, _), y = self.center[node], self.top[stage(node)]
                out = (x, y), (x, y + OUT), (self.rail[node.at], y + OUT)
                arrow(axes, *out, **STYLE[one.differs(node)])
            self._box(axes, one, node)

    def _seen(self, one: Pass, node: Node) -> list[At]:
        """Other positions that a head attends to, of which no key or value is drawn."""
        drawn = [node.at, *(n.at for n in self.data.inputs(node))]
        return [at for at in self.data.positions if at not in drawn and one.looks(node, at)]

    def _stream(self, axes: Axes, one: Pass, at: At) -> None:
        """The token, and the line of its residual stream up to what reads it last."""
        word, x, width, new = one.word(at), self.rail[at], self.box_width + 0.13, one.name == "A"
        center = x - 0.04 + width / 2, 0.18
        box(axes, center, (width, 0.2), HATCH["white"] if new else None, **TOKEN)
        weight = "bold" if word != self.data.passes[1].word(at) else "normal"
        text(axes, center, f"{at}: {word.strip()}", "white" if new else None, weight=weight)
        last = [n for n in self.data.nodes if n.at == at or at in self._seen(one, n)][-1]
        writes = last.at == at and last.kind in WRITERS
        y, stop = 0.28, self.top[stage(last)] + OUT if writes else self.bottom[stage(last)] - OUT
        for i in self.bottom:
            end = min(self.top[i] + OUT, stop)
            if y < end:
                style = STYLE[one.stream_differs(i, at)]
                axes.plot([x, x], [y, end], **style, solid_capstyle="projecting", zorder=1)
            y = end

    def _reads(self, axes: Axes, one: Pass, node: Node) -> None:
        """What goes into a box: its stream or its own input, and for a head what it attends to."""
        i, (x, _), inputs = stage(node), self.center[node], self.data.inputs(node)
        y, half = self.bottom[i], self.box_width / 2
        side = x - half, y + 0.15
        if node.kind != "embed" and not any(n.kind in ("q", "mlp_in") for n in inputs):
            style = STYLE[one.stream_differs(i, node.at)]
            arrow(axes, (self.rail[node.at], y - OUT), (x, y - OUT), (x, y), **style)
        for n in inputs:
            (x_n, y_n), style = self.center[n], STYLE[one.differs(n)]
            if n.at == node.at:
                arrow(axes, (x_n, self.top[stage(n)]), (x, y), **style)
            else:
                arrow(axes, (x_n + half, y_n), side, **style)
        for at in self._seen(one, node):
            arrow(axes, (self.rail[at], y - OUT), side, **STYLE[one.stream_differs(i, at)])

    def _box(self, axes: Axes, one: Pass, node: Node) -> None:
        role, (x, y), words = one.role(node), self.center[node], self.texts[one.name, node]
        ends = ((self.data.senders, "AC", SENDER), (self.data.receivers, "CD", RECEIVER))
        mine = [style for nodes, names, style in ends if node in nodes and one.name in names]
        style = mine[0] if mine else FROZEN if role == "frozen" else WHITE
        paper = style["fc"] if one.from_new(node) else None
        size = self.box_width, self.top[stage(node)] - self.bottom[stage(node)]
        box(axes, (x, y), size, HATCH.get(style["fc"]) if paper else None, **style)
        role += FROM.get(f"{one.name} {role}", "")
        value = {"weight": "bold" if one.differs(node) else "normal"}
        lines = [(_title(node), {}), (role, {"style": "italic"}), *((w, value) for w in words)]
        for k, (line, style) in enumerate(lines):
            text(axes, (x, y + LINE * ((len(lines) - 1) / 2 - k)), line, paper, **style)


def _title(node: Node) -> str:
    if node.kind == "logits":
        return "logit diff."
    head = "" if node.head is None else f".{'kv' if node.shared else ''}{node.head}"
    return f"{NAMES.get(node.kind, node.kind)} {'' if node.layer is None else node.layer}{head}"


def _legend(figure: Figure) -> None:
    boxes = {"sender": SENDER, "receiver": RECEIVER, "frozen": FROZEN, "recomputed": WHITE}
    boxes[r"from $x_\mathrm{new}$"] = {**TOKEN, "hatch": "////", "hatchcolor": HATCH["white"]}
    lines = {"carries a change": CHANGED, "as in pass B": SAME, "stored in C, handed to D": HANDED}
    lines[r"$\mathbf{bold}$: value differs from pass B"] = {"ls": "none"}
    lines["$(A)$: value taken from pass A"] = {"ls": "none"}
    keys: list[Any] = [Patch(label=name, lw=1.3, **style) for name, style in boxes.items()]
    keys += [Line2D([], [], label=name, **style) for name, style in lines.items()]
    look = Style(ncols=5, fontsize=8, frameon=False, handlelength=1.5, columnspacing=1)
    figure.legend(handles=keys, loc="lower center", **look)
