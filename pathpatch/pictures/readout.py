"""A value as a short text: "inhibit: Anna" in a model written by hand, "12.3 %" in any other."""

import math
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from pathpatch.handmade.designs import SHARP, Design
from pathpatch.nodes import Model, Node

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
    if node.head is None:
        spaces = {name: value[design.where(name)] for name in design.spaces if name != "position"}
        held = {name: part for name, part in spaces.items() if part.any()}
    else:
        held = _of_head(design, node, value)
    names = _coordinates(design)
    return "\n".join(_line(view, held[view], names.get(view, [])) for view in held) or "none"


def _of_head(design: Design, node: Node, value: Tensor) -> dict[str, Tensor]:
    """The views in the value of a head, undoing the factors of `handmade`. Where a query or key
    has a choice, those of several coordinates: the others say where it looks on any prompt."""
    number = (node.head or 0) * (design.group if node.shared else 1)
    head = next(h for h in design.heads if (h.layer, h.head) == (node.layer, number))
    if node.kind in ("z", "v"):
        copies = [head.copy] if head.copy else []
        return {
            space if node.kind == "z" else view: value[: design.view(view).shape[1]]
            for view, space, _ in copies
        }
    found, start = {}, 0
    for query, key, strength in head.match:
        stop = start + design.view(key).shape[1]
        times = SHARP * math.sqrt(len(value)) * strength if node.kind == "q" else 1
        if times and query != "one":
            found[query if node.kind == "q" else key] = value[start:stop] / times
        start = stop
    return {view: part for view, part in found.items() if len(part) > 1} or found


def _coordinates(design: Design) -> dict[str, list[str]]:
    """The names of a subspace's coordinates: its words, or those of what is copied into it."""
    names = {"position": [f"@{i}" for i in range(design.spaces["position"])]}
    for table in (design.unembed, design.embed):
        for word, space, i, _ in table:
            names.setdefault(space, [""] * design.spaces[space])[i] = word.strip()
    copies = [(float(h.layer), *h.copy[:2]) for h in design.heads if h.copy]
    copies += [(u.layer + 0.5, u.view, u.into) for u in design.units]
    for _, view, space in sorted(copies):
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
    return f"{view}: " + ("\n+ ".join(terms) or "none")
