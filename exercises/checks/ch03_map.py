"""The check of 3.5: a map of states, layers by positions."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from exercises.checks.cases import Case, check
from exercises.checks.ch05_draws import LABELS, Lab, few_labs
from exercises.checks.ch05_last_pass import ALL, at_end, without
from exercises.checks.ch05_values import averaged, labelled, of, of_first, passed, values
from pathpatch import Node, logit_diff


def _drawn(random: Random) -> Iterator[Case]:
    for first, deep, low in few_labs(random):
        yield _case(first, ["S2", "END"])
        yield _case(deep, [random.choice(LABELS[:3])])
        yield _case(low, random.sample(LABELS, 3), swapped=True)
        yield _case(first, ["END", random.choice(LABELS[:2])], swapped=True)


def _case(lab: Lab, labels: list[str], swapped: bool = False) -> Case:
    prompts = lab.prompts.swapped() if swapped else lab.prompts
    shown = f"state_map({lab.shown}, prompts, {labels}), {prompts.direction}"
    batch = f"prompts with END at {prompts.orig.at('END').tolist()}"
    return Case(f"{shown}, {batch}", (lab.model, prompts, labels))


@check(_drawn, 4, advice="Compare one cell with `activation_patch` and one node.")
def state_map(model, prompts, labels, *, slip):
    orig, new = labelled(prompts.orig), labelled(prompts.new)
    some = without(slip, "the logits of all positions")
    if slip("x_orig and x_new have changed places"):
        orig, new = new, orig
    if prompts.direction == "denoising" and slip("the clean prompt is run, and not x_orig"):
        orig, new = new, orig
    layers, kind = list(range(model.cfg.n_layers)), "resid_post"
    if slip("the state before each layer is patched, and not that after it"):
        kind = "resid_pre"
    if slip("what attention writes is patched, and not the state"):
        kind = "attn_out"
    if slip("what the MLP writes is patched, and not the state"):
        kind = "mlp_out"
    if slip("there are three layers, however many the model has"):
        layers = layers[:3]
    if slip("the last layer is left out"):
        layers = layers[:-1]
    if slip("the layers come from the top down"):
        layers = layers[::-1]
    if slip("the labels are sorted, and not in the order in which they are given"):
        labels = sorted(labels)
    if slip("the labels are in the order of their places"):
        labels = [label for label in LABELS if label in labels]
    before = logit_diff(at_end(orig, passed(model, orig, {}, [ALL])[ALL], some), prompts)
    if slip("the logit difference on x_new is taken away, and not that on x_orig"):
        before = logit_diff(passed(model, new, {}, [ALL])[ALL][new.index("END")], prompts)
    if slip("these are the logit differences after the patch, and not their change"):
        before = torch.zeros_like(before)

    def change(layer: int, label: str) -> Tensor:
        node = Node(kind, layer, at=label)
        if slip("the state is patched at all positions"):
            node = node.everywhere()
        if slip("the state is patched at END, whatever the label"):
            node = replace(node, at="END")
        if slip("every prompt is patched where the first one has the label"):
            node = of(node)
        nodes = [node]
        if slip("the layers that were patched before stay patched"):
            nodes = [replace(node, layer=i) for i in range(layer + 1)]
        if slip("the labels that were patched before stay patched"):
            nodes = [replace(node, at=one) for one in labels[: labels.index(label) + 1]]
        writes = values(model, new, nodes)
        if slip("every prompt gets the state of the first one"):
            writes = {node: of_first(value) for node, value in writes.items()}
        if slip("the states are averaged over the prompts"):
            writes = {node: averaged(value) for node, value in writes.items()}
        logits = at_end(orig, passed(model, orig, writes, [ALL])[ALL], some)
        return logit_diff(logits, prompts) - before

    found = torch.stack([torch.stack([change(i, one) for one in labels]) for i in layers])
    if slip("the change is divided by the logit difference before: logits are asked for"):
        found = found / before
    if slip("the mean over the prompts is taken: it is for whoever draws the map"):
        return found.mean(-1)
    if slip("layers and labels have changed places"):
        return found.transpose(0, 1)
    if slip("the batch comes first, and not last"):
        return found.movedim(-1, 0)
    return found
