"""Pass C for many senders at once.

Every head is frozen, so nothing moves between positions: only the receivers' positions (their
places) matter, and there only what a sender *adds* to the residual stream (its delta), carried up
through the MLPs. All senders go through a step as one batch, each joining where it writes.

Book: chapter 5.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pathpatch.engine.scene import Scene, Stored, project, steps_each, take
from pathpatch.nodes import Node, Sets


def pass_c(scene: Scene, senders: Sets, joins: Sequence[int]) -> tuple[Stored, Tensor]:
    """Carry every sender's delta up to the receivers.

    senders: sorted by the first step in which they write. joins: those steps.

    Returns: for each receiver the value it would take, [sender, batch, place, ...]; and which
    senders have a delta anywhere where a receiver reads, [sender, batch].
    """
    stored: Stored = {}
    added = torch.zeros(
        len(senders), len(scene.tokens), dtype=torch.bool, device=scene.resid.device
    )
    for at in dict.fromkeys(node.at for node in scene.receivers):
        group = [node for node in scene.receivers if node.at == at]
        where, top = scene.places(group[0]), max(map(scene.depth, group))  # where: [batch, place]
        width = scene.resid.shape[-1]
        delta = scene.resid.new_zeros(len(senders), *where.shape, width)  # s, batch, place, d_model
        for i, _, _, change in sender_deltas(scene, senders, "embed", None, where):
            delta[i] += change
        for depth in range(top + 1):
            here = take(scene.resid[depth], where)  # [batch, place, d_model]
            if reads := [node for node in group if scene.depth(node) == depth]:
                stored |= {node: receive(scene, node, here + delta) for node in reads}
                added |= (delta != 0).flatten(2).any(-1)
            if depth < top:
                joined = sum(join <= depth for join in joins)
                layer, mlp = divmod(depth, steps_each(scene.model))
                go_through = _through_mlp if mlp else _through_attention
                go_through(scene, senders[:joined], layer, where, here, delta[:joined])
    return stored, added


def _through_attention(
    scene: Scene, senders: Sets, layer: int, where: Tensor, _: Tensor, delta: Tensor
) -> None:
    """Add to the deltas, in place, what senders among the heads of a layer say.

    The arguments are those of `_through_mlp`; the heads are frozen, whatever is below them.
    """
    for i, node, _, change in sender_deltas(scene, senders, "z", layer, where):
        delta[i] += change @ scene.model.blocks[layer].attn.W_O[node.head]  # d_head -> d_model


def _through_mlp(
    scene: Scene, senders: Sets, layer: int, where: Tensor, here: Tensor, delta: Tensor
) -> None:
    """Take the deltas of some senders, in place, through the MLP of a layer.

    where: the places, [batch, place]. here: pass B's residual stream there, [..., d_model].
    """
    block = scene.model.blocks[layer]
    added = torch.zeros_like(delta)  # what the MLP adds to each delta
    if senders and not scene.mlps_frozen:
        mlp_out = take(scene.b[Node("mlp_out", layer)], where)  # [batch, place, d_model]
        added = block.mlp(block.ln2(here + delta)) - mlp_out
        added *= (delta != 0).any(-1, keepdim=True)  # where nothing came in, no rounding
    for i, _, covered, change in sender_deltas(scene, senders, "mlp_out", layer, where):
        added[i] = torch.where(covered, change, added[i])  # a sender is not recomputed
    delta += added


def receive(scene: Scene, node: Node, here: Tensor) -> Tensor:
    """What a receiver reads off the residual stream `here`, [sender, batch, place, d_model].

    Returns: [sender, batch, place, d_head] for an input of a head, otherwise `here`, copied.
    """
    if node.layer is None or node.head is None:
        return here.clone()
    values = project(scene, node.layer, node.kind, here)  # [..., head, d_head]
    return values[..., node.heads(scene.model)[0], :]


def sender_deltas(
    scene: Scene, senders: Sets, kind: str, layer: int | None, where: Tensor
) -> Iterator[tuple[int, Node, Tensor, Tensor]]:
    """What the senders of a kind in a layer say in pass A, less what they say in pass B.

    Yields: the row of the sender, the node, which places it covers [batch, place, 1], and the
    difference there [batch, place, ...], 0 at the others. A place that several nodes of a set
    cover comes with the first of them only.
    """
    for i, nodes in enumerate(senders):
        here = [node for node in nodes if (node.kind, node.layer) == (kind, layer)]
        for node, first in scene.once(here):
            same = scene.places(node)[:, None] == where[..., None]  # [batch, where, place]
            covered = (same & first[:, None]).any(-1)[..., None]
            whole = node.everywhere()
            change = scene.a[whole] - scene.b[whole]  # [batch, pos, d_head or d_model]
            yield i, node, covered, take(change, where) * covered
