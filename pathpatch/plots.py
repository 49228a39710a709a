"""Figures of effects. The only module that imports matplotlib."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from pathpatch.effects import Effects
from pathpatch.errors import PathPatchError
from pathpatch.nodes import Node


def heat_map(effects: Effects, title: str = "", *, limit: float = 0.0, labels: int = 6) -> Figure:
    """Mean change of every head: layers down, heads across, red where the metric falls.

    Heads that do not stand out (corrected p of 0.05 or more, see `Effects.p_adjusted`) are faded;
    the strongest others carry their name.
    limit: the end of the colour range in units of the metric (0: the largest change), so that
    several maps can share one range. The colours are centred at zero.

    Raises: PathPatchError when a sender is not a single head.
    Book: chapter 5.
    """
    if not effects.of_heads():
        raise PathPatchError("a heat map needs effects of single heads, one in each row")
    nodes = [Node.parse(name) for name in effects.senders]
    layer, head = (np.array([getattr(node, key) for node in nodes]) for key in ("layer", "head"))
    mean = effects.mean()
    clear = effects.p_adjusted(np.random.default_rng(0)) < 0.05
    grid, alpha = np.full((2, layer.max() + 1, head.max() + 1), np.nan)
    grid[layer, head], alpha[layer, head] = mean, np.where(clear, 1.0, 0.25)
    limit = limit or max(float(np.abs(mean).max()), 1e-12)
    rows, columns = grid.shape
    figure, axes = plt.subplots(figsize=(1.6 + 0.42 * columns, 1.3 + 0.24 * rows))
    image = axes.imshow(
        grid, cmap="RdBu", vmin=-limit, vmax=limit, alpha=np.nan_to_num(alpha), aspect="auto"
    )
    for i in [i for i in effects.top(len(nodes)) if clear[i]][:labels]:
        shade = "white" if abs(mean[i]) > 0.6 * limit else "black"
        name = f"{layer[i]}.{head[i]}"
        axes.text(head[i], layer[i], name, ha="center", va="center", fontsize=7, color=shade)
    axes.set(xlabel="head", ylabel="layer", xticks=range(columns), title=title)
    axes.title.set_fontsize(10)
    axes.set_yticks(range(0, rows, 1 + rows // 16))
    axes.tick_params(length=2, labelsize=8)
    unit = effects.about.metric.replace("_", " ")
    figure.colorbar(image, label=f"mean change of {unit}")
    figure.tight_layout()
    return figure


def save_heat_map(effects: Effects, path: Path, title: str) -> None:
    """Write the heat map as a file whose kind follows from the name (.png, .svg)."""
    figure = heat_map(effects, title)
    figure.savefig(path, dpi=150)
    plt.close(figure)
