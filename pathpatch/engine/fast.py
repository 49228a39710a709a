"""The fast exact engine: the numbers of `path_patch` for many senders at once.

Source: consequences of Wang et al. 2023, App. B, Algorithm 1. Book: chapter 5.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.literal import RowBatches
from pathpatch.engine.pass_c import pass_c
from pathpatch.engine.pass_d import pass_d
from pathpatch.engine.scene import Layout, Scene, first_layer, run_a_and_b
from pathpatch.engine.spec import Spec
from pathpatch.metrics import Metric, logit_diff, per_prompt
from pathpatch.nodes import LOGITS, Model, Node
from pathpatch.prompts import Prompts


def patch_all(
    model: Model, prompts: Prompts, spec: Spec
) -> tuple[Float[Tensor, " batch"], RowBatches]:
    """Path patch each set of senders to all receivers together, with all heads frozen, or all
    heads and all MLPs.

    Returns: the metric of pass B [batch], and an iterator over the rows of some senders with their
    metric [sender, batch]. Senders that no receiver can see are left out: with them nothing
    changes. All of it stays where the model is.
    """
    layout = Layout.of(model, prompts.orig, spec.receivers, spec.frozen)
    scene = run_a_and_b(layout, prompts.new, spec.senders)
    return per_prompt(spec.metric, scene.b[LOGITS], prompts), _batches(scene, prompts, spec)


def patch_edges(
    model: Model, prompts: Prompts, edges: Sequence[tuple[Sequence[Node], Node]], metric: Metric
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "edge batch"]]:
    """Path patch each edge, a set of senders and one receiver, with all heads frozen.

    All edges share passes A and B.

    Returns: the metric of pass B [batch], and that of every edge [edge, batch].
    """
    layout = Layout.of(model, prompts.orig, [node for _, node in edges], [])
    scene = run_a_and_b(layout, prompts.new, [nodes for nodes, _ in edges])
    base = per_prompt(metric, scene.b[LOGITS], prompts)
    values = base.repeat(len(edges), 1)  # [edge, batch]: stays where no receiver sees the sender
    for node in dict.fromkeys(layout.receivers):
        mine = [i for i, receiver in enumerate(layout.receivers) if receiver == node]
        spec = Spec([edges[i][0] for i in mine], [node], [], "heads", metric)
        for rows, part in _batches(replace(scene, receivers=[node]), prompts, spec):
            values[[mine[row] for row in rows]] = part
    return base, values


def _batches(scene: Scene, prompts: Prompts, spec: Spec) -> RowBatches:
    """Passes C and D for as many senders at a time as fit into `spec.rows` residual vectors.

    Each batch begins with a set of no senders, whose metric is taken off again: it is the metric of
    pass B with the rounding of this route, and what a sender changes has to stand out from that. A
    sender that adds nothing where a receiver reads leaves the metric of pass B exactly as it is.
    """
    joins = [first_layer(nodes) for nodes in spec.senders]
    order = sorted((i for i, join in enumerate(joins) if join < scene.top()), key=joins.__getitem__)
    size = max(1, spec.rows // scene.rows() - 1)
    base = per_prompt(spec.metric, scene.b[LOGITS], prompts)
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        senders, joined = [spec.senders[i] for i in rows], [joins[i] for i in rows]
        stored, added = pass_c(scene, [[], *senders], [-1, *joined])
        values = metric_at_end(scene.model, pass_d(scene, stored), prompts, spec.metric)
        yield rows, torch.where(added[1:], base + (values[1:] - values[0]), base)


def metric_at_end(model: Model, end: Tensor, prompts: Prompts, metric: Metric) -> Tensor:
    """The metric [sender, batch] of final states [sender, batch, d_model].

    The logit difference needs but two logits of each prompt, so only those are computed.
    """
    x = model.ln_final(end)  # [sender, batch, d_model]
    if metric is not logit_diff:
        return torch.stack([per_prompt(metric, model.unembed(one), prompts) for one in x])
    pair = torch.stack([prompts.answer, prompts.foil])  # [2, batch]
    columns = model.W_U.T[pair]  # [2, batch, d_model]
    logits = torch.einsum("sbd,pbd->sbp", x, columns) + model.b_U[pair].T  # [sender, batch, 2]
    zeros = torch.zeros_like(pair[0])  # [batch]: the answer is the first of the two logits
    return per_prompt(metric, logits, replace(prompts, answer=zeros, foil=zeros + 1))
