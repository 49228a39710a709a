"""The fast exact engine: the numbers of `path_patch` for many senders at once.

Pass C. Every head is frozen, so nothing moves between positions: only the receivers' positions
matter, and there only what a sender *adds* to the residual stream (its delta), carried up through
the MLPs. All senders go through a layer as one batch, each joining at its own layer.

Source: consequences of Wang et al. 2023, App. B, Algorithm 1. Book: chapter 5.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.metrics import Metric, logit_diff
from pathpatch.models import Model
from pathpatch.nodes import Node
from pathpatch.prompts import Prompts
from pathpatch.suffix import Question, Scene, Sets, Stored, look, pass_d, project, take

ROWS = 8192  # residual vectors in a batch: about 300 MB for SmolLM2


def supports(model: Model) -> bool:
    """Whether this engine knows the attention of the model."""
    if model.cfg.architecture == "TransformerLensNative":  # the hand-made models
        return model.cfg.positional_embedding_type == "standard"
    odd = getattr(model.original_model.config, "scale_attn_by_inverse_layer_idx", False)
    return not odd and model.cfg.architecture in ("GPT2LMHeadModel", "LlamaForCausalLM")


def patch_all(
    model: Model,
    prompts: Prompts,
    senders: Sets,
    receivers: Sequence[Node],
    frozen: Sequence[Node],
    metric: Metric = logit_diff,
) -> Iterator[tuple[list[int], Float[Tensor, "sender batch"]]]:
    """Path patch each set of senders to all receivers together.

    frozen: all heads, or all heads and all MLPs.

    Yields: the rows of some senders, and their metric. Senders that no receiver can see are left
    out: with them nothing changes.
    """
    question = Question.ask(model, prompts.clean, receivers, frozen)
    scene = look(question, prompts.corrupt, senders)
    joins, top = [_joins(nodes) for nodes in senders], question.top()
    order = sorted((i for i in range(len(senders)) if joins[i] < top), key=joins.__getitem__)
    size = max(1, ROWS // scene.rows())
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        stored = pass_c(scene, [senders[i] for i in rows], [joins[i] for i in rows])
        yield rows, _measure(model, pass_d(scene, stored), prompts, metric)


def work(
    model: Model,
    prompts: Prompts,
    senders: Sets,
    receivers: Sequence[Node],
    frozen: Sequence[Node],
) -> float:
    """What passes C and D of `patch_all` cost, in forward passes over the same prompts.

    Counts multiply-adds with weights: an MLP's for every layer that a delta goes through, a
    whole layer's for every layer and position that pass D runs.
    """
    question = Question.ask(model, prompts.clean, receivers, frozen)
    layers, top = model.cfg.n_layers, question.top()
    layer, mlp = (sum(p.numel() for p in part.parameters()) for part in _parts(model))
    climbs = [top - max(join, 0) for join in map(_joins, senders) if join < top]
    places = {node.at: question.places(node).numel() for node in question.receivers}
    c = 0 if question.mlps_frozen else sum(climbs) * sum(places.values()) * mlp
    low = layers if question.ends_in_c() else min(map(question.depth, question.receivers))
    d = len(climbs) * question.suffix().numel() * (layers - low) * layer
    return (c + d) / (prompts.clean.ids.numel() * (layers * layer + model.W_U.numel()))


def pass_c(scene: Scene, senders: Sets, joins: Sequence[int]) -> Stored:
    """Carry every sender's delta up to the receivers. The senders come sorted by first layer.

    Returns: the value that each receiver would take.
    """
    stored: Stored = {}
    for at in dict.fromkeys(node.at for node in scene.receivers):
        group = [node for node in scene.receivers if node.at == at]
        where, top = scene.places(group[0]), max(map(scene.depth, group))
        delta = scene.resid.new_zeros(len(senders), *where.shape, scene.resid.shape[-1])
        for i, _, _, change in _sent(scene, senders, "embed", None, where):
            delta[i] += change
        for depth in range(top + 1):
            here = take(scene.resid[depth], where) + delta
            stored |= {n: _value(scene, n, here) for n in group if scene.depth(n) == depth}
            if depth < top:
                joined = sum(join <= depth for join in joins)
                _through_layer(scene, senders, joined, depth, where, delta)
    return stored


def _through_layer(
    scene: Scene, senders: Sets, joined: int, depth: int, where: Tensor, delta: Tensor
) -> None:
    """Take the deltas of the senders that have joined, in place, through one layer."""
    block = scene.model.blocks[depth]
    for i, node, _, change in _sent(scene, senders, "z", depth, where):
        delta[i] += change @ block.attn.W_O[node.head]
    added = torch.zeros_like(delta[:joined])
    if joined and not scene.mlps_frozen:
        mlp_out = take(scene.b[Node("mlp_out", depth)], where)
        middle = take(scene.resid[depth + 1], where) - mlp_out
        added = block.mlp(block.ln2(middle + delta[:joined])) - mlp_out
    for i, _, covered, change in _sent(scene, senders, "mlp_out", depth, where):
        added[i] = torch.where(covered, change, added[i])  # a sender is not recomputed
    delta[:joined] += added


def _value(scene: Scene, node: Node, here: Tensor) -> Tensor:
    """What a receiver reads off the residual stream [sender, batch, place, d_model]."""
    if node.head is None:
        return here.clone()
    values = project(scene, scene.depth(node), node.kind, here)
    return values[..., node.heads(scene.model)[0], :]


def _sent(
    scene: Scene, senders: Sets, kind: str, layer: int | None, where: Tensor
) -> Iterator[tuple[int, Node, Tensor, Tensor]]:
    """The senders of a kind in a layer: row, node, the places it covers, and A minus B there."""
    for i, nodes in enumerate(senders):
        for node in nodes:
            if (node.kind, node.layer) == (kind, layer):
                covered = (scene.places(node)[:, None] == where[..., None]).any(-1)[..., None]
                whole = node.everywhere()
                yield i, node, covered, take(scene.a[whole] - scene.b[whole], where) * covered


def _joins(nodes: Sequence[Node]) -> int:
    """The first layer in which a set of senders writes; -1: before the first."""
    return min(-1 if node.layer is None else node.layer for node in nodes)


def _parts(model: Model) -> tuple[torch.nn.Module, torch.nn.Module]:
    block = model.blocks[0]
    return block, torch.nn.Module() if model.cfg.attn_only else block.mlp


def _measure(model: Model, end: Tensor, prompts: Prompts, metric: Metric) -> Tensor:
    """The metric of final states [sender, batch, d_model]; logit_diff needs but two logits."""
    x = model.ln_final(end)
    if metric is not logit_diff:
        return torch.stack([metric(model.unembed(one), prompts) for one in x])
    pair = torch.stack([prompts.answer, prompts.foil])
    columns = model.W_U.T[pair]  # [2, batch, d_model]
    logits = torch.einsum("sbd,pbd->sbp", x, columns) + model.b_U[pair].T
    zeros = torch.zeros_like(prompts.answer)
    return metric(logits, replace(prompts, answer=zeros, foil=zeros + 1))
