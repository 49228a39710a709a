"""The work of a sweep: how many multiply-adds with weights its passes take.

Those of attention scores are few on short prompts, and are left out. Book: chapter 11.
"""

from collections import Counter
from itertools import chain

from pathpatch.engine.scene import Layout, first_step, steps_each
from pathpatch.engine.spec import Spec
from pathpatch.engine.total import alike
from pathpatch.nodes import Model
from pathpatch.prompts import Prompts


def multiply_adds(model: Model, prompts: Prompts, spec: Spec) -> int:
    """Of all passes for one block of prompts."""
    forward = forward_multiply_adds(model, prompts)
    if spec.engine != "fast":
        pass_d = spec.receivers and all(node.kind != "logits" for node in spec.receivers)
        n, each = len(spec.senders), 2 if pass_d else 1
        return forward * (2 * -(-n // spec.at_once) + each * n)
    if not spec.receivers:
        return 2 * forward + _suffixes(model, prompts, spec)
    layout = Layout.of(model, prompts.orig, spec.receivers, spec.frozen)
    each, top = steps_each(model), layout.top()
    joins = [first for first in (first_step(model, nodes) for nodes in spec.senders) if first < top]
    climbs = [top // each - max(first, 0) // each for first in joins]  # through so many MLPs
    places = {node.at: layout.places(node).numel() for node in layout.receivers}
    c = 0 if layout.mlps_frozen else sum(climbs) * sum(places.values()) * layer_weights(model)[1]
    d = 0 if layout.ends_in_c() else _suffix(layout, min(map(layout.depth, layout.receivers)))
    return 2 * forward + c + len(joins) * d


def _suffixes(model: Model, prompts: Prompts, spec: Spec) -> int:
    """Of activation patching and causal tracing, beside the runs that are not patched."""
    total = 0
    for group in alike(spec.senders):
        sets = [spec.senders[i] for i in group]
        layout = Layout(model, prompts.orig, list(chain(*sets)), False)
        firsts = Counter(min(map(layout.depth, nodes)) for nodes in sets)
        total += sum(count * _suffix(layout, first) for first, count in firsts.items())
    return total


def _suffix(layout: Layout, low: int) -> int:
    """Of one sender or set, from step `low` and the first position of the receivers on."""
    layer, mlp, sides = layer_weights(layout.model)
    each = steps_each(layout.model)
    costs = [layer - mlp, mlp][:each] * layout.model.cfg.n_layers
    costs = costs[low:]  # of the steps that run
    live, last = int(layout.live().sum()), costs[-each:]
    # The last layer runs at END, and its keys and values for END to see.
    at_end = sum(last) - (sides if len(last) == each else 0)
    return live * sum(costs) - (live - len(layout.tokens)) * at_end


def forward_multiply_adds(model: Model, prompts: Prompts) -> int:
    """Of one forward pass over the prompts."""
    layer, *_ = layer_weights(model)
    weights = prompts.orig.ids.numel() * model.cfg.n_layers * layer
    return weights + len(prompts) * model.W_U.numel()  # the logits are needed at END only


def layer_weights(model: Model) -> tuple[int, int, int]:
    """How many weights a layer has: in all, of its MLP, and of its keys and values."""
    block = model.blocks[0]

    def count(names: str) -> int:  # some families have other parts in their attention
        parts = [getattr(block.attn, name) for name in names if hasattr(block.attn, name)]
        return sum(weight.numel() for part in parts for weight in part.parameters())

    mlp = 0 if model.cfg.attn_only else sum(weight.numel() for weight in block.mlp.parameters())
    return count("qkvo") + mlp, mlp, count("kv")
