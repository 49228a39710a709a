"""The picture of the four passes as data: the value and the role of every node in each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.forward import run
from pathpatch.models import Model
from pathpatch.nodes import KINDS, LOGITS, Node, as_nodes, heads
from pathpatch.passes import At, Pass, Stage, Values, index_of, reads_of, stage
from pathpatch.paths import check_nodes
from pathpatch.prompts import Prompts
from pathpatch.readout import Show, readout


@dataclass(frozen=True)
class Cell:
    """One node in one pass.

    value: what the pass goes on with; of the logits, the logit difference. role: patched, frozen,
    stored (for a later pass) or recomputed. from_new: taken from x_new. differs: from pass B.
    looks: the positions, among those of the picture, that a head attends to.
    """

    value: Tensor
    text: str
    role: str
    from_new: bool
    differs: bool
    looks: tuple[At, ...]


@dataclass(frozen=True)
class FourPasses:
    """What the picture shows. Nodes come first layer first, positions as in the prompt.

    inputs: the queries, keys and values, among the nodes, that a head reads. words: the token at
    (pass, position). streams: whether the residual stream, as the nodes of a stage read it at
    (pass, stage, position), differs from pass B.
    """

    senders: list[Node]
    receivers: list[Node]
    nodes: list[Node]
    positions: list[At]
    inputs: dict[Node, list[Node]]
    cells: dict[tuple[str, Node], Cell]
    words: dict[tuple[str, At], str]
    streams: dict[tuple[str, Stage, At], bool]


def four_passes(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    nodes: Iterable[Node | str] = (),
    frozen: Iterable[Node | str] | None = None,
    show: Show | None = None,
) -> FourPasses:
    """Run passes A to D on one pair; look at the senders, the receivers, the logits, and `nodes`.

    The arguments are those of `diagrams.pass_diagram`.

    Raises: PathPatchError for more than one pair, and for nodes that are not there, have no
    position, or cannot send or receive.
    Source: Wang et al. 2023, App. B, Algorithm 1. Book: chapter 5.
    """
    if len(prompts) != 1:
        raise PathPatchError(f"a diagram shows one pair, got {len(prompts)}; pick one: prompts[:1]")
    senders, receivers = as_nodes(senders), as_nodes(receivers)
    frozen = heads(model) if frozen is None else as_nodes(frozen)
    check_nodes(model, prompts.clean, senders, receivers)
    shown = as_nodes([*senders, *receivers, *nodes, LOGITS])
    shown.sort(key=lambda node: (stage(node), node.head or 0, KINDS.index(node.kind)))
    positions = sorted({node.at for node in shown}, key=lambda at: index_of(prompts.clean, at))
    stages = sorted({stage(node) for node in shown})
    streams = [(node_stage, at) for node_stage in stages for at in positions]
    reads = [*senders, *receivers, *shown, *frozen]
    reads += [node for where in streams for node in reads_of(model, *where)]
    reads += [replace(node, kind="pattern") for node in shown if node.kind == "z"]

    def run_pass(name: str, stored: list[Node], freeze: Values, patch: Values) -> Pass:
        tokens = prompts.corrupt if name == "A" else prompts.clean
        found = run(model, tokens, reads=reads, writes=freeze | patch)
        return Pass(name, model, prompts, found, stored, freeze, patch)

    a = run_pass("A", senders, {}, {})
    b = run_pass("B", frozen, {}, {})
    freeze = {node: b.found[node] for node in frozen}
    c = run_pass("C", receivers, freeze, {node: a.found[node] for node in senders})
    d = run_pass("D", [], {}, {node: c.found[node] for node in receivers})
    cells: dict[tuple[str, Node], Cell] = {}
    words: dict[tuple[str, At], str] = {}
    changed: dict[tuple[str, Stage, At], bool] = {}
    for one in (a, b, c, d):
        cells |= {(one.name, node): _cell(one, b, node, positions, show) for node in shown}
        words |= {(one.name, at): one.word(at) for at in positions}
        for where in streams:
            changed[one.name, *where] = _differ(one.stream(*where), b.stream(*where))
    inputs = {node: [n for n in shown if _reads(model, positions, node, n)] for node in shown}
    return FourPasses(senders, receivers, shown, positions, inputs, cells, words, changed)


def _reads(model: Model, positions: list[At], head: Node, node: Node) -> bool:
    """Whether a head reads this query (its own), or this key or value (there or earlier)."""
    if head.kind != "z" or node.kind not in ("q", "k", "v") or head.layer != node.layer:
        return False
    later = positions.index(node.at) - positions.index(head.at)
    mine = set(head.heads(model)) <= set(node.heads(model))
    return mine and (later == 0 or (later < 0 and node.kind != "q"))


def _cell(one: Pass, base: Pass, node: Node, positions: list[At], show: Show | None) -> Cell:
    value, before, role = one.value(node), base.value(node), one.role(node)
    words = (show or readout(one.model))(node, value, before)
    new = one.name == "A" or (one.name == "C" and role == "patched")
    return Cell(value, words, role, new, _differ(value, before), one.looks(node, positions))


def _differ(value: Tensor, before: Tensor) -> bool:
    """Rounding does not count: what is computed again may differ in its last digits."""
    return bool((value - before).norm() > 100 * torch.finfo(value.dtype).eps * before.norm())
