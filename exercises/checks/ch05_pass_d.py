"""The check of 5.3: pass D, whatever receives."""

from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor

from exercises.checks.cases import Case, check
from exercises.checks.ch05_draws import LABELS, Lab, labs, names
from exercises.checks.ch05_last_pass import ALL, at_end
from exercises.checks.ch05_last_pass import pass_d as d
from exercises.checks.ch05_values import Values, labelled, passed, values
from pathpatch import LOGITS, Node, Tokens, run
from pathpatch.nodes import Model, heads


def _drawn(random: Random) -> Iterator[Case]:
    for first, second, deep, low in labs(random):
        some = random.sample(LABELS, 2)
        yield _case(first, [first.seen(1, some[0])])
        yield _case(
            second, [second.seen(2, some[1]), second.seen(1, some[0]), second.seen(0, "END")]
        )
        yield _case(low, [LOGITS])
        yield _case(first, [first.door(1, first.place(), "kv"), Node("resid_post", 0, at="END")])
        yield _case(low, [low.seen(0, None), low.door(1, "END", "q")])
        yield _case(second, [LOGITS])
        layers = random.sample(range(deep.layers), 4)
        yield _case(deep, [deep.seen(layer, deep.place()) for layer in layers])


def _case(lab: Lab, receivers: list[Node]) -> Case:
    """What pass C stores when the embedding sends, from all positions: so each receiver is new."""
    model, prompts = lab.model, lab.prompts
    frozen = run(model, prompts.orig, reads=heads(model))
    sent = run(model, prompts.new, reads=["embed"])
    c = run(model, prompts.orig, reads=receivers, writes=frozen | sent)
    stored = {node: c[node] for node in receivers}
    shown = f"pass_d({lab.shown}, x_orig, stored), stored with {names(receivers)}"
    return Case(shown, (model, prompts.orig, stored))


@check(
    _drawn,
    7,
    advice="One call of `run` on x_orig that writes what is stored and reads the logits.",
)
def pass_d(model, tokens, stored, *, slip):
    tokens = labelled(tokens)
    if LOGITS in stored:
        if slip("the logits that C stored are not used: a run reads them before it writes"):
            return values(model, tokens, [LOGITS])[LOGITS]
        found = stored[LOGITS]
    else:
        every = d(model, tokens, stored, slip)
        alone = values(model, tokens, [ALL])[ALL]
        if slip("each receiver has a pass of its own, and the changes are added up"):
            every = alone + (_each(model, tokens, stored) - alone).sum(0)
        if slip("each receiver has a pass of its own, and the mean of the logits is taken"):
            every = _each(model, tokens, stored).mean(0)
        if slip("the stored values are added to what the run computes there"):
            old = values(model, tokens, stored)
            summed = {node: old[node] + new for node, new in stored.items()}
            every = d(model, tokens, summed, slip)
        found = at_end(tokens, every, slip)
    if slip("the change of the logits is returned, and not the logits themselves"):
        return found - values(model, tokens, [LOGITS])[LOGITS]
    if slip("the likeliest token is returned, and not the logits"):
        return found.argmax(-1)
    return found


def _each(model: Model, tokens: Tokens, stored: Values) -> Tensor:
    """The logits of a pass for each receiver alone, [receiver, batch, pos, vocab]."""
    return torch.stack(
        [passed(model, tokens, {node: new}, [ALL])[ALL] for node, new in stored.items()]
    )
