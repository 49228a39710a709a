"""One forward pass that reads and writes nodes: passes A and B, and the tool for C and D.

And the same with a backward pass after it, for gradients. The only caller of `run_with_hooks`, so
no hook survives a call, not even one that fails.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.nodes import LOGITS, UNEMBED, Model, Node, as_nodes, device_of
from pathpatch.prompts import END, Tokens

Write: TypeAlias = Tensor | Callable[[Tensor], Tensor]
Step: TypeAlias = Callable[[Tensor], Tensor | None]  # what to do with an activation


class Run(dict[Node, Tensor]):
    """What one forward pass read: node -> value, and the tokens it ran on.

    A node at one position is cut out of the same node at all positions where only that was read.
    """

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.tokens = tokens

    def __getitem__(self, node: Node | str) -> Tensor:
        return super().__getitem__(Node.parse(node) if isinstance(node, str) else node)

    def __missing__(self, node: Node) -> Tensor:
        if node.at is None or node.everywhere() not in self:
            raise PathPatchError(f"this run did not read {node}; use run(..., reads=['{node}'])")
        whole = super().__getitem__(node.everywhere())  # [batch, pos, ...]
        return whole[self.tokens.to(whole.device).index(node.at)]


@torch.no_grad()
def run(
    model: Model,
    tokens: Tokens,
    *,
    reads: Iterable[Node | str] = (),
    writes: Mapping[Node, Write] | None = None,
) -> Run:
    """One forward pass. Values are read as the pass computes them, *before* a write replaces them.

    Writes to one activation are applied in the order of the mapping. A value has the shape
    [batch, pos, ...] for a node without a position and [batch, ...] for a node with one, where
    ... is d_head (z, q, k, v), key positions (pattern), d_model, or d_vocab (logits). It may also
    be a function, which gets what the pass computed there and returns what to write.

    Raises: PathPatchError for a node that the model or the prompts do not have, a value of the
    wrong shape, a model in training mode, a value that is not a number, or a hook that did not
    fire. The model is left as it was.
    Book: chapter 5.
    """
    found, reads, writes = Run(tokens), as_nodes(reads), writes or {}
    tokens = tokens.to(device_of(model))
    plan = _unembed_end(tokens, [*reads, *writes])
    plan += [(node.hook, _reader(model, tokens, node, found)) for node in reads]
    plan += [(node.hook, _writer(model, tokens, node, new)) for node, new in writes.items()]
    _forward(model, tokens, plan)
    return _finite(found)


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
    end, taps, found = Run(tokens), dict[str, Tensor](), Run(tokens)
    tokens = tokens.to(device_of(model))
    parts = {node: _parts(model, tokens, node) for node in as_nodes(nodes)}
    plan = _unembed_end(tokens, parts)
    plan += [(n.hook, _writer(model, tokens, n, v)) for n, v in (writes or {}).items()]
    plan += [(hook, _tap(hook, taps)) for hook in dict.fromkeys(node.hook for node in parts)]
    plan.append((LOGITS.hook, _reader(model, tokens, LOGITS, end)))
    with torch.enable_grad():
        _forward(model, tokens, plan)
        slopes = torch.autograd.grad(of(end[LOGITS]).sum(), list(taps.values()))
    at_hook = dict(zip(taps, slopes, strict=True))
    for node, where in parts.items():
        slope = _pos_first(node, at_hook[node.hook])
        found[node] = torch.stack([slope[part] for part in where]).sum(0)
    return _finite(found)


def _unembed_end(tokens: Tokens, nodes: Iterable[Node]) -> list[tuple[str, Step]]:
    """Unembed only END, unless a node wants other logits: that matrix is the largest of all.

    The logits of END then stand at every position, and nobody looks there.
    """
    if any(node.kind == "logits" and node.at != END for node in nodes):
        return []
    end, pos = tokens.index(END), tokens.ids.shape[1]
    cut = (UNEMBED, lambda x: x[end][:, None])  # [batch, pos, d_model] -> [batch, 1, d_model]
    return [cut, (LOGITS.hook, lambda logits: logits.expand(-1, pos, -1))]


def _forward(model: Model, tokens: Tokens, plan: Sequence[tuple[str, Step]]) -> None:
    """The pass itself. plan: hook points and what to do there, in this order."""
    if model.training:
        raise PathPatchError("the model is in training mode (dropout is active); call model.eval()")
    steps: dict[str, list[Step]] = defaultdict(list)
    for name, step in plan:
        steps[name].append(step)
    fired: set[str] = set()

    def take_steps(name: str, activation: Tensor) -> Tensor:
        fired.add(name)
        for step in steps[name]:
            written = step(activation)
            activation = activation if written is None else written
        return activation

    hooks = [(name, lambda x, hook, name=name: take_steps(name, x)) for name in steps]
    model.run_with_hooks(tokens.ids, fwd_hooks=hooks)
    if silent := steps.keys() - fired:
        raise PathPatchError(f"these hooks never fired, so nothing was patched: {sorted(silent)}")


def _finite(found: Run) -> Run:
    for node, value in found.items():
        if not torch.isfinite(value).all():
            raise PathPatchError(f"the run gave values at {node} that are not finite numbers")
    return found


def _parts(model: Model, tokens: Tokens, node: Node) -> list[tuple[Any, ...]]:
    """The indices of a node in its activation [batch, pos, ...] or [batch, pos, head, ...]."""
    node.check(model)
    where = (slice(None), slice(None))
    if node.at is not None:
        where = tokens.index(node.at)  # type: ignore[assignment]
    return [(*where, head) for head in node.heads(model)] or [where]


def _reader(model: Model, tokens: Tokens, node: Node, found: Run) -> Step:
    first, *_ = _parts(model, tokens, node)  # copies of a shared vector are equal: read one

    def read(activation: Tensor) -> None:
        found[node] = _pos_first(node, activation)[first].clone()

    return read


def _writer(model: Model, tokens: Tokens, node: Node, new: Write) -> Step:
    parts = _parts(model, tokens, node)

    def write(activation: Tensor) -> Tensor:
        edited = activation.clone()
        for part in parts:
            target = _pos_first(node, edited)
            value = new.to(edited.device) if isinstance(new, Tensor) else new(target[part])
            if target[part].shape != value.shape:
                raise PathPatchError(
                    f"the value for {node} has shape {list(value.shape)}, "
                    f"expected {list(target[part].shape)}"
                )
            target[part] = value
        return edited

    return write


def _tap(name: str, taps: dict[str, Tensor]) -> Step:
    """Keep the tensor that the pass goes on with: a copy on the side would have no gradient."""

    def tap(activation: Tensor) -> Tensor:
        taps[name] = activation.clone().requires_grad_()
        return taps[name]

    return tap


def _pos_first(node: Node, activation: Tensor) -> Tensor:
    """A view with [batch, pos, head, ...]: attention patterns come as [batch, head, pos, key]."""
    return activation.transpose(1, 2) if node.kind == "pattern" else activation
