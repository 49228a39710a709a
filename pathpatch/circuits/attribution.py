"""Attribution: what patching would do, estimated from gradients, for all nodes or edges at once.

The estimate is (value on x_new - value on x_orig) . (gradient of the metric). It is exact where the
model is linear. Compare it with the exact effects: of the same nodes by `activation_sweep`, of the
same edges by `path_sweep` with all heads and MLPs frozen. The tables have the same rows.

Integrated gradients average the gradient over runs on a straight line from the embeddings of x_orig
to those of x_new. All nodes share these runs, so the average is exact for the embeddings together;
for one node, patched into the run on x_orig, it can be further off than the plain gradient.
(A line for each node by itself would take several passes a node, where one gives its exact effect.)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.circuits.gradients import gradients
from pathpatch.effects import Effects
from pathpatch.engine.blocks import blocks, table
from pathpatch.engine.cost import announce
from pathpatch.engine.fast import metric_at_end
from pathpatch.engine.pass_c import receive
from pathpatch.engine.pass_d import pass_d
from pathpatch.engine.progress import progress
from pathpatch.engine.scene import Layout, Scene, first_step, run_a_and_b, stream, take
from pathpatch.engine.spec import Spec, check_sets
from pathpatch.engine.verify import why_not_fast
from pathpatch.errors import PathPatchError, check_number
from pathpatch.forward import Run, run
from pathpatch.metrics import Metric, logit_diff, per_prompt
from pathpatch.nodes import FROZEN, LOGITS, Entries, Model, Node, names
from pathpatch.prompts import Prompts

EMBED = Node("embed")


def node_attribution(
    model: Model,
    prompts: Prompts,
    nodes: Iterable[Node | str],
    steps: int = 0,
    metric: Metric = logit_diff,
) -> Effects:
    """Estimate what `activation_sweep` measures: each node patched by itself.

    With `steps` of 0 the gradient is taken at x_orig (attribution patching); with n it is
    taken at n points of the line to x_new (integrated gradients). A point costs a forward
    and a backward pass, whatever the number of nodes; two more forward passes come before. For
    denoising give `prompts.swapped()`.

    Returns: Effects, whose `patched` is base plus the estimated change, in units of the metric.
    Raises: PathPatchError, before any pass, for nodes that do not exist, and for nodes joined by +
    (one may act through another, and then their estimates do not add up).
    Source: Nanda 2023, Attribution Patching; Kramar et al. 2024 (AtP). Integrated gradients:
    Sundararajan et al. 2017, section 3, along the inputs as in Hanna et al. 2024 (EAP-IG).
    """
    sets = check_sets(model, prompts.orig, nodes)
    for name, joined in zip(names(sets), sets, strict=True):
        if len(joined) > 1:
            raise PathPatchError(
                f"attribution takes nodes one by one, got {name}; activation_sweep takes sets"
            )
    asked = {"receivers": [], "frozen": "nothing", "engine": _engine(model, prompts, steps)}
    single = [node for (node,) in sets]
    parts = (_of_nodes(model, block, single, steps, metric) for block in blocks(model, prompts))
    return table(model, prompts, sets, metric, parts, **asked)


def edge_attribution(
    model: Model,
    prompts: Prompts,
    *,
    senders: Entries,
    receivers: Iterable[Node | str],
    steps: int = 0,
    metric: Metric = logit_diff,
) -> Effects:
    """Estimate what `path_sweep` measures with all heads and MLPs frozen: edges.

    Each row is a sender to all receivers together: what it writes into the residual stream, times
    the gradient where the receivers read it, before their norm. A receiver's gradient does not
    count the routes through other receivers, which path patching sets too. Keys and values that
    query heads share receive as one (20.kv0.v), or one query head's copy does (20.0.v). A sender
    may be several nodes joined by +. `steps` and the cost are as in `node_attribution`.

    Returns: Effects, whose `patched` is base plus the estimated change, in units of the metric.
    Raises: PathPatchError, before any pass, for nodes that do not exist or cannot do this, and for
    a model whose attention this library does not know.
    Source: Syed et al. 2023 (EAP); with integrated gradients Hanna et al. 2024 (EAP-IG), whose
    code takes evenly spaced points where this takes those of Gauss and Legendre.
    """
    frozen = FROZEN["heads+mlps"](model)
    spec = Spec.of(model, prompts, senders, receivers, frozen, metric)
    asked = {"receivers": [str(node) for node in spec.receivers], "frozen": "heads+mlps"}
    asked["engine"] = _engine(model, prompts, steps)
    if reason := why_not_fast(model, prompts, spec.senders):
        raise PathPatchError(
            f"edge attribution rests on the fast engine. {reason}; use path_sweep, which takes the "
            f"literal four passes there"
        )
    parts = (_of_edges(model, block, spec, steps) for block in blocks(model, prompts))
    return table(model, prompts, spec.senders, metric, parts, **asked)


def _of_nodes(
    model: Model, prompts: Prompts, nodes: Sequence[Node], steps: int, metric: Metric
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "node batch"]]:
    """The metric in pass B, and the same plus the estimated changes."""
    a = run(model, prompts.new, reads=[*nodes, EMBED])
    b = run(model, prompts.orig, reads=[*nodes, EMBED, LOGITS])
    changes = b[LOGITS].new_zeros(len(nodes), len(prompts))  # [node, batch]

    def of(logits: Tensor) -> Tensor:
        return per_prompt(metric, logits, prompts)

    for weight, writes in _line(a, b, steps):
        slopes = gradients(model, prompts.orig, of, nodes=nodes, writes=writes)
        for i, node in enumerate(nodes):
            changes[i] += weight * ((a[node] - b[node]) * slopes[node]).flatten(1).sum(1)
    base = of(b[LOGITS]).cpu().double()
    return base, base + changes.cpu()


def _of_edges(
    model: Model, prompts: Prompts, spec: Spec, steps: int
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "sender batch"]]:
    """The metric in pass B, and the same plus the estimated changes."""
    layout = Layout.of(model, prompts.orig, spec.receivers, spec.frozen)
    scene = run_a_and_b(layout, prompts.new, [*spec.senders, [EMBED]])
    base = per_prompt(spec.metric, scene.b[LOGITS], prompts)
    changes = base.new_zeros(len(spec.senders), len(prompts))
    for weight, writes in _line(scene.a, scene.b, steps):
        here = run(model, prompts.orig, reads=stream(model), writes=writes)
        resid = torch.stack([here[node] for node in stream(model)])
        slopes = _slopes(replace(scene, resid=resid), prompts, spec.metric)
        for i, nodes in enumerate(spec.senders):
            for node, first in scene.once(nodes):
                slope = take(slopes[1 + first_step(model, [node])], scene.places(node))
                change = _written(scene, node) * first[..., None]
                changes[i] += weight * (change * slope).sum((1, 2))
    base = base.cpu().double()
    return base, base + changes.cpu()


def _slopes(
    scene: Scene, prompts: Prompts, metric: Metric
) -> Float[Tensor, "depth batch pos d_model"]:
    """The gradient at a vector that is added to the residual stream below step `depth`.

    With heads and MLPs frozen it arrives, unchanged, at every receiver from there on.
    """
    resid = scene.resid.clone().requires_grad_()
    with torch.enable_grad():
        stored = {
            node: receive(scene, node, take(resid[scene.depth(node)], scene.places(node))[None])
            for node in scene.receivers
        }
        value = metric_at_end(scene.model, pass_d(scene, stored), prompts, metric)
    (slope,) = torch.autograd.grad(value.sum(), resid)
    return slope.flip(0).cumsum(0).flip(0)


def _written(scene: Scene, node: Node) -> Float[Tensor, "batch place d_model"]:
    """x_new minus x_orig: what a sender writes into the residual stream at its places."""
    whole = node.everywhere()
    change = take(scene.a[whole] - scene.b[whole], scene.places(node))
    if node.kind != "z":
        return change
    return change @ scene.model.blocks[node.layer].attn.W_O[node.head]


def _line(a: Run, b: Run, steps: int) -> Iterator[tuple[float, dict[Node, Tensor]]]:
    """The points from x_orig (b) to x_new (a): the weight of each, and the embeddings there.

    Gauss-Legendre points: n of them are exact where the gradient is a polynomial of degree 2n - 1.
    """
    at, weights = np.polynomial.legendre.leggauss(steps) if steps else ([-1.0], [2.0])
    for x, weight in progress(list(zip(at, weights, strict=True)), unit="step"):
        yield float(weight) / 2, {EMBED: b[EMBED] + (1 + float(x)) / 2 * (a[EMBED] - b[EMBED])}


def _engine(model: Model, prompts: Prompts, steps: int) -> str:
    """The name of the method. It says first what it will take, if that is over two seconds."""
    check_number("steps (0: plain gradients)", steps, 0, whole=True)
    weights = model.original_model.parameters()
    if torch.is_inference_mode_enabled() or any(weight.is_inference() for weight in weights):
        raise PathPatchError(
            "torch.inference_mode() has no gradients: call attribution, and load the model, "
            "outside of it"
        )
    name = f"integrated gradients, {steps} steps" if steps else "attribution"
    said = f"{name} (a backward pass counts as two)"
    announce(model, prompts, said, 2 + 3 * max(1, steps))
    return name
