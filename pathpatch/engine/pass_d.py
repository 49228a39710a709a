"""Pass D for many senders at once, on the part of the model that the receivers can change.

Below the lowest receiver, and before the first receiver position, everything is as in pass B. Only
the layers and positions after that (the suffix) are run, against the keys and values of pass B, and
the last layer at END only. Where the logits or the final residual stream receive at END, nothing is
left to run.

Book: chapter 5.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.scene import Scene, Stored, _rotate, project, take
from pathpatch.nodes import Model, Node
from pathpatch.prompts import END


def pass_d(scene: Scene, stored: Stored) -> Float[Tensor, "sender batch d_model"]:
    """Run what the receivers can change. Returns: the state after the last layer at END."""
    n_layers, end, pos = scene.model.cfg.n_layers, scene.tokens.at(END), scene.suffix()
    writes: dict[int, Stored] = {}
    for node, value in stored.items():
        writes.setdefault(scene.depth(node), {})[node] = value
        if scene.depth(node) == n_layers and node.at == END:
            return value[:, :, 0]
    low, count = min(writes), len(next(iter(stored.values())))
    x = take(scene.resid[low], pos).expand(count, -1, -1, -1).clone()
    for depth in range(low, n_layers + 1):
        inputs = writes.get(depth, {})
        for node in [node for node in inputs if node.head is None]:
            _write(scene, node, inputs.pop(node), x)
        if depth < n_layers:
            x = x + _attention(scene, depth, x, pos, inputs)
            if not scene.model.cfg.attn_only:
                x = x + _only(scene.live(depth), partial(_mlp, scene.model.blocks[depth]), x)
    return x[:, torch.arange(len(end)), end - pos[:, 0]]


def _attention(scene: Scene, depth: int, x: Tensor, pos: Tensor, inputs: Stored) -> Tensor:
    """One attention layer over the suffix `pos`, with B's keys and values before it."""
    attn, every = scene.model.blocks[depth].attn, torch.arange(int(pos[:, 0].max()))
    here = {"q": scene.live(depth), "k": scene.live(), "v": scene.live()}
    own = {kind: _only(here[kind], partial(project, scene, depth, kind), x) for kind in here}
    for node, value in inputs.items():
        for head in node.heads(scene.model):
            _write(scene, node, value, own[node.kind][..., head, :])
    q, k = (_rotate(scene, own[kind], pos) for kind in "qk")
    resid = scene.resid[depth, :, : len(every)]
    before = {kind: project(scene, depth, kind, resid) for kind in "kv"}
    k_before = _rotate(scene, before["k"], every.expand(len(pos), -1))
    to_b = torch.einsum("sbqhd,bkhd->sbhqk", q, k_before)
    scores = torch.cat([to_b, torch.einsum("sbqhd,sbkhd->sbhqk", q, k)], -1)
    scores = scores * scene.model.cfg.d_head**-0.5
    steps = torch.arange(pos.shape[1])
    in_b = (every < pos[:, :1])[:, None].expand(-1, len(steps), -1)
    seen = torch.cat([in_b, (steps <= steps[:, None]).expand(len(pos), -1, -1)], -1)
    pattern = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
    old, new = pattern.split([len(every), len(steps)], dim=-1)
    z = torch.einsum("sbhqk,bkhd->sbqhd", old, before["v"])
    z = z + torch.einsum("sbhqk,sbkhd->sbqhd", new, own["v"])
    return _only(here["q"], attn.o, z.flatten(-2))


def _mlp(block: Model, x: Tensor) -> Tensor:
    return block.mlp(block.ln2(x))


def _only(live: Tensor, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function to the live positions of [sender, batch, pos, ...]. The rest stays 0."""
    found = function(x[:, live])
    whole = found.new_zeros(*x.shape[:3], *found.shape[2:])
    whole[:, live] = found
    return whole


def _write(scene: Scene, node: Node, value: Tensor, target: Tensor) -> None:
    """Write a receiver's value into a suffix [sender, batch, pos, ...], in place."""
    batch, first = torch.arange(len(scene.tokens))[:, None], scene.suffix()[:, :1]
    target[:, batch, scene.places(node) - first] = value
