"""Values of nodes in passes that are run once, and nodes beside those that are asked for."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathpatch import Node, Run, Tokens, run
from pathpatch.nodes import KINDS, Model, grid

Values: TypeAlias = dict[Node, Tensor]

_runs: dict[Any, tuple[Tensor, Run]] = {}  # the token ids of a pass must stay alive, see `_key`
MANY = 4000  # passes that are kept


def passed(model: Model, tokens: Tokens, writes: Values, nodes: Iterable[Node]) -> Values:
    """What a pass with these writes has at some nodes. Two mistakes often end in the same pass."""
    nodes = list(nodes)
    single = {node: _single(model, node) for node in nodes}
    reads = tuple(dict.fromkeys(node.everywhere() for node in single.values()))
    key = _key(model, tokens, writes, reads)
    if key not in _runs:
        if len(_runs) > MANY:
            _runs.clear()
        _runs[key] = tokens.ids, run(model, tokens, reads=reads, writes=writes)
    return {node: _cut(tokens, node, _runs[key][1][single[node].everywhere()]) for node in nodes}


def _key(model: Model, tokens: Tokens, writes: Values, reads: tuple[Node, ...]) -> Any:
    written = [(n, new.shape, new.contiguous().numpy().tobytes()) for n, new in writes.items()]
    places = [(n.at, tuple(tokens.at(n.at).tolist())) for n in writes if n.at is not None]
    return id(model), id(tokens.ids), tuple(written), tuple(places), reads


def _single(model: Model, node: Node) -> Node:
    """One of the copies of a vector that several heads share."""
    return replace(node, head=node.heads(model)[0], shared=False) if node.shared else node


def _cut(tokens: Tokens, node: Node, whole: Tensor) -> Tensor:
    return whole if node.at is None else whole[tokens.index(node.at)]


def values(model: Model, tokens: Tokens, nodes: Iterable[Node]) -> Values:
    """What a run without changes computes at some nodes; all of them are read at once."""
    every = [place for kind in KINDS for place in grid(model, kind)]
    found = passed(model, tokens, {}, every)
    return {n: _cut(tokens, n, found[_single(model, n).everywhere()]) for n in nodes}


def labelled(tokens: Tokens) -> Tokens:
    """The same, with a label for the place that another prompt has: see `of`."""
    more = {
        f"{label} of prompt {row}": torch.full_like(places, int(places[row]))
        for label, places in tokens.positions.items()
        for row in range(len(tokens))
    }
    return Tokens(tokens.ids, tokens.positions | more)


def of(node: Node, row: int = 0) -> Node:
    """A node at the position that it has in one prompt, in all prompts."""
    return replace(node, at=f"{node.at} of prompt {row}") if isinstance(node.at, str) else node


def whole_layer(model: Model, nodes: Iterable[Node]) -> list[Node]:
    """Every head of the layers of some nodes, at their positions."""
    return [
        replace(node, head=head)
        for node in nodes
        if node.head is not None
        for head in range(model.cfg.n_heads // (model.cfg.query_heads_per_kv * node.shared or 1))
    ]


def next_head(model: Model, node: Node) -> Node:
    if node.head is None:
        return node
    group = model.cfg.query_heads_per_kv if node.shared else 1
    return replace(node, head=(node.head + 1) % (model.cfg.n_heads // group))


def averaged(found: Tensor) -> Tensor:
    return found.mean(0, keepdim=True).expand_as(found)


def of_first(found: Tensor) -> Tensor:
    return found[:1].expand_as(found)


def layer(node: Node, model: Model) -> int:
    """The layer, where the embedding comes before the first and the logits after the last."""
    if node.layer is not None:
        return node.layer
    return -1 if node.kind == "embed" else int(model.cfg.n_layers)
