"""Pass D for many senders at once, on the part of the model that the receivers can change.

Below the lowest receiver, and before the first receiver position, everything is as in pass B. Only
the steps and positions after that (the suffix) are run, against the keys and values of pass B, and
the last layer at END only. Where the logits or the final residual stream receive at END, nothing is
left to run.

The letters of the shapes: s senders, b prompts (batch), q and k positions of the suffix that look
and that are looked at, h heads, d d_head; `before` counts the positions of pass B under the suffix.

Book: chapter 5.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.scene import Scene, Stored, _rotate, project, steps_each, take
from pathpatch.nodes import Node
from pathpatch.prompts import END


def pass_d(scene: Scene, stored: Stored) -> Float[Tensor, "sender batch d_model"]:
    """Run what the receivers can change. Returns: the state after the last layer at END."""
    end, pos = scene.tokens.at(END), scene.suffix()
    writes: dict[int, Stored] = {}  # depth -> the receivers there
    for node, value in stored.items():
        writes.setdefault(scene.depth(node), {})[node] = value
        if scene.depth(node) == scene.steps() and node.at == END:
            return value[:, :, 0]  # [sender, batch, place, d_model], and END is its one place
    low, count = min(writes), len(next(iter(stored.values())))
    below = take(scene.resid[low], pos)  # [batch, pos, d_model]
    x = below.expand(count, -1, -1, -1).clone()  # [sender, batch, pos, d_model]
    for depth in range(low, scene.steps() + 1):
        inputs = writes.get(depth, {})
        for node in [node for node in inputs if node.kind in ("resid_pre", "resid_post")]:
            _write(scene, node, inputs.pop(node), x)
        if depth < scene.steps():
            layer, mlp = divmod(depth, steps_each(scene.model))
            x = x + (_mlp if mlp else _attention)(scene, layer, x, pos, inputs)
    rows, _ = scene.tokens.index(END)
    return x[:, rows, end - pos[:, 0]]  # END is so many positions after the start of the suffix


def _attention(scene: Scene, layer: int, x: Tensor, pos: Tensor, inputs: Stored) -> Tensor:
    """One attention layer over the suffix, with B's keys and values before it.

    x: the residual stream below the layer, [sender, batch, pos, d_model]. pos: which positions of
    each prompt the suffix is, [batch, pos]. inputs: receivers in this layer, set to their values.

    Returns: what the heads write, [sender, batch, pos, d_model].
    """
    attn = scene.model.blocks[layer].attn
    every = torch.arange(int(pos[:, 0].max()), device=x.device)  # [before]: B's, in any prompt

    # Queries, keys and values in the suffix, where END can see them; receivers get their own.
    here = {"q": scene.live(layer), "k": scene.live(), "v": scene.live()}  # each [batch, pos]
    own = {kind: _only(here[kind], partial(project, scene, layer, kind), x) for kind in here}
    for node, value in inputs.items():
        for head in node.heads(scene.model):
            _write(scene, node, value, own[node.kind][..., head, :])
    q, k = (_rotate(scene, own[kind], pos) for kind in "qk")  # [sender, batch, pos, head, d_head]

    # The same of pass B before the suffix: no sender changes it, so it is computed once for all.
    below = layer * steps_each(scene.model)
    resid = scene.resid[below, :, : len(every)]  # [batch, before, d_model]
    before = {kind: project(scene, layer, kind, resid) for kind in "kv"}
    k_before = _rotate(scene, before["k"], every.expand(len(pos), -1))  # [batch, before, head, ...]

    to_before = torch.einsum("sbqhd,bkhd->sbhqk", q, k_before)
    to_own = torch.einsum("sbqhd,sbkhd->sbhqk", q, k)
    scores = torch.cat([to_before, to_own], -1)  # [sender, batch, head, pos, before + pos]
    scores = scores * scene.model.cfg.d_head**-0.5

    # Prompts have suffixes that start at different places: of `every`, a prompt sees what is before
    # its own. In the suffix a position sees itself and what comes earlier.
    steps = torch.arange(pos.shape[1], device=x.device)  # [pos]
    in_before = (every < pos[:, :1])[:, None].expand(-1, len(steps), -1)  # [batch, pos, before]
    in_own = (steps <= steps[:, None]).expand(len(pos), -1, -1)  # [batch, pos, pos]
    seen = torch.cat([in_before, in_own], -1)  # [batch, pos, before + pos]
    pattern = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)

    old, new = pattern.split([len(every), len(steps)], dim=-1)
    z = torch.einsum("sbhqk,bkhd->sbqhd", old, before["v"])
    z = z + torch.einsum("sbhqk,sbkhd->sbqhd", new, own["v"])  # [sender, batch, pos, head, d_head]
    return _only(here["q"], attn.o, z.flatten(-2))


def _mlp(scene: Scene, layer: int, x: Tensor, _: Tensor, inputs: Stored) -> Tensor:
    """What one MLP writes, [sender, batch, pos, d_model].

    The arguments are those of `_attention`. Receivers are set in a copy of the residual stream that
    nothing else reads.
    """
    block, read = scene.model.blocks[layer], x.clone() if inputs else x
    for node, value in inputs.items():
        _write(scene, node, value, read)
    return _only(scene.live(layer), lambda there: block.mlp(block.ln2(there)), read)


def _only(live: Tensor, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function to the live positions of [sender, batch, pos, ...]. The rest stays 0.

    live: which positions those are, [batch, pos].
    """
    found = function(x[:, live])  # [sender, so many as are live, ...]
    whole = found.new_zeros(*x.shape[:3], *found.shape[2:])
    whole[:, live] = found
    return whole


def _write(scene: Scene, node: Node, value: Tensor, target: Tensor) -> None:
    """Write a receiver's value [sender, batch, place, ...] into a suffix, in place.

    target: [sender, batch, pos, ...]. Padding beyond the longest prompt is no part of it.
    """
    rows, first = scene.tokens.index(END)[0], scene.suffix()[:, :1]  # [batch], [batch, 1]
    size = target.shape[2]
    places = (scene.places(node) - first)[:, :size]
    target[:, rows[:, None], places] = value[:, :, :size]
