"""The check of 5.5: a path patcher that is to be repaired."""

from collections.abc import Iterator
from random import Random

from exercises.checks.cases import Case, check
from exercises.checks.ch05_draws import COMMON, LABELS, Lab, labs, names
from exercises.checks.ch05_last_pass import at_end, c_and_d, without
from exercises.checks.ch05_passes import Question
from exercises.checks.ch05_values import labelled
from pathpatch import Node
from pathpatch.nodes import heads


def _drawn(random: Random) -> Iterator[Case]:
    for first, second, deep, low in labs(random):
        early, late = random.sample(LABELS, 2)
        yield _case(first, [first.head(0, early)], [first.seen(2, early)])
        senders = [second.head(0, early), Node("mlp_out", 0, at=late), second.head(1, late)]
        yield _case(
            second, senders, [second.seen(2, early), second.seen(2, late), second.seen(1, late)]
        )
        place = random.randrange(1, COMMON)
        senders = [low.head(0, "END"), low.head(0, place)]
        yield _case(low, senders, [low.seen(1, place), low.door(1, "END", "q")])
        senders = [Node("embed", at=late), first.head(1, "END")]
        yield _case(first, senders, [Node("resid_post", 1, at="END"), first.door(2, late, "kv")])
        yield _case(deep, *_long(deep))
        receivers = [second.seen(2, None), second.seen(1, "S2")]
        yield _case(second, [second.head(0, second.place())], receivers)
        yield _case(deep, *_long(deep))


def _long(lab: Lab) -> tuple[list[Node], list[Node]]:
    """Ends in several layers and positions; a sender above a receiver, which reacts to it in D."""
    early, late = lab.random.sample(LABELS[:3], 2)
    top, between = lab.layers - 1, lab.layers - 3
    senders = [lab.head(0, early), lab.head(0, late), lab.head(between, early)]
    receivers = [lab.seen(top, early), lab.seen(1, early), lab.seen(top, "END")]
    return lab.random.sample(senders, 3), receivers


def _case(lab: Lab, senders: list[Node], receivers: list[Node]) -> Case:
    shown = f"repaired({lab.shown}, prompts, {names(senders)}, {names(receivers)})"
    return Case(shown, (lab.model, lab.prompts, senders, receivers))


@check(
    _drawn,
    7,
    advice="Say for each pass what is frozen, patched, recomputed and kept; then read the code.",
)
def repaired(model, prompts, senders, receivers, *, slip):
    orig, new = labelled(prompts.orig), labelled(prompts.new)
    q = Question(model, orig, new, senders, receivers, heads(model))
    if slip("the function is still as it was given"):
        both = ("the freeze comes after the patch", "h is patched again in pass D")
        return at_end(orig, c_and_d(q, lambda words: words.startswith(both) or slip(words)), slip)
    if slip("x_orig and x_new have changed places"):
        q = q.swapped
    some = without(
        slip,
        "R is as in pass B",  # gives the same as not to write R
        "R is written",  # `writes=c` writes what is stored where it is stored
        "the stored values",
        # nothing in the code that is given invites these
        "only the first three layers",
        "every prompt",
        "every frozen node",
        "the new value of the sender is added",
        "the sender is set to zero",
        "the first position",
        "the mean over all positions",
        "the query of R",
    )
    return at_end(orig, c_and_d(q, some), some)
