"""What the diagrams are drawn with. Everything is measured in inches."""

from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line

Point: TypeAlias = tuple[float, float]


# What the diagrams are drawn with. Everything is measured in inches.


def sheets(
    width: float, height: float, rows: int = 1, columns: int = 1, below: float = 0
) -> Figure:
    """A figure of sheets of this size without frames, above a strip that is left free."""
    whole = rows * height + below
    figure = Figure(figsize=(columns * width, whole))
    figure.subplots_adjust(0, below / whole, 1, 1, 0, 0)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set(xlim=(0, width), ylim=(0, height))
        axes.axis("off")
    return figure


def box(axes: Axes, center: Point, size: Point, hatch: str | None = None, **style: Any) -> None:
    """hatch: the colour of its hatching, if there is any."""
    (x, y), (width, height) = center, size
    at, shape = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=0.05"
    style = {"fc": "white", "ec": "black", "lw": 1.3, "zorder": 2, **style}
    style |= {"hatch": "////", "hatchcolor": hatch} if hatch else {}
    axes.add_patch(FancyBboxPatch(at, width, height, shape, **style))


def text(axes: Axes, at: Point, words: str, paper: str | None = None, **style: Any) -> None:
    """Words around a point. paper: the colour of what lies under them, over lines and hatches."""
    under = {"facecolor": paper, "lw": 0, "pad": 0.2} if paper else None
    style = {"size": 8, "ha": "center", "va": "center", "zorder": 4, "bbox": under, **style}
    axes.text(*at, words, **style)


def arrow(axes: Axes, *points: Point, lw: float, **style: Any) -> None:
    """A line through some points, with a head at the last one."""
    size = {"mutation_scale": 6 + 2 * lw, "shrinkA": 0, "shrinkB": 0}
    head: dict[str, Any] = {"arrowstyle": "-|>", "lw": lw, "zorder": 1, **size, **style}
    axes.add_patch(FancyArrowPatch(path=Line(points), **head))


def arc(axes: Axes, start: Point, over: Point, stop: Point, *, lw: float, **style: Any) -> None:
    """A curve from start to stop, drawn towards the point `over`, with a head at its end."""
    size = {"mutation_scale": 6 + 2 * lw, "shrinkA": 0, "shrinkB": 0}
    look: dict[str, Any] = {"arrowstyle": "-|>", "lw": lw, "zorder": 1, **size, **style}
    path = Line([start, over, stop], [Line.MOVETO, Line.CURVE3, Line.CURVE3])
    axes.add_patch(FancyArrowPatch(path=path, **look))
