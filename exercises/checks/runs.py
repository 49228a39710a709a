"""`run` with a memory: hundreds of combinations of mistakes make the same few passes."""

import hashlib
from collections.abc import Iterable, Mapping

from torch import Tensor

from pathpatch import Node, Run, Tokens
from pathpatch import run as run_once
from pathpatch.nodes import Model, as_nodes

MANY = 4_000  # passes that are kept; a check of one exercise makes fewer
_kept: dict[bytes, Run] = {}


def run(
    model: Model,
    tokens: Tokens,
    *,
    reads: Iterable[Node | str],
    writes: Mapping[Node, Tensor] | None = None,
) -> Run:
    """What `run` of the library gives. Whoever gets it must not change it.

    The model is one of `exercises.room.inputs`, which live as long as the process.
    """
    reads, writes = as_nodes(reads), writes or {}
    key = hashlib.blake2b(f"{id(model)} {reads} {[*writes]}".encode())
    for value in (tokens.ids, *tokens.positions.values(), *writes.values()):
        key.update(f"{value.shape}{value.dtype}".encode())
        key.update(value.contiguous().numpy().tobytes())
    if (found := _kept.get(key.digest())) is None:
        if len(_kept) >= MANY:
            _kept.clear()
        found = _kept[key.digest()] = run_once(model, tokens, reads=reads, writes=writes)
    return found
