"""The fast exact engine: the numbers of `path_patch` for many senders at once.

Pass C. Every head is frozen, so nothing moves between positions: only the receivers' positions
matter, and there only what a sender *adds* to the residual stream (its delta), carried up through
the MLPs. All senders go through a layer as one batch, each joining at its own layer.

Source: consequences of Wang et al. 2023, App. B, Algorithm 1. Book: chapter 5.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.metrics import Metric, logit_diff
from pathpatch.models import Model
from pathpatch.nodes import LOGITS, Node, Sets
from pathpatch.prompts import Prompts
from pathpatch.spec import Spec, first_layer
from pathpatch.suffix import Question, Scene, Stored, look, pass_d, project, take

Found: TypeAlias = Iterator[tuple[list[int], Float[Tensor, "sender batch"]]]


def supports(model: Model) -> bool:
    """Whether this engine knows the attention of the model."""
    if model.cfg.architecture == "TransformerLensNative":  # the hand-made models
        return model.cfg.positional_embedding_type == "standard"
    odd = getattr(model.original_model.config, "scale_attn_by_inverse_layer_idx", False)
    return not odd and model.cfg.architecture in ("GPT2LMHeadModel", "LlamaForCausalLM")


def patch_all(model: Model, prompts: Prompts, spec: Spec) -> tuple[Float[Tensor, " batch"], Found]:
    """Path patch each set of senders to all receivers together, with all heads frozen, or all
    heads and all MLPs.

    Returns: the metric of pass B, and an iterator over the rows of some senders with their metric
    [sender, batch]. Senders that no receiver can see are left out: with them nothing changes.
    """
    question = Question.ask(model, prompts.clean, spec.receivers, spec.frozen)
    scene = look(question, prompts.corrupt, spec.senders)
    return spec.metric(scene.b[LOGITS], prompts), _batches(scene, prompts, spec)


def patch_edges(
    model: Model, prompts: Prompts, edges: Sequence[tuple[Sequence[Node], Node]], metric: Metric
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "edge batch"]]:
    """Path patch each edge, a set of senders and one receiver, with all heads frozen.

    All edges share passes A and B. Returns: the metric of pass B, and that of every edge.
    """
    question = Question.ask(model, prompts.clean, [node for _, node in edges], [])
    scene = look(question, prompts.corrupt, [nodes for nodes, _ in edges])
    base = metric(scene.b[LOGITS], prompts)
    values = base.repeat(len(edges), 1)
    for node in dict.fromkeys(question.receivers):
        mine = [i for i, receiver in enumerate(question.receivers) if receiver == node]
        spec = Spec([edges[i][0] for i in mine], [node], [], "heads", metric)
        for rows, part in _batches(replace(scene, receivers=[node]), prompts, spec):
            values[[mine[row] for row in rows]] = part
    return base, values


def _batches(scene: Scene, prompts: Prompts, spec: Spec) -> Found:
    """Passes C and D for as many senders at a time as fit into spec.rows."""
    joins = [first_layer(nodes) for nodes in spec.senders]
    order = sorted((i for i, join in enumerate(joins) if join < scene.top()), key=joins.__getitem__)
    size = max(1, spec.rows // scene.rows())
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        senders, joined = [spec.senders[i] for i in rows], [joins[i] for i in rows]
        stored = pass_c(scene, senders, joined)
        yield rows, measure(scene.model, pass_d(scene, stored), prompts, spec.metric)


def pass_c(scene: Scene, senders: Sets, joins: Sequence[int]) -> Stored:
    """Carry every sender's delta up to the receivers. The senders come sorted by first layer.

    Returns: the value that each receiver would take.
    """
    stored: Stored = {}
    for at in dict.fromkeys(node.at for node in scene.receivers):
        group = [node for node in scene.receivers if node.at == at]
        where, top = scene.places(group[0]), max(map(scene.depth, group))
        delta = scene.resid.new_zeros(len(senders), *where.shape, scene.resid.shape[-1])
        for i, _, _, change in sent(scene, senders, "embed", None, where):
            delta[i] += change
        for depth in range(top + 1):
            here = take(scene.resid[depth], where) + delta
            stored |= {n: receive(scene, n, here) for n in group if scene.depth(n) == depth}
            if depth < top:
                joined = sum(join <= depth for join in joins)
                _through_layer(scene, senders, joined, depth, where, delta)
    return stored


def _through_layer(
    scene: Scene, senders: Sets, joined: int, depth: int, where: Tensor, delta: Tensor
) -> None:
    """Take the deltas of the senders that have joined, in place, through one layer."""
    block = scene.model.blocks[depth]
    for i, node, _, change in sent(scene, senders, "z", depth, where):
        delta[i] += change @ block.attn.W_O[node.head]
    added = torch.zeros_like(delta[:joined])
    if joined and not scene.mlps_frozen:
        mlp_out = take(scene.b[Node("mlp_out", depth)], where)
        middle = take(scene.resid[depth + 1], where) - mlp_out
        added = block.mlp(block.ln2(middle + delta[:joined])) - mlp_out
    for i, _, covered, change in sent(scene, senders, "mlp_out", depth, where):
        added[i] = torch.where(covered, change, added[i])  # a sender is not recomputed
    delta[:joined] += added


def receive(scene: Scene, node: Node, here: Tensor) -> Tensor:
    """What a receiver reads off the residual stream [sender, batch, place, d_model]."""
    if node.head is None:
        return here.clone()
    values = project(scene, scene.depth(node), node.kind, here)
    return values[..., node.heads(scene.model)[0], :]


def sent(
    scene: Scene, senders: Sets, kind: str, layer: int | None, where: Tensor
) -> Iterator[tuple[int, Node, Tensor, Tensor]]:
    """The senders of a kind in a layer: row, node, the places it covers, and A minus B there."""
    for i, nodes in enumerate(senders):
        for node in nodes:
            if (node.kind, node.layer) == (kind, layer):
                covered = (scene.places(node)[:, None] == where[..., None]).any(-1)[..., None]
                whole = node.everywhere()
                yield i, node, covered, take(scene.a[whole] - scene.b[whole], where) * covered


def measure(model: Model, end: Tensor, prompts: Prompts, metric: Metric) -> Tensor:
    """The metric of final states [sender, batch, d_model]; logit_diff needs but two logits."""
    x = model.ln_final(end)
    if metric is not logit_diff:
        return torch.stack([metric(model.unembed(one), prompts) for one in x])
    pair = torch.stack([prompts.answer, prompts.foil])
    columns = model.W_U.T[pair]  # [2, batch, d_model]
    logits = torch.einsum("sbd,pbd->sbp", x, columns) + model.b_U[pair].T
    zeros = torch.zeros_like(prompts.answer)
    return metric(logits, replace(prompts, answer=zeros, foil=zeros + 1))
