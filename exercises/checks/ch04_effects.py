"""The check of 4.4: total, direct, indirect and restored effects of a mediator."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from torch import Tensor

from exercises.checks.cases import Case, check
from exercises.checks.ch05_directions import gate_prompts
from exercises.checks.ch05_draws import Lab, few_labs
from exercises.checks.ch05_last_pass import ALL, at_end, without
from exercises.checks.ch05_values import labelled, next_head, of, passed, values
from exercises.room.inputs import hand_made
from pathpatch import Node, Tokens, logit_diff

KINDS = ("z", "mlp_out", "attn_out", "v")


def _drawn(random: Random) -> Iterator[Case]:
    """The gates are last: there, mistakes can give the same whole numbers."""
    for first, deep, low in few_labs(random):
        one, other, third = random.sample(KINDS, 3)
        yield _case(first, one, 0, "S2")
        yield _case(deep, other, 2, "END" if other != "v" else "S1")
        yield _case(low, third, 0, "END")
        yield _case(deep, "z", 1, "END", swapped=True)
        for gate in ("and", "or"):
            node = f"0.{random.randrange(2)}@END"
            shown = f"four_effects(toy({gate!r}).model, prompts, {node!r})"
            yield Case(shown, (hand_made("toy", gate).model, gate_prompts(gate, random), node))


def _case(lab: Lab, kind: str, layer: int, at: str, swapped: bool = False) -> Case:
    head = lab.random.randrange(1, lab.model.cfg.n_heads) if kind in ("z", "v") else None
    node = str(Node(kind, layer, head, at=at))
    prompts = lab.prompts.swapped() if swapped else lab.prompts
    shown = f"four_effects({lab.shown}, prompts, {node!r}), {prompts.direction}"
    ends = prompts.orig.at("END").tolist()
    return Case(f"{shown}, prompts with END at {ends}", (lab.model, prompts, node))


@check(_drawn, 6, advice="Print the logit differences of all four runs, and compare in pairs.")
def four_effects(model, prompts, node, *, slip):
    node, orig, new = Node.parse(node), labelled(prompts.orig), labelled(prompts.new)
    some = without(slip, "the logits of all positions")
    if slip("x_orig and x_new have changed places"):
        orig, new = new, orig
    if prompts.direction == "denoising" and slip("the clean prompt is taken for x_orig"):
        orig, new = new, orig
    if slip("the mediator is set at all positions, and not at its own"):
        node = node.everywhere()
    if slip("the mediator is set where the first prompt has its label, in all prompts"):
        node = of(node)
    if slip("the mediator is set at END, and not at its own position"):
        node = replace(node, at="END")
    if slip("the head next to the mediator is set"):
        node = next_head(model, node)

    def y(tokens: Tokens, mediator: Tokens) -> Tensor:
        writes = values(model, mediator, [node])
        return logit_diff(at_end(tokens, passed(model, tokens, writes, [ALL])[ALL], some), prompts)

    start, end, around, through = y(orig, orig), y(new, new), y(new, orig), y(orig, new)
    found = {
        "total": end - start,
        "direct": around - start,
        "indirect": through - start,
        "restored": end - around,
    }
    if slip("direct and indirect have changed places"):
        found["direct"], found["indirect"] = found["indirect"], found["direct"]
    if slip("indirect and restored have changed places"):
        found["restored"], found["indirect"] = found["indirect"], found["restored"]
    if slip("the restored effect is taken for the indirect one"):
        found["indirect"] = found["restored"]
    if slip("the indirect effect is taken for the restored one"):
        found["restored"] = found["indirect"]
    if slip("the direct effect is the total minus the indirect one: that is so without interplay"):
        found["direct"] = end - through
    if slip("the restored effect has the sign of what comes back, and not that of the total"):
        found["restored"] = around - end
    if slip("the restored effect is compared with x_orig, and not with x_new"):
        found["restored"] = around - start
    if slip("the direct effect is compared with x_new, and not with x_orig"):
        found["direct"] = around - end
    if slip("the indirect effect is compared with x_new, and not with x_orig"):
        found["indirect"] = through - end
    if slip("the total has the sign turned round"):
        found["total"] = start - end
    if slip("all four have the sign turned round"):
        found = {name: -value for name, value in found.items()}
    if slip("these are logit differences, and not their changes"):
        found = {"total": end, "direct": around, "indirect": through, "restored": around}
    return found
