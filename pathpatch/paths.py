"""Path patching, written out as in the paper: passes A and B are given, C and D are here."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.forward import Run, run
from pathpatch.nodes import LOGITS, Model, Node, as_nodes
from pathpatch.prompts import END, Tokens

# A sender writes into the residual stream; a receiver is read off it. Other kinds are refused: the
# query of a frozen head, say, would be a sender that changes nothing.
SENDERS = ("embed", "z", "mlp_out")
RECEIVERS = ("q", "k", "v", "resid_post", "logits")


def path_patch(
    model: Model,
    tokens: Tokens,
    base: Run,
    source: Run,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str],
) -> Float[Tensor, "batch vocab"]:
    """How the logits change when the senders act *through the receivers* and in no other way.

    tokens: x_orig. base: pass B, a run on x_orig that read the frozen nodes. source: pass A, a
    run on x_new that read the senders. frozen: what a direct path may not go through. The paper's
    rule is `heads(model)`: MLPs are recomputed and belong to the path. `heads(model) +
    mlps(model)` is edge patching. Swap the two runs (and the tokens) to denoise.

    Returns: the logits at END in pass D. Compare them with the logits of pass B.
    Raises: PathPatchError when a run lacks a node, or was not made on these tokens.
    Source: Wang et al. 2023, App. B, Algorithm 1. Book: chapter 5.
    """
    senders, receivers, frozen = as_nodes(senders), as_nodes(receivers), as_nodes(frozen)
    check_nodes(model, tokens, senders, receivers)
    _check_runs(tokens, base, source)

    # Pass C: x_orig with everything frozen to pass B, except the senders, patched from pass A.
    # The receivers are only read: the value each would take. In C nothing else uses it.
    # A sender is patched last: what is frozen may name its place in another way (9.6 and 9.6@END).
    writes = {node: base[node] for node in frozen if node not in senders}
    writes |= {node: source[node] for node in senders}
    stored = run(model, tokens, reads=receivers, writes=writes)
    if any(node.kind == "logits" for node in receivers):
        return stored[LOGITS]  # the logits come last: pass D would hand them on unchanged

    # Pass D: x_orig with the receivers set to what C stored. Everything else is recomputed,
    # the senders too: they keep their x_orig value for all their other readers.
    return run(model, tokens, reads=[LOGITS], writes=stored)[LOGITS]


def check_nodes(model: Model, tokens: Tokens, senders: list[Node], receivers: list[Node]) -> None:
    """Raises: PathPatchError for nodes that are not there, or cannot send or receive."""
    roles = (("sender", senders, SENDERS), ("receiver", receivers, RECEIVERS))
    for role, nodes, kinds in roles:
        if not nodes:
            raise PathPatchError(f"path patching needs at least one {role}, got none")
        for node in nodes:
            node.check(model)
            if node.kind not in kinds:
                raise PathPatchError(f"{node} cannot be a {role}; these can: {', '.join(kinds)}")
            if node.kind == "logits" and node.at not in (None, END):
                raise PathPatchError(f"{node} cannot be a {role}: END is read; use {LOGITS}")
            if node.at is not None:
                tokens.at(node.at)


def _check_runs(tokens: Tokens, base: Run, source: Run) -> None:
    if not torch.equal(base.tokens.ids, tokens.ids):
        raise PathPatchError("base (pass B) was not run on these tokens, as x_orig must be")
    if source.tokens.ids.shape != tokens.ids.shape:
        raise PathPatchError(
            f"source (pass A) ran on tokens of shape {list(source.tokens.ids.shape)}, "
            f"x_orig has {list(tokens.ids.shape)}"
        )
