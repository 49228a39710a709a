"""A value as a short text: "inhibit: Anna" in a model written by hand, "12.3 %" in any other."""

import math
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from pathpatch.designs import SHARP, Design, Head
from pathpatch.models import Model
from pathpatch.nodes import Node

Show: TypeAlias = Callable[[Node, Tensor, Tensor], str]  # node, its value, that of pass B -> text


def readout(model: Model) -> Show:
    """How a diagram shows a value, unless it is told otherwise.

    In words (`in_words`) where the model was written by hand; in any other how far the value is
    from that of pass B, in percent of its length there. Of the logits, the logit difference.

    Book: chapter 5.
    """
    design = model.cfg.design

    def show(node: Node, value: Tensor, before: Tensor) -> str:
        if node.kind == "logits":
            return f"{round(float(value), 2):g}" if design else f"{value:+.2f}"
        if design:
            return in_words(design, node, value)
        return f"{100 * (value - before).norm() / before.norm():.1f} %"

    return show


def in_words(design: Design, node: Node, value: Tensor) -> str:
    """A line for each view or subspace that the node holds; "none": nothing.

    z says what the head adds to which subspace; q, k and v which view they hold; any other node
    which subspaces are not zero. value: of one prompt, [d_head] or [d_model].

    Book: chapters 1 and 5.
    """
    if node.kind in ("z", "v"):
        held = _copied(design, node, value)
    elif node.kind in ("q", "k"):
        held = _matched(design, node, value)
    else:
        spaces = {name: value[design.where(name)] for name in design.spaces if name != "position"}
        held = {name: part for name, part in spaces.items() if part.any()}
    names = _coordinates(design)
    return (
        "\n".join(_line(view, part, names.get(view, [])) for view, part in held.items()) or "none"
    )


def _matched(design: Design, node: Node, value: Tensor) -> dict[str, Tensor]:
    """The views of a query or key, undoing the factors of `handmade`; where there is a choice,
    those of several coordinates: the others say where the head looks on any prompt."""
    found, start = {}, 0
    for query, key, strength in _head(design, node).match:
        stop = start + design.view(key).shape[1]
        times = SHARP * math.sqrt(len(value)) * strength if node.kind == "q" else 1
        if times and query != "one":
            found[query if node.kind == "q" else key] = value[start:stop] / times
        start = stop
    return {view: part for view, part in found.items() if len(part) > 1} or found


def _copied(design: Design, node: Node, value: Tensor) -> dict[str, Tensor]:
    copy = _head(design, node).copy
    if not copy:
        return {}
    view, space, _ = copy
    return {space if node.kind == "z" else view: value[: design.view(view).shape[1]]}


def _head(design: Design, node: Node) -> Head:
    number = (node.head or 0) * (design.group if node.shared else 1)
    return next(h for h in design.heads if (h.layer, h.head) == (node.layer, number))


def _coordinates(design: Design) -> dict[str, list[str]]:
    """The names of a subspace's coordinates: its words, or those of what is copied into it."""
    names = {"position": [f"@{i}" for i in range(design.spaces["position"])]}
    for table in (design.embed, design.unembed):
        for space in [space for space, size in design.spaces.items() if size > 1]:
            words = {i: word.strip() for word, into, i, _ in table if into == space}
            if words:
                names.setdefault(space, [words[i] for i in range(design.spaces[space])])
    copies = [(h.layer, *h.copy[:2]) for h in design.heads if h.copy]
    for _, view, space in sorted(
        [*copies, *((u.layer + 0.5, u.view, u.into) for u in design.units)]
    ):
        if view in names:
            names.setdefault(space, names[view])
    return names


def _line(view: str, part: Tensor, names: list[str]) -> str:
    numbers = [round(x, 2) for x in part.tolist()]
    if len(numbers) == 1:
        return f"{view} = {numbers[0]:g}"
    terms = [
        name if x == 1 else f"{x:g} {name}" for x, name in zip(numbers, names, strict=True) if x
    ]
    plus = "\n+ "
    return f"{view}: {plus.join(terms) or 'none'}"
