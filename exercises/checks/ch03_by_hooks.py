"""The check of 3.2: an activation patch of one head by hooks, at a position of its own in each."""

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from exercises.checks.cases import Case, check
from exercises.checks.ch05_draws import Lab, few_labs
from exercises.checks.ch05_last_pass import ALL
from exercises.checks.ch05_passes import Slip
from exercises.checks.ch05_values import (
    Values,
    averaged,
    labelled,
    next_head,
    of,
    of_first,
    passed,
    values,
    whole_layer,
)
from exercises.checks.rules import RULES, TIDIED
from pathpatch import Node, Tokens
from pathpatch.nodes import Model

MODULES = {"gpt2": "transformer.h.{}.attn.c_proj", "llama": "model.layers.{}.self_attn.o_proj"}


def _drawn(random: Random) -> Iterator[Case]:
    for first, deep, low in few_labs(random):
        yield _case(first, random.randrange(2), anywhere(first))
        yield _case(deep, random.randrange(2, deep.layers), anywhere(deep))
        yield _case(low, 0, anywhere(low))
        yield _case(deep, 0, deep.prompts.orig.at("END"))
        yield _case(first, 2, first.prompts.orig.at("S1"))


def anywhere(lab: Lab) -> Tensor:
    """A position of its own in each prompt, never the last."""
    ends = lab.prompts.orig.at("END").tolist()
    return torch.tensor([lab.random.randrange(1, end) for end in ends])


def _case(lab: Lab, layer: int, at: Tensor) -> Case:
    name, head = MODULES[lab.kind].format(layer), lab.random.randrange(1, lab.model.cfg.n_heads)
    x_orig, x_new = lab.prompts.orig.ids, lab.prompts.new.ids
    shown = f"patch_by_hooks({lab.shown}, {name!r}, {head}, x_orig, x_new, {at.tolist()})"
    ends = lab.prompts.orig.at("END").tolist()
    return Case(f"{shown}, prompts with END at {ends}", (lab.model, name, head, x_orig, x_new, at))


@check(
    _drawn,
    5,
    advice="Print the shape of what the first hook keeps: [batch, d_head] is right.",
    rule=RULES["patch_by_hooks"],
    tidy=TIDIED["patch_by_hooks"],
)
def patch_by_hooks(model, name, head, x_orig, x_new, at, *, slip):
    ends = (x_orig != 0).sum(1) - 1
    last = torch.full_like(at, x_orig.shape[1] - 1)
    places = {"END": ends, "at": at, "last": last}
    orig, new = (labelled(Tokens(ids, places)) for ids in (x_orig, x_new))
    h = Node("z", int(re.findall(r"\d+", name)[0]), head, at="at")
    if slip("x_orig and x_new have changed places"):
        orig, new = new, orig
    writes = _writes(model, orig, new, h, slip)
    if slip("nothing is patched: these are the logits on x_orig"):
        writes = {}
    logits = passed(model, orig, writes, [ALL])[ALL]
    if slip("the patch is made on x_new, and not on x_orig"):
        logits = passed(model, new, writes, [ALL])[ALL]
    if slip("these are the logits on x_new"):
        logits = values(model, new, [ALL])[ALL]
    if slip("the change of the logits is returned, and not the logits themselves"):
        logits = logits - values(model, orig, [ALL])[ALL]
    if slip("only the logits at END are returned, and not those at all positions"):
        return logits[orig.index("END")]
    if slip("only the logits at `at` are returned, and not those at all positions"):
        return logits[orig.index("at")]
    if slip("only the logits at the last position are returned, and not those at all positions"):
        return logits[:, -1]
    return logits


def _writes(model: Model, orig: Tokens, new: Tokens, h: Node, slip: Slip) -> Values:
    """The head with its values on x_new, at the position that `h` has in each prompt."""
    nodes, head, width = [h], h.head or 0, model.cfg.d_head
    if slip("the head is patched at all positions, and not at one"):
        nodes = [h.everywhere()]
    if slip("every prompt is patched at the position of the first prompt"):
        nodes = [of(h)]
    if slip(
        "every prompt is patched at the positions of all prompts: "
        "index with `[rows, at]`, not `[:, at]`"
    ):
        nodes = [of(h, row) for row in range(len(orig))]
    if slip("END is patched, and not `at`"):
        nodes = [replace(h, at="END")]
    if slip("the last position is patched, and not `at`"):
        nodes = [replace(h, at="last")]
    if slip("all heads of the layer are patched"):
        nodes = whole_layer(model, nodes)
    if slip("the head next to it is patched"):
        nodes = [next_head(model, node) for node in nodes]
    if slip("head 0 is patched, whatever head is asked for"):
        nodes = [replace(node, head=0) for node in nodes]
    found, old = values(model, new, nodes), values(model, orig, nodes)
    if slip("the value is averaged over the prompts"):
        found = {node: averaged(value) for node, value in found.items()}
    if slip("every prompt gets the value of the first prompt"):
        found = {node: of_first(value) for node, value in found.items()}
    if slip("the new value is added to the old one, and does not replace it"):
        found = {node: value + old[node] for node, value in found.items()}
    if slip("the change of the value is put in, and not the new value"):
        found = {node: value - old[node] for node, value in found.items()}
    if slip("the head is set to zero, and not to its value on x_new"):
        found = {node: torch.zeros_like(value) for node, value in found.items()}
    if slip("every n-th number is taken for the head: head 1 begins at number d_head"):
        return _columns(model, orig, new, h, "z", slice(head, None, model.cfg.n_heads))
    if slip("the head is taken to begin at its own number: head 1 begins at number d_head"):
        return _columns(model, orig, new, h, "z", slice(head, head + width))
    if slip("the output of the module is patched, and not its input"):
        part = slice(head * width, (head + 1) * width)
        return _columns(model, orig, new, h, "attn_out", part)
    return found


def _columns(model: Model, orig: Tokens, new: Tokens, h: Node, kind: str, columns: slice) -> Values:
    """Some columns of what all heads give, or of what the layer writes, at one position."""
    nodes = whole_layer(model, [h])
    if kind == "attn_out":
        nodes = [Node(kind, h.layer, at=h.at)]
    old, found = (values(model, tokens, nodes) for tokens in (orig, new))
    joined = torch.cat([old[node] for node in nodes], -1)  # [batch, heads x d_head], or d_model
    joined[:, columns] = torch.cat([found[node] for node in nodes], -1)[:, columns]
    return dict(zip(nodes, joined.chunk(len(nodes), -1), strict=True))
