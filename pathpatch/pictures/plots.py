"""Figures of effects, and figures as files."""

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from pathpatch.effects import Effects
from pathpatch.errors import PathPatchError
from pathpatch.files import as_path, write_file
from pathpatch.uncertainty import NOTHING


def heat_map(effects: Effects, title: str = "", *, labels: int = 6) -> Figure:
    """One map of `heat_maps`."""
    return heat_maps({title: effects}, labels=labels)


def heat_maps(maps: Mapping[str, Effects], *, labels: int = 6) -> Figure:
    """Mean change of every head: layers down, heads across, red where the metric falls.

    maps: title -> effects, side by side with one range of colours, centred at zero. Heads that do
    not stand out in their own map (corrected p of 0.05 or more, as `Effects.table` says) are faded;
    the strongest others, at most `labels` in a map, carry their name. A line below says so when
    there are too few prompts for any to stand out.

    Raises: PathPatchError when a row is not a single head, or a head has several rows.
    Book: chapters 5 and 7.
    """
    if not all(effects.of_heads() for effects in maps.values()):
        raise PathPatchError("a heat map needs effects of single heads, one in each row")
    limit = max(float(np.abs(effects.mean()).max()) for effects in maps.values()) or 1e-12
    rows, columns = np.max([effects.by_head().shape for effects in maps.values()], axis=0)
    width, height = 1.6 + (0.28 + 0.14 / len(maps)) * columns * len(maps), 1.3 + 0.24 * rows
    shape: dict[str, Any] = {"figsize": (width, height), "layout": "constrained"}
    figure, panels = plt.subplots(1, len(maps), squeeze=False, sharey=True, **shape)
    for axes, (title, effects) in zip(panels[0], maps.items(), strict=True):
        image = _heat_map(axes, effects, limit, labels)
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
        axes.set(xlabel="head", xticks=range(columns), yticks=range(0, rows, 1 + rows // 16))
        axes.set_title(title, fontsize=10)
        axes.tick_params(length=2, labelsize=8)
    panels[0, 0].set(ylabel="layer")
    unit = effects.about.metric.replace("_", " ")
    notes = dict.fromkeys(note for effects in maps.values() for note in effects.cautions())
    if faint := [note for note in notes if note.startswith(NOTHING)]:
        figure.supxlabel("\n".join(textwrap.wrap("; ".join(faint), 45)), fontsize=7)
    figure.colorbar(image, ax=panels, label=f"mean change of {unit}")
    return figure


def _heat_map(axes: Axes, effects: Effects, limit: float, labels: int) -> AxesImage:
    mean, clear = effects.mean(), effects.p_adjusted() < 0.05
    alpha = effects.by_head(np.where(clear, 1.0, 0.25))
    for i in [i for i in effects.top(len(mean)) if clear[i]][:labels]:
        (node,) = effects.senders[i]
        shade = "white" if abs(mean[i]) > 0.6 * limit else "black"
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": shade}
        column, row = np.array([node.head, node.layer])
        axes.text(column, row, f"{row}.{column}", **style)
    colors: dict[str, Any] = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
    return axes.imshow(effects.by_head(), **colors, alpha=np.nan_to_num(alpha), aspect="auto")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a file whose kind follows from the name (.svg, .png, .pdf).

    The same figure gives the same bytes: SVG files come without a date and random names.

    Raises: PathPatchError for a name of another kind, and when the file cannot be written.
    """
    kind, content = as_path(path).suffix[1:].lower(), io.BytesIO()
    if kind not in (known := figure.canvas.get_supported_filetypes()):
        raise PathPatchError(f"a figure is written as {', '.join(known)}; not as {str(path)!r}")
    with plt.rc_context({"svg.hashsalt": "pathpatch"}):
        undated = {"Date": None} if kind == "svg" else {}
        figure.savefig(content, format=kind, dpi=200, metadata=undated)
    write_file(as_path(path), content.getvalue())


def save_heat_map(effects: Effects, path: Path, title: str) -> None:
    """Write the heat map as a file whose kind follows from the name (.png, .svg)."""
    figure = heat_map(effects, title)
    figure.savefig(path, dpi=150)
    plt.close(figure)
