"""Activation patching: overwrite nodes with their values from another run."""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from pathpatch.errors import PathPatchError, as_list
from pathpatch.forward import Run, run
from pathpatch.nodes import LOGITS, Model, Node, Sets, as_nodes, node_set
from pathpatch.prompts import Tokens


def activation_patch(
    model: Model, tokens: Tokens, source: Run, *, nodes: Iterable[Node | str]
) -> Float[Tensor, "batch vocab"]:
    """Run the tokens with the nodes set, together, to their values in `source`.

    Everything after them is recomputed, so this measures the total effect of the nodes, over
    all routes. Noising: tokens = clean, source = a run on corrupt. Denoising: the reverse.

    Returns: the logits at END.
    Raises: PathPatchError when `source` did not read a node.
    Source: Vig et al. 2020; Wang et al. 2023, App. A. Book: chapter 3.
    """
    writes = {node: source[node] for node in as_nodes(nodes)}
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]


def check_sets(model: Model, tokens: Tokens, nodes: Iterable[Node | str]) -> Sets:
    """The sets of nodes of a sweep. Raises: PathPatchError for nodes that are not there."""
    sets = [node_set(names) for names in as_list(nodes, "nodes")]
    if not sets:
        raise PathPatchError("the list of nodes to patch is empty; give at least one")
    for node in [node for nodes in sets for node in nodes]:
        node.check(model)
        if node.kind == "logits":
            raise PathPatchError("the logits cannot be patched: the metric is read from them")
        if node.at is not None:
            tokens.at(node.at)
    return sets
