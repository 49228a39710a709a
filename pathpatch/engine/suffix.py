"""The rest of a run after what is written into it, for many sets of nodes at once.

Below the first write, and before its position, everything is as in the run that is written into
(pass B). Only the steps and positions after that (the suffix) are run, against the keys and values
of pass B, and the last layer at END only. All sets go through a step as one batch, each joining at
the step of its own first write.

The letters of the shapes: s sets, b prompts (batch), q and k positions of the suffix that look and
that are looked at, h heads, d d_head; `before` counts the positions of pass B under the suffix.

Book: chapter 11.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.scene import Scene, _rotate, project, steps_each, take
from pathpatch.nodes import Node
from pathpatch.prompts import END


@dataclass(frozen=True)
class Write:
    """What takes the place of a node's value, in the runs of some sets.

    value: [set, batch, place, ...] with the places of the node, as `Layout.places` has them.
    """

    node: Node
    sets: slice
    value: Tensor


def run_suffix(
    scene: Scene, joins: Sequence[int], writes: Iterable[Write]
) -> Float[Tensor, "set batch d_model"]:
    """Run what the writes can change. They are at the receivers of the scene.

    joins: the step of each set's first write, in rising order.

    Returns: the state after the last layer at END.
    """
    pos, steps = scene.suffix(), scene.steps()
    of_step: list[list[Write]] = [[] for _ in range(steps + 1)]
    for write in writes:
        of_step[scene.depth(write.node)].append(write)
    x = scene.resid.new_empty(0, *pos.shape, scene.resid.shape[-1])  # [set, batch, pos, d_model]
    for step in range(joins[0], steps + 1):
        if joined := joins.count(step):
            x = torch.cat([x, take(scene.resid[step], pos).expand(joined, -1, -1, -1)])
        for kind in ("embed", "resid_post", "resid_pre"):
            _write(scene, of_step[step], kind, x)
        if step < steps:
            layer, mlp = divmod(step, steps_each(scene.model))
            x = x + (_mlp if mlp else _attention)(scene, layer, x, of_step[step])
    rows, end = scene.tokens.index(END)
    return x[:, rows, end - pos[:, 0]]  # END is so many positions after the start of the suffix


def _attention(scene: Scene, layer: int, x: Tensor, writes: Sequence[Write]) -> Tensor:
    """One attention layer over the suffix, with B's keys and values before it.

    x: the residual stream below the layer, [set, batch, pos, d_model]. writes: those in this layer.

    Returns: what the heads write, [set, batch, pos, d_model].
    """
    attn, pos = scene.model.blocks[layer].attn, scene.suffix()  # pos: [batch, pos]
    every = torch.arange(int(pos[:, 0].max()), device=x.device)  # [before]: B's, in any prompt

    # Queries, keys and values in the suffix, where END can see them.
    here = {"q": scene.live(layer), "k": scene.live(), "v": scene.live()}  # each [batch, pos]
    own = {kind: _only(here[kind], partial(project, scene, layer, kind), x) for kind in here}
    for kind, values in own.items():
        _write(scene, writes, kind, values)
    q, k = (_rotate(scene, own[kind], pos) for kind in "qk")  # [set, batch, pos, head, d_head]

    # The same of pass B before the suffix: no write changes it, so it is computed once for all.
    below = layer * steps_each(scene.model)
    resid = scene.resid[below, :, : len(every)]  # [batch, before, d_model]
    before = {kind: project(scene, layer, kind, resid) for kind in "kv"}
    k_before = _rotate(scene, before["k"], every.expand(len(pos), -1))  # [batch, before, head, ...]

    to_before = torch.einsum("sbqhd,bkhd->sbhqk", q, k_before)
    to_own = torch.einsum("sbqhd,sbkhd->sbhqk", q, k)
    scores = torch.cat([to_before, to_own], -1)  # [set, batch, head, pos, before + pos]
    scores = scores * scene.model.cfg.d_head**-0.5

    # Prompts have suffixes that start at different places: of `every`, a prompt sees what is before
    # its own. In the suffix a position sees itself and what comes earlier.
    steps = torch.arange(pos.shape[1], device=x.device)  # [pos]
    in_before = (every < pos[:, :1])[:, None].expand(-1, len(steps), -1)  # [batch, pos, before]
    in_own = (steps <= steps[:, None]).expand(len(pos), -1, -1)  # [batch, pos, pos]
    seen = torch.cat([in_before, in_own], -1)  # [batch, pos, before + pos]
    pattern = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
    rows = [_split_keys(write, pos, every) for write in writes if write.node.kind == "pattern"]
    _write(scene, rows, "pattern", pattern.transpose(2, 3))

    old, new = pattern.split([len(every), len(steps)], dim=-1)
    z = torch.einsum("sbhqk,bkhd->sbqhd", old, before["v"])
    z = z + torch.einsum("sbhqk,sbkhd->sbqhd", new, own["v"])  # [set, batch, pos, head, d_head]
    _write(scene, writes, "z", z)
    added = _only(here["q"], attn.o, z.flatten(-2))
    _write(scene, writes, "attn_out", added)
    return added


def _split_keys(write: Write, pos: Tensor, every: Tensor) -> Write:
    """A row of attention over all keys [..., key] as one over those before the suffix, and those
    in it: [..., before + pos]."""
    before = every.expand(len(pos), -1)  # [batch, before]
    keys = torch.cat([before, pos], 1).clamp(max=write.value.shape[-1] - 1)  # [batch, before + pos]
    index = keys[None, :, None].expand(*write.value.shape[:3], -1)  # [set, batch, place, ...]
    once = torch.cat([before < pos[:, :1], pos < write.value.shape[-1]], 1)  # [batch, before + pos]
    return replace(write, value=write.value.gather(-1, index) * once[:, None])


def _mlp(scene: Scene, layer: int, x: Tensor, writes: Sequence[Write]) -> Tensor:
    """What one MLP writes, [set, batch, pos, d_model]. The arguments are those of `_attention`.

    What it alone reads is written into a copy of the residual stream.
    """
    block, read = scene.model.blocks[layer], x.clone() if writes else x
    _write(scene, writes, "mlp_in", read)
    added = _only(scene.live(layer), lambda there: block.mlp(block.ln2(there)), read)
    _write(scene, writes, "mlp_out", added)
    return added


def _only(live: Tensor, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function to the live positions of [set, batch, pos, ...]. The rest stays 0.

    live: which positions those are, [batch, pos].
    """
    found = function(x[:, live])  # [set, so many as are live, ...]
    whole = found.new_zeros(*x.shape[:3], *found.shape[2:])
    whole[:, live] = found
    return whole


def _write(scene: Scene, writes: Sequence[Write], kind: str, values: Tensor) -> None:
    """Do the writes at nodes of a kind, in place, in the suffix of what was computed there.

    values: [set, batch, pos, ...], with heads [set, batch, pos, head, ...]. Padding beyond the
    longest prompt is no part of them.
    """
    rows, first = scene.tokens.index(END)[0], scene.suffix()[:, :1]  # [batch], [batch, 1]
    size = values.shape[2]
    for write in [write for write in writes if write.node.kind == kind]:
        places = (scene.places(write.node) - first)[:, :size]
        heads = write.node.heads(scene.model)
        for target in [values[..., head, :] for head in heads] or [values]:
            target[write.sets][:, rows[:, None], places] = write.value[:, :, :size]
