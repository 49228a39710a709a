"""Figures of attention: rows of numbers, and arcs over the sentence."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pathpatch.engine.blocks import as_array
from pathpatch.errors import PathPatchError
from pathpatch.forward import Run, run
from pathpatch.nodes import Model, Node, as_nodes
from pathpatch.pictures.pen import arc, box, sheets, text
from pathpatch.prompts import Tokens


def attention_panel(model: Model, tokens: Tokens, patterns: Iterable[Node | str]) -> Figure:
    """Where heads look in one prompt: a darker cell is a larger share of the head's attention.

    patterns: heads such as 9.6 or 9.6.pattern. Those with a position (9.6@END) become the rows of
    one map, all others a map each, a row for each token that looks. Shares of 0.1 or more are
    written out; every row sums to 1. Labelled positions are named above.

    Raises: PathPatchError for more than one prompt, and for nodes that are not heads.
    Book: chapters 3, 6 and 7.
    """
    nodes, found, words = _looks(model, tokens, patterns)
    n = len(words)
    rows = [node for node in nodes if node.at is not None]
    names = [f"{node.layer}.{node.head} @{node.at}" for node in rows]
    maps = [("", names, np.stack([as_array(found[node][0, :n]) for node in rows]))] if rows else []
    for node in [node for node in nodes if node.at is None]:
        maps.append((f"head {node.layer}.{node.head}", words, as_array(found[node][0, :n, :n])))
    heights = [1.1 + 0.26 * len(names) for _, names, _ in maps]
    figure = Figure(figsize=(7.5, sum(heights)), layout="constrained")
    for axes, (title, names, shares) in zip(
        figure.subplots(len(maps), squeeze=False, height_ratios=heights).flat, maps, strict=True
    ):
        _attention(axes, shares, names, words, title)
        labels = {int(tokens.at(at)): at for at in tokens.positions if tokens.positions[at][0] >= 0}
        above = axes.secondary_xaxis("top")
        above.set_xticks(list(labels), list(labels.values()), fontsize=8)
        above.tick_params(length=0)
    return figure


def attention_arcs(model: Model, tokens: Tokens, patterns: Iterable[Node | str]) -> Figure:
    """Where heads look in one prompt, drawn over the sentence, a line of words for each head.

    patterns: heads with the position that looks, such as 9.6@END. Arcs lead from the word there,
    outlined, back to every word that gets a share of 0.1 or more: the number, and the wider line.
    A darker word has more. For rows of numbers, and heads at all positions, see `attention_panel`.

    Raises: PathPatchError for more than one prompt, nodes that are not heads, and heads without a
    position.
    Book: chapter 3.
    """
    nodes, found, words = _looks(model, tokens, patterns)
    if everywhere := [node for node in nodes if node.at is None]:
        raise PathPatchError(
            f"arcs start at one word, and {everywhere[0]} has no position; "
            f"try {replace(everywhere[0], at='END')}, or attention_panel"
        )
    sizes = np.array([0.16 + 0.075 * len(word) for word in words])  # inches
    sizes *= min(1, 7.3 / sizes.sum())
    figure = sheets(7.5, 1.25, len(nodes))
    for axes, node in zip(figure.axes, nodes, strict=True):
        start = int(tokens.at(node.at))  # type: ignore[arg-type]
        title = f"head {node.layer}.{node.head} looks from {node.at}"
        text(axes, (0.1, 1.12), title, ha="left", weight="bold")
        _arcs(axes, as_array(found[node][0]), words, sizes, start)
    return figure


def _arcs(axes: Axes, shares: np.ndarray, words: list[str], sizes: np.ndarray, start: int) -> None:
    """One line of words. sizes: their widths. start: the word that looks."""
    middles = 0.1 + np.cumsum(sizes) - sizes / 2
    begin, floor = middles[start], 0.34
    for i, (word, share, x) in enumerate(zip(words, shares, middles, strict=False)):
        edge: dict[str, Any] = {"ec": "black" if i == start else "none", "lw": 1.2}
        box(axes, (x, 0.2), (sizes[i] - 0.03, 0.24), fc=str(1 - 0.75 * share), **edge)
        text(axes, (x, 0.2), word.strip(), size=8.5, color="white" if share > 0.6 else "black")
        if share >= 0.1:
            top = 0.45 + 0.5 * (begin - x) / 7.3 if i != start else 0.4
            if i != start:
                points = (begin, floor), (x, 2 * top - floor), (x, floor)
                arc(axes, *points, lw=0.6 + 3 * share, color="#444444")
            text(axes, ((begin + 3 * x) / 4, top), f"{share:.2f}".lstrip("0"), "white")


def _looks(
    model: Model, tokens: Tokens, patterns: Iterable[Node | str]
) -> tuple[list[Node], Run, list[str]]:
    """The patterns as nodes, a run that read them, and the words of the one prompt."""
    nodes = as_nodes(patterns)
    if len(tokens) != 1 or not nodes or {node.kind for node in nodes} - {"z", "pattern"}:
        raise PathPatchError(
            f"an attention panel shows heads, such as 9.6@END, on one prompt; got {len(tokens)} "
            f"prompts and {', '.join(map(str, nodes)) or 'no head'}; try prompts.orig[:1]"
        )
    nodes = [replace(node, kind="pattern") for node in nodes]
    found, n = run(model, tokens, reads=nodes), int(tokens.at("END")) + 1
    words = [repr(model.tokenizer.decode(i))[1:-1] for i in tokens.ids[0, :n].tolist()]
    return nodes, found, words


def _attention(
    axes: Axes, shares: np.ndarray, names: list[str], words: list[str], title: str
) -> None:
    # up to 1.2: the darkest grey is not black
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.2, aspect="auto")
    for (y, x), share in np.ndenumerate(shares):
        if share >= 0.1:
            shade = "white" if share > 0.6 else "black"
            number = f"{share:.2f}".lstrip("0")
            axes.text(x, y, number, ha="center", va="center", color=shade, fontsize=8)
    axes.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(length=0, labelsize=8)
    axes.set_xticks(np.arange(len(words) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", lw=0.6)
    axes.tick_params(which="minor", length=0)
