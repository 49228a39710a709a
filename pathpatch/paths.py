"""Path patching, written out as in the paper: the four passes, A to D.

Passes A and B run the two prompts as they are and supply values. Pass C computes what the receivers
would become if the senders acted on them directly; pass D measures what that does to the logits.
A sweep has one run of A and one of B for many senders, and asks for C and D alone.
"""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.forward import Run, run
from pathpatch.nodes import LOGITS, Model, Node, as_nodes, heads
from pathpatch.prompts import END, Prompts, Tokens

# A sender writes into the residual stream; a receiver is read off it. Other kinds are refused: the
# query of a frozen head, say, would be a sender that changes nothing.
SENDERS = ("embed", "z", "mlp_out")
RECEIVERS = ("q", "k", "v", "mlp_in", "resid_pre", "resid_post", "logits")


def path_patch(
    model: Model,
    prompts: Prompts,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str] | None = None,
) -> Float[Tensor, "batch vocab"]:
    """How the logits change when the senders act *through the receivers* and in no other way.

    A receiver is an input of a head (q, k, v) or of an MLP (mlp_in: no other part sees the patch),
    the residual stream below or above a layer, or the logits.
    Only direct paths count. frozen: what a direct path may not go through, by default all heads.
    That is the paper's rule: MLPs are recomputed and belong to the path. `heads(model) +
    mlps(model)` is edge patching. To denoise, give `prompts.swapped()`.

    Returns: the logits at END in pass D. Compare them with the logits of pass B, which are those
    of `run(model, prompts.orig, reads=[LOGITS])`.
    Raises: PathPatchError for nodes that are not there, or cannot send or receive.
    Source: Wang et al. 2023, App. B, Algorithm 1. Book: chapter 5.
    """
    senders, receivers = as_nodes(senders), as_nodes(receivers)
    frozen = heads(model) if frozen is None else as_nodes(frozen)

    # Pass A: x_new, with nothing changed. Keep the senders: the values that they will be given.
    a = run(model, prompts.new, reads=senders)

    # Pass B: x_orig, with nothing changed. Keep what will be frozen, to hold it there.
    b = run(model, prompts.orig, reads=frozen)

    return passes_c_and_d(model, a, b, senders=senders, receivers=receivers, frozen=frozen)


def passes_c_and_d(
    model: Model,
    a: Run,
    b: Run,
    *,
    senders: Iterable[Node | str],
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str],
) -> Float[Tensor, "batch vocab"]:
    """The second half of `path_patch`, for many senders between the same two runs.

    a: pass A, a run on x_new that read the senders. b: pass B, a run on x_orig that read the
    frozen nodes. Both may have read more.

    Returns: the logits at END in pass D.
    Raises: PathPatchError as `path_patch`, and when a run lacks a node or the two do not match.
    """
    senders, receivers, frozen = as_nodes(senders), as_nodes(receivers), as_nodes(frozen)
    x_orig = b.tokens
    check_nodes(model, x_orig, senders, receivers)
    _check_match(a, b)

    # Pass C: x_orig with everything frozen to pass B, except the senders, patched from pass A.
    # Keep the receivers: the value each would take. In C nothing else uses it.
    # A sender is patched last: what is frozen may name its place in another way (9.6 and 9.6@END).
    writes = {node: b[node] for node in frozen if node not in senders}
    writes |= {node: a[node] for node in senders}
    c = run(model, x_orig, reads=receivers, writes=writes)
    if any(node.kind == "logits" for node in receivers):
        return c[LOGITS]  # the logits come last: pass D would hand them on unchanged

    # Pass D: x_orig with the receivers patched from pass C. Everything else is recomputed, the
    # senders too: they keep their x_orig value for all their other readers.
    return run(model, x_orig, reads=[LOGITS], writes=c)[LOGITS]


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


def _check_match(a: Run, b: Run) -> None:
    if a.tokens.ids.shape != b.tokens.ids.shape:
        raise PathPatchError(
            f"a (pass A) ran on tokens of shape {list(a.tokens.ids.shape)}, b (pass B) on "
            f"{list(b.tokens.ids.shape)}; they must be x_new and x_orig of the same prompts"
        )
