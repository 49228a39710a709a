"""A machine as JSON, so that a page can run it: its weights, and what their parts mean.

Book: the interactive figure of chapters 1, 5, 6 and 8.
"""

import math
from typing import Any

from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.handmade.build import build, hand_weights
from pathpatch.handmade.designs import SHARP, Design, Head


def export_machine(design: Design) -> dict[str, Any]:
    """The weights of a design without their zeros, and what they mean, ready for JSON.

    weights: name -> [rows, columns, row, column, value, length, row, ...]; after the sizes, each
    four are a value repeated down a diagonal or, with a negative length, along a row. A bias has
    one column; tensors of zeros are left out.
    spaces: name -> [first coordinate, size].
    heads: `match`, which coordinates of a query and key hold which views (queries times strength
    and `sharp`), and `copy`, what a value holds, where the output goes, and a factor.

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


def _sparse(weight: Tensor) -> list[int | float]:
    matrix = weight if weight.dim() == 2 else weight[:, None]
    left = {(i, j): matrix[i, j].item() for i, j in matrix.nonzero().tolist()}
    found: list[int | float] = [*matrix.shape]
    while left:
        (i, j), number = next(iter(left.items()))
        down, along = (_run(left, i, j, step) for step in (1, 0))
        for place in max(down, along, key=len):
            del left[place]
        length = len(down) if len(down) >= len(along) else -len(along)
        found += [i, j, int(number) if number == int(number) else number, length]
    return found


def _run(
    values: dict[tuple[int, int], float], row: int, column: int, step: int
) -> list[tuple[int, int]]:
    """The places of one value, from a place on: down the diagonal (step 1), along the row (0)."""
    places = [(row, column)]
    while values.get(after := (places[-1][0] + step, places[-1][1] + 1)) == values[row, column]:
        places.append(after)
    return places
