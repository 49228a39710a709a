"""Activation patching and causal tracing, many sets of nodes at once: the numbers of the literal
forms.

Every set gets its own values into one run (pass B: that on x_orig, or the corrupted one), and only
what comes after its first node, in layers and positions, is run again.

Book: chapter 11.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pathpatch.engine.fast import metric_at_end
from pathpatch.engine.literal import RowBatches, corrupted
from pathpatch.engine.scene import Scene, only_end, stream, take
from pathpatch.engine.spec import Spec
from pathpatch.engine.suffix import Write, run_suffix
from pathpatch.forward import Run, run
from pathpatch.metrics import per_prompt
from pathpatch.nodes import LOGITS, Model, Node, Sets
from pathpatch.prompts import END, Prompts
from pathpatch.tracing import EMBED


def patch_nodes(
    model: Model, prompts: Prompts, spec: Spec
) -> tuple[Float[Tensor, " batch"], RowBatches]:
    """The same as `literal_passes` where there are no receivers, many sets at a time.

    Returns: the metric of the run that is patched [batch], and an iterator over the rows of some
    sets with their metric [set, batch]. All of it stays where the model is.
    """
    scene = two_runs(model, prompts, spec)
    return per_prompt(spec.metric, scene.b[LOGITS], prompts), _batches(scene, prompts, spec)


def alike(sets: Sets) -> list[list[int]]:
    """Which of the sets are at the same positions, and so can be run together."""
    found: dict[frozenset[object], list[int]] = {}
    for i, nodes in enumerate(sets):
        found.setdefault(frozenset(node.at for node in nodes), []).append(i)
    return list(found.values())


def two_runs(model: Model, prompts: Prompts, spec: Spec) -> Scene:
    """a: the run that the values come from. b: the run that they are written into."""
    sent, cut, below = [*chain(*spec.senders)], [*chain(*spec.cut(model))], stream(model)
    writes: dict[Node, Tensor] = {}
    if spec.corruption is None:
        a = run(model, prompts.new, reads=sent)
    else:
        a = run(model, prompts.orig, reads=[EMBED, *sent])
        writes = {EMBED: corrupted(model, a, prompts, spec.corruption)}
    inside = [node for node in (*sent, *cut) if node.kind != EMBED.kind]
    b = run(model, prompts.orig, reads=[LOGITS, EMBED, *inside, *below], writes=writes)
    b.update(writes)  # it was read before it was written
    resid = torch.stack([b[node] for node in below])  # [depth, batch, pos, d_model]
    return Scene(model, prompts.orig, [], False, a=a, b=b, resid=resid)


def _batches(scene: Scene, prompts: Prompts, spec: Spec) -> RowBatches:
    """The metric of every batch of sets.

    Each batch begins with a set without nodes, whose metric is taken off again: it is the metric of
    pass B with the rounding of this route. A set that writes nothing new where END can see it
    leaves the metric of pass B exactly as it is.
    """
    base = per_prompt(spec.metric, scene.b[LOGITS], prompts)
    for rows, ends in ends_of(scene, spec):
        values = metric_at_end(scene.model, ends, prompts, spec.metric)
        new = torch.stack([_is_new(scene, spec.senders[i]) for i in rows])  # [set, batch]
        yield rows, torch.where(new, base + (values[1:] - values[0]), base)


def ends_of(scene: Scene, spec: Spec) -> Iterator[tuple[list[int], Tensor]]:
    """As many sets at a time as fit into `spec.rows` residual vectors.

    Yields: their rows, and the state after the last layer at END, [1 + set, batch, d_model], of a
    set without nodes and of theirs.
    """
    cut = spec.cut(scene.model)
    for group in alike(spec.senders):
        nodes = list(dict.fromkeys(chain(*(spec.senders[i] for i in group))))
        here = replace(scene, receivers=nodes)
        first = {i: min(map(here.depth, spec.senders[i])) for i in group}
        order = sorted(group, key=first.__getitem__)
        size = max(1, spec.rows // (len(scene.tokens) * here.suffix().shape[1]) - 1)
        for rows in (order[i : i + size] for i in range(0, len(order), size)):
            writes = [
                Write(node, slice(place, place + 1), value[None])
                for place, i in enumerate(rows, 1)
                for node, value in _values(here, spec.senders[i], cut[i], first[i])
            ]
            joins = [first[i] for i in rows]
            yield rows, run_suffix(here, [joins[0], *joins], writes)


def _values(
    scene: Scene, nodes: Sequence[Node], cut: Sequence[Node], first: int
) -> Iterator[tuple[Node, Tensor]]:
    """What is written for a set, [batch, place, ...]: what is cut has the values of pass B, in the
    steps that are run."""
    kept = [node for node in cut if node not in nodes and scene.depth(node) >= first]
    for found, node in [*((scene.b, node) for node in kept), *((scene.a, node) for node in nodes)]:
        value = _at_places(found, node)
        if node.kind == EMBED.kind:  # a part of the stream below the first layer
            where = scene.places(node)
            value = take(scene.resid[0], where) + (value - take(scene.b[EMBED], where))
        yield node, value


def _is_new(scene: Scene, nodes: Sequence[Node]) -> Bool[Tensor, " batch"]:
    """In which prompts a set writes anything new where END can see it."""
    end, found = scene.tokens.at(END)[:, None], []  # [batch, 1]
    for node in nodes:
        where = scene.places(node)  # [batch, place]
        seen = where == end if only_end(scene.model, node) else where <= end
        differs = _at_places(scene.a, node) != _at_places(scene.b, node)  # [batch, place, ...]
        found.append((differs.flatten(2).any(-1) & seen).any(-1))
    return torch.stack(found).any(0)


def _at_places(found: Run, node: Node) -> Float[Tensor, "batch place ..."]:
    """The value of a node in a run."""
    value = found[node]
    return value if node.at is None else value[:, None]
