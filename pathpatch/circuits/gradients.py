"""Gradients at nodes: one forward pass with writes, and one backward."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from pathpatch.forward import Run, Step, finite, forward, parts_of, pos_first, writer
from pathpatch.nodes import Model, Node, as_nodes, device_of
from pathpatch.prompts import Tokens


def gradients(
    model: Model,
    tokens: Tokens,
    of: Callable[[Tensor], Tensor],
    *,
    nodes: Iterable[Node | str],
    writes: Mapping[Node, Tensor] | None = None,
) -> Run:
    """The gradient at nodes of a number: one forward pass, with these writes, and one backward.

    of: from the logits at END [batch, vocab] to one number for each prompt. Prompts do not see
    one another, so each gets its own gradient. It counts every route from a node to the number,
    those through other nodes too, and at a shared node it is the sum over the copies.

    Returns: the gradients, in the shapes of the values that `run` reads.
    Raises: PathPatchError as `run`. The model is left as it was.
    """
    taps, found = dict[str, Tensor](), Run(tokens)
    tokens = tokens.to(device_of(model))
    parts = {node: parts_of(model, tokens, node) for node in as_nodes(nodes)}
    plan = [(n.hook, writer(model, tokens, n, v)) for n, v in (writes or {}).items()]
    plan += [(hook, _tap(hook, taps)) for hook in dict.fromkeys(node.hook for node in parts)]
    with torch.enable_grad():
        logits = forward(model, tokens, plan, only_end=True)[:, 0]
        slopes = torch.autograd.grad(of(logits).sum(), list(taps.values()))
    at_hook = dict(zip(taps, slopes, strict=True))
    for node, where in parts.items():
        slope = pos_first(node, at_hook[node.hook])
        found[node] = torch.stack([slope[part] for part in where]).sum(0)
    return finite(found)


def _tap(name: str, taps: dict[str, Tensor]) -> Step:
    """Keep the tensor that the pass goes on with: a copy on the side would have no gradient."""

    def tap(activation: Tensor) -> Tensor:
        taps[name] = activation.clone().requires_grad_()
        return taps[name]

    return tap
