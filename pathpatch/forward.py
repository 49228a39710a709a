"""One forward pass that reads and writes nodes: passes A and B, and the tool for C and D.

The only caller of `run_with_hooks`, so no hook survives a call, not even one that fails.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.nodes import UNEMBED, WRITABLE, Model, Node, as_nodes, device_of
from pathpatch.prompts import END, Tokens

Write: TypeAlias = Tensor | Callable[[Tensor], Tensor]
Step: TypeAlias = Callable[[Tensor], Tensor | None]  # what to do with an activation
Plan: TypeAlias = Sequence[tuple[str, Step]]


class Run(dict[Node, Tensor]):
    """What one forward pass read: node -> value, and the tokens it ran on.

    A node at one position is cut out of the same node at all positions where only that was read.
    """

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.tokens = tokens

    def __getitem__(self, node: Node | str) -> Tensor:
        return super().__getitem__(node if isinstance(node, Node) else Node.parse(node))

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
    writes: Mapping[Any, Write] | None = None,  # from nodes, or their names, as in reads
) -> Run:
    """One forward pass. Values are read as the pass computes them, *before* a write replaces them.

    Writes are done in the order of the mapping; a name may join nodes by +, which get one value. A
    value has the shape [batch, pos, ...], at one position [batch, ...]; ... is d_head (z, q, k, v),
    key positions (pattern) or d_model. It may also be a function of what the pass computed there.

    Logits are what the model returns, with all that it does after the unembedding (soft-capping, a
    scale). They cannot be written.

    Raises: PathPatchError for a node that the model or the prompts do not have, a value of the
    wrong shape, a node whose writes the model ignores, a model in training mode or with hooks of
    somebody else, a value that is not a number, or a hook that did not fire. The model is left as
    it was.
    Book: chapter 5.
    """
    found, reads, writes = Run(tokens), as_nodes(reads), writes or {}
    tokens = tokens.to(device_of(model))
    inside = [node for node in reads if node.kind != "logits"]
    plan = [(node.hook, _reader(model, tokens, node, found)) for node in inside]
    written = [(node, new) for place, new in writes.items() for node in as_nodes([place])]
    plan += [(node.hook, writer(model, tokens, node, new)) for node, new in written]
    last = [node for node in reads if node.kind == "logits"]
    logits = forward(model, tokens, plan, only_end=all(node.at == END for node in last))
    for node in last:
        _reader(model, tokens, node, found)(logits)
    return finite(found)


def forward(model: Model, tokens: Tokens, plan: Plan, only_end: bool) -> Tensor:
    """`attempt`, in which every hook must fire. Returns: the logits [batch, pos, vocab]."""
    logits, silent = attempt(model, tokens, plan, only_end)
    if silent:
        raise PathPatchError(f"these hooks never fired, so nothing was patched: {sorted(silent)}")
    return logits


def attempt(
    model: Model, tokens: Tokens, plan: Plan, only_end: bool = False
) -> tuple[Tensor, Set[str]]:
    """The pass itself. plan: hook points and what to do there, in this order.

    Returns: the logits [batch, pos, vocab], and the hooks that did not fire. only_end: unembed only
    END, as that matrix is the largest of all; its logits then stand at every position.
    """
    _check_model(model)
    tokens.check(model.cfg, model.cfg.longest)
    steps: dict[str, list[Step]] = defaultdict(list)
    for name, step in plan:
        steps[name].append(step)
    if only_end:
        end = tokens.index(END)
        steps[UNEMBED].append(lambda x: x[end][:, None])  # [batch, pos, d_model]: one position
    fired: set[str] = set()

    def take_steps(name: str, activation: Tensor) -> Tensor:
        fired.add(name)
        for step in steps[name]:
            written = step(activation)
            activation = activation if written is None else written
        return activation

    hooks = [(name, lambda x, hook, name=name: take_steps(name, x)) for name in steps]
    try:
        logits = model.run_with_hooks(tokens.ids, fwd_hooks=hooks)
    except (IndexError, RuntimeError):
        tokens.check(model.cfg, model.cfg.n_ctx)  # some families keep a table of angles or slopes
        raise
    except ValueError as error:
        raise PathPatchError(f"a place of this pass has been switched off: {error}") from error
    return logits.expand(-1, tokens.ids.shape[1], -1), steps.keys() - fired


def _check_model(model: Model) -> None:
    """Raises: PathPatchError for a model with which a pass would give other numbers."""
    modules = all_modules(model)
    if any(module.training for module in modules):
        raise PathPatchError("the model is in training mode (dropout is active); call model.eval()")
    if hooks := foreign_hooks(modules) - model.cfg.own_hooks:
        raise PathPatchError(f"somebody else's hook is on the model, {min(hooks)}; remove it first")
    if torch.is_autocast_enabled(device_of(model).type):
        raise PathPatchError("torch.autocast rounds every step; leave it, or load the model so")


def all_modules(model: Model) -> list[torch.nn.Module]:
    """Those of the bridge, and those of the model inside that the bridge has no name for."""
    return list({*model.modules(), *model.original_model.modules()})


def foreign_hooks(modules: Iterable[torch.nn.Module]) -> Set[str]:
    """The hooks that neither Hugging Face nor the bridge has put there for its own purposes: on
    a module, or on all modules of torch."""
    kinds = [f"{way}{when}_hooks" for way in ("_forward", "_backward") for when in ("", "_pre")]
    places = [(vars(m), "") for m in modules] + [(vars(torch.nn.modules.module), "_global")]
    hooks = [hook for there, of in places for kind in kinds for hook in there[of + kind].values()]
    own = ("transformers.", "transformer_lens.model_bridge.")
    return {repr(h) for h in hooks if not str(getattr(h, "__module__", "")).startswith(own)}


def finite(found: Run) -> Run:
    for node, value in found.items():
        if not torch.isfinite(value).all():
            raise PathPatchError(f"the run gave values at {node} that are not finite numbers")
    return found


def parts_of(model: Model, tokens: Tokens, node: Node) -> list[tuple[Any, ...]]:
    """The indices of a node in its activation [batch, pos, ...] or [batch, pos, head, ...]."""
    node.check(model)
    where = (slice(None), slice(None))
    if node.at is not None:
        where = tokens.index(node.at)  # type: ignore[assignment]
    return [(*where, head) for head in node.heads(model)] or [where]


def _reader(model: Model, tokens: Tokens, node: Node, found: Run) -> Step:
    first, *_ = parts_of(model, tokens, node)  # copies of a shared vector are equal: read one

    def read(activation: Tensor) -> None:
        found[node] = pos_first(node, activation)[first].clone()

    return read


def writer(model: Model, tokens: Tokens, node: Node, new: Write) -> Step:
    parts = parts_of(model, tokens, node)
    if node.kind == "logits":
        raise PathPatchError("the logits cannot be written: a run reads them before it writes")
    if node.kind in model.cfg.deaf:
        raise PathPatchError(
            f"{model.cfg.model_name} ignores what is written at {node}: nothing that it computes "
            f"depends on it; these can be written: {', '.join(sorted(WRITABLE - model.cfg.deaf))}"
        )

    def write(activation: Tensor) -> Tensor:
        edited = activation.clone()
        for part in parts:
            target = pos_first(node, edited)
            value, shape = new(target[part]) if callable(new) else new, list(target[part].shape)
            tensor = isinstance(value, Tensor)
            came = f"shape {list(value.shape)}" if tensor else f"the type {type(value)}"
            if came != f"shape {shape}":
                raise PathPatchError(f"the value for {node} has {came}, expected a tensor {shape}")
            target[part] = value.to(edited)  # its device and dtype
        return edited

    return write


def pos_first(node: Node, activation: Tensor) -> Tensor:
    """A view with [batch, pos, head, ...]: attention patterns come as [batch, head, pos, key]."""
    return activation.transpose(1, 2) if node.kind == "pattern" else activation
