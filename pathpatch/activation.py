"""Activation patching: run one prompt with nodes as they are on another."""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.forward import run
from pathpatch.nodes import LOGITS, Model, Node, as_nodes
from pathpatch.prompts import Prompts


def activation_patch(
    model: Model, prompts: Prompts, *, nodes: Iterable[Node | str]
) -> Float[Tensor, "batch vocab"]:
    """Run x_orig with the nodes set, together, to their values on x_new.

    Everything after them is recomputed, so this measures the total effect of the nodes, over
    all routes. To denoise, give `prompts.swapped()`. Where the run on x_new is at hand, the second
    pass alone is `run(model, tokens, reads=[LOGITS], writes=...)`.

    Returns: the logits at END.
    Raises: PathPatchError for an empty list, and for nodes that are not there.
    Source: Vig et al. 2020; Wang et al. 2023, App. A. Book: chapter 3.
    """
    if not (nodes := as_nodes(nodes)):
        raise PathPatchError("the list of nodes to patch is empty; give at least one")

    # Pass A: x_new, with nothing changed. Keep the nodes.
    a = run(model, prompts.new, reads=nodes)

    # x_orig, with the nodes patched from pass A.
    return run(model, prompts.orig, reads=[LOGITS], writes=a)[LOGITS]
