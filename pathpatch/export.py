"""A machine as JSON, so that a page can run it: its weights, and what their parts mean.

Book: the interactive figure of chapters 1, 5, 6 and 8.
"""

import math
from typing import Any

from torch import Tensor

from pathpatch.designs import SHARP, Design, Head
from pathpatch.errors import PathPatchError
from pathpatch.handmade import build, hand_weights


def export_machine(design: Design) -> dict[str, Any]:
    """The weights of a design without their zeros, and what they mean, ready for JSON.

    weights: name -> rows, columns, and entries: row, column, value, row, ... of what is not 0; a
    bias is one column, and a tensor of zeros is left out. spaces: name -> first coordinate, size.
    heads: which coordinates of its query and key hold which views (`match`; queries times
    strength and `sharp`), and what its value holds and where its output goes (`copy`).

    Raises: PathPatchError for a design with norms or with shared keys and values.
    """
    if design.scale is not None or design.group > 1:
        raise PathPatchError(f"{design.name} has norms or shared keys: these cannot be exported")
    sizes = build(design).cfg
    where = {name: design.where(name) for name in design.spaces}
    return {
        "n_layers": sizes.n_layers,
        "n_heads": sizes.n_heads,
        "d_head": sizes.d_head,
        "sharp": SHARP * math.sqrt(sizes.d_head),
        "spaces": {name: [part.start, part.stop - part.start] for name, part in where.items()},
        "heads": {f"{head.layer}.{head.head}": _meaning(design, head) for head in design.heads},
        "weights": {name: _sparse(w) for name, w in hand_weights(design).items() if w.any()},
    }


def _meaning(design: Design, head: Head) -> dict[str, Any]:
    """match: a list of [first coordinate, size, query view, key view, strength]."""
    match: list[list[Any]] = []
    start = 0
    for query, key, strength in head.match:
        size = design.view(key).shape[1]
        match.append([start, size, query, key, strength])
        start += size
    return {"match": match, "copy": list(head.copy or ())}


def _sparse(weight: Tensor) -> dict[str, Any]:
    matrix = weight if weight.dim() == 2 else weight[:, None]
    places = matrix.nonzero().tolist()
    entries = [number for i, j in places for number in (i, j, _short(matrix[i, j].item()))]
    return {"rows": matrix.shape[0], "columns": matrix.shape[1], "entries": entries}


def _short(number: float) -> float | int:
    return int(number) if number.is_integer() else number
