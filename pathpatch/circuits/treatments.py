"""Five treatments of the same sender h and receiver R: which of them is patched?

x_orig is run each time; what is patched comes from x_new. Everything else is recomputed.

    path patch h to R    R sees the new h, nothing else does            h through R, directly
    activation patch h   every reader sees the new h                    h, over all routes
    overwrite R          R as in x_new, whatever brought it there       all senders, through R
    patch h, freeze R    every reader but R sees the new h              h, round R
    patch h and R        the last two together

Book: chapter 8.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.blocks import as_array, blocks
from pathpatch.forward import run
from pathpatch.metrics import Metric, logit_diff, per_prompt
from pathpatch.nodes import LOGITS, Model, Node, as_nodes, heads
from pathpatch.paths import check_nodes, passes_c_and_d
from pathpatch.prompts import Prompts


def five_treatments(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str] | None = None,
    metric: Metric = logit_diff,
) -> dict[str, Float[np.ndarray, " batch"]]:
    """The metric on every prompt after no treatment ("none"), then after each of the five.

    All senders are h, all receivers R. The path patch freezes `frozen`, by default all heads.
    "activation patch h" minus "patch h, freeze R" is what h does through R, on direct paths and
    through other heads. With the logits as R, "overwrite R" is the x_new run itself.

    Raises: PathPatchError for nodes that are not there, or cannot send or receive.
    Source: the questions in the reader's notes that began this project. Book: chapter 8.
    """
    h, r = as_nodes(senders), [_before_logits(model, node) for node in as_nodes(receivers)]
    kept = heads(model) if frozen is None else as_nodes(frozen)
    check_nodes(model, prompts.orig, h, r)
    parts = []
    for part in blocks(model, prompts):
        logits = _treat(model, part, h, r, kept)
        measured = {name: per_prompt(metric, value, part) for name, value in logits.items()}
        parts.append({name: as_array(values) for name, values in measured.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _treat(
    model: Model, prompts: Prompts, h: list[Node], r: list[Node], frozen: list[Node]
) -> dict[str, Float[Tensor, "batch vocab"]]:
    """The logits at END after each treatment."""
    a = run(model, prompts.new, reads=[*h, *r])
    b = run(model, prompts.orig, reads=[*frozen, *r, LOGITS])
    new_h, new_r = {node: a[node] for node in h}, {node: a[node] for node in r}
    old_r = {node: b[node] for node in r}
    through = passes_c_and_d(model, a, b, senders=h, receivers=r, frozen=frozen)
    treatments = {
        "activation patch h": new_h,
        "overwrite R": new_r,
        "patch h, freeze R": new_h | old_r,
        "patch h and R": new_h | new_r,
    }
    return {"none": b[LOGITS], "path patch h to R": through} | {
        name: run(model, prompts.orig, reads=[LOGITS], writes=writes)[LOGITS]
        for name, writes in treatments.items()
    }


def _before_logits(model: Model, node: Node) -> Node:
    """For the logits the state they are computed from: a pass reads logits before it writes."""
    if node.kind != "logits":
        return node
    return Node("resid_post", model.cfg.n_layers - 1, at=node.at)
