"""Check of chapter 5: both directions of an activation patch (5.6)."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from exercises.checks.cases import Case, check
from exercises.checks.runs import run
from exercises.room.inputs import hand_made, random_prompts, tiny
from pathpatch import LOGITS, Node, Prompts, logit_diff, make_prompts
from pathpatch.metrics import answer_prob
from pathpatch.nodes import Model, as_nodes, heads

PLACES = ("IO", "S1", "S2", "END")
BITS = (  # nodes of a gate: one input, the other, or both
    ["0.0@END"],
    ["0.0@END", "0.1@END"],
    ["0.1@END"],
)


def _draw(random: Random) -> Iterator[Case]:
    """Random models first: on the gates, mistakes can give the same whole numbers."""
    layers = {"gpt2": (2, 3), "llama": (3, 6)}
    made = [(kind, random.randint(*some), random.randint(0, 99)) for kind, some in layers.items()]
    while True:
        for number, kinds in enumerate((("z",), ("z", "v", "k"), ("mlp_out", "q", "z"))):
            for which in made:
                yield _on_tiny(which, kinds, random, batch=random.randint(2 - number % 2, 5))
            gate = ("and", "or")[number % 2]
            model, prompts = hand_made("toy", gate).model, gate_prompts(gate, random)
            nodes = BITS[random.randrange(3)]
            shown = f"both_directions(toy({gate!r}).model, prompts, {nodes})"
            yield Case(shown, (model, prompts, nodes))


def _on_tiny(
    made: tuple[str, int, int], kinds: tuple[str, ...], random: Random, batch: int
) -> Case:
    kind, layers, seed = made
    model = tiny(kind, layers, seed)
    nodes = [_node(model, kind, random) for kind in kinds]
    shown = f"tiny_model({kind!r}, seed={seed}, layers={layers}), prompts, {nodes}"
    return Case(f"both_directions({shown})", (model, random_prompts(model, random, batch), nodes))


def _node(model: Model, kind: str, random: Random) -> str:
    """A node that matters: before END, there must be a layer left to carry it there."""
    at = random.choice(PLACES)
    layer = random.randrange(model.cfg.n_layers - (at != "END" or kind in ("k", "v")))
    head = "" if kind == "mlp_out" else f"{random.randrange(model.cfg.n_heads)}."
    return f"{layer}.{head}{kind}@{at}"


def gate_prompts(gate: str, random: Random) -> Prompts:
    made = hand_made("toy", gate)
    pair, rows = made.prompts["noising"].pairs[0], []
    for _ in range(random.randint(1, 4)):
        sides = [(bit, bit, random.randint(0, 1)) for bit in random.sample((0, 1), 2)]
        clean, corrupt = (f"given {' '.join(map(str, bits))} =" for bits in sides)
        rows.append(replace(pair, clean=clean, corrupt=corrupt))
    return make_prompts(made.model.tokenizer, rows)


@check(
    _draw,
    7,
    advice="Two activation patches. In each: which prompt is run, and where are the values from?",
)
def both_directions(model, prompts, nodes, *, slip):
    nodes = as_nodes(nodes)
    if slip("only the first of the nodes is patched"):
        nodes = nodes[:1]
    if slip("only the last of the nodes is patched"):
        nodes = nodes[-1:]
    if slip("the nodes are patched at all positions, and not at their own"):
        nodes = [node.everywhere() for node in nodes]
    if slip("the nodes are patched at END, and not at their own position"):
        nodes = [replace(node, at="END") for node in nodes]
    if slip("the output of a head is patched, and not its query, key or value"):
        nodes = [node if node.head is None else replace(node, kind="z") for node in nodes]
    if slip("all heads of the layer are patched, and not one"):
        nodes = [other for node in nodes for other in _layer(model, node)]
    parts = [nodes]
    if slip("the nodes are patched one at a time and the changes added up: together is asked for"):
        parts = [[node] for node in nodes]
    share = 1
    if slip("the nodes are patched one at a time and the mean of the changes is taken"):
        parts, share = [[node] for node in nodes], len(nodes)

    def metric(logits: Tensor) -> Tensor:
        if slip("only the logit of the answer is taken, without that of the foil"):
            return logits.gather(-1, prompts.answer[:, None])[:, 0]
        if slip("only the logit of the foil is taken, without that of the answer"):
            return logits.gather(-1, prompts.foil[:, None])[:, 0]
        if slip("the probability of the answer is taken, and not the logit difference"):
            return answer_prob(logits, prompts)
        return logit_diff(logits, prompts)

    clean, corrupt = (metric(run(model, x, reads=[LOGITS])[LOGITS]) for x in _sides(prompts))
    found, gap = {}, clean - corrupt
    for way, x in (("noising", prompts), ("denoising", prompts.swapped())):
        tokens, source = x.orig, x.new
        before, other = (clean, corrupt) if way == "noising" else (corrupt, clean)
        if slip("the values come from the prompt that is run, so that nothing changes"):
            source = tokens
        if slip("the clean prompt is run in both"):
            tokens = prompts.orig
        if slip("the values are those of the clean prompt in both"):
            source = prompts.orig
        start = before
        if slip("both are compared with the run on the clean prompt: in denoising the corrupt "
                "one is run"):  # fmt: skip
            start = clean
        if slip("both are compared with the run on the corrupt prompt: in noising the clean one "
                "is run"):  # fmt: skip
            start = corrupt
        if slip("each is compared with the run that gives the values, and not with the same run "
                "without the patch"):  # fmt: skip
            start = other
        if slip("the metric itself is returned, and not its change"):
            start = torch.zeros_like(before)
        change = torch.zeros_like(before)
        for part in parts:
            a = run(model, source, reads=part)
            patch = {node: a[node] for node in part}
            if slip("every prompt gets the values of the first one"):
                patch = {node: v[:1].expand_as(v) for node, v in patch.items()}
            if slip("the nodes get their mean over the prompts"):
                patch = {n: v.mean(0, keepdim=True).expand_as(v) for n, v in patch.items()}
            if slip("the nodes are set to zero, and not to their values on the other prompt"):
                patch = {node: torch.zeros_like(v) for node, v in patch.items()}
            if slip("the new values are added to the old ones, and do not replace them"):
                b = run(model, tokens, reads=part)
                patch = {node: v + b[node] for node, v in patch.items()}
            if slip("the other heads are frozen: then only the direct path is left"):
                b = run(model, tokens, reads=heads(model))
                patch = {node: b[node] for node in heads(model)} | patch
            patched = metric(run(model, tokens, reads=[LOGITS], writes=patch)[LOGITS])
            if slip("the other prompt is run whole, and nothing is patched"):
                patched = other
            change = change + patched - start
        change = change / share
        if slip("the change is divided by the gap between the two prompts: logits are asked for"):
            change = change / gap
        if slip("the change is divided by the gap in the direction of the patch: logits are "
                "asked for"):  # fmt: skip
            change = change / (other - before)
        if slip("the change is divided by the metric before: logits are asked for"):
            change = change / before
        if slip("percentages are returned: logits are asked for"):
            change = 100 * change
        if slip("the sign is lost, by an absolute value"):
            change = change.abs()
        found[way] = change
    noising, denoising = found["noising"], found["denoising"]
    if slip("both numbers are of noising"):
        denoising = noising
    if slip("both numbers are of denoising"):
        noising = denoising
    if slip("denoising is taken to be noising with the sign turned round"):
        denoising = -noising
    if slip("denoising has the sign turned round: it too is patched minus before, and "
            "answer and foil stay as they are"):  # fmt: skip
        denoising = -denoising
    if slip("noising has the sign turned round: a change is patched minus before"):
        noising = -noising
    if slip("the sign is turned round in both: a change is patched minus before"):
        noising, denoising = -noising, -denoising
    if slip("the two directions have changed places"):
        noising, denoising = denoising, noising
    if slip("the change of denoising is taken off that of noising"):
        noising = noising - denoising
    return {"noising": noising, "denoising": denoising}


def _sides(prompts: Prompts):
    return prompts.orig, prompts.new


def _layer(model: Model, node: Node) -> list[Node]:
    if node.head is None:
        return [node]
    return [replace(node, head=head) for head in range(model.cfg.n_heads)]
