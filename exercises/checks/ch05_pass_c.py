"""The check of 5.2: pass C, for any senders, receivers and frozen nodes."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from exercises.checks.cases import Case, check
from exercises.checks.ch05_draws import COMMON, LABELS, Lab, labs, names
from exercises.checks.ch05_passes import Question
from exercises.checks.ch05_passes import pass_c as c
from exercises.checks.ch05_values import labelled, values
from pathpatch import LOGITS, Node, run
from pathpatch.nodes import heads, mlps

Asked = tuple[list[Node], list[Node], list[Node], str]  # senders, receivers, frozen, as one writes


def _one_path(lab: Lab) -> Asked:
    at = lab.random.choice(LABELS)
    frozen = heads(lab.model)
    return [lab.head(0, at)], [lab.door(lab.layers - 1, at)], frozen, "heads(model)"


def _several(lab: Lab) -> Asked:
    """Senders and receivers in several layers; some receivers are after all senders of theirs."""
    early, late = sorted(lab.random.sample(LABELS[:3], 2), key=LABELS.index)
    senders = [lab.head(0, early), lab.head(0, late), lab.head(lab.layers - 3, early)]
    receivers = [
        lab.door(lab.layers - 2, late),
        lab.door(lab.layers - 1, early),
        lab.door(lab.layers - 1, "END"),
    ]
    return senders, receivers, heads(lab.model), "heads(model)"


def _edges(lab: Lab) -> Asked:
    """MLPs are frozen, and one of them sends."""
    at = lab.random.choice(LABELS)
    senders = [Node("mlp_out", 0, at=at), lab.head(1, at)]
    frozen = [*heads(lab.model), *mlps(lab.model)]
    return senders, [lab.door(2, at)], frozen, "heads(model) + mlps(model)"


def _left_out(lab: Lab) -> Asked:
    """Some heads are not frozen, so that what is at one position gets to another."""
    early = lab.random.choice(LABELS[:3])
    free = {lab.head(layer, None) for layer in range(lab.layers) for _ in range(2)}
    frozen = [node for node in heads(lab.model) if node not in free]
    receivers = [lab.door(lab.layers - 1, "END", "q"), Node("resid_post", lab.layers - 1, at="END")]
    words = f"heads(model) without {names(sorted(free, key=str))}"
    return [Node("embed", at=early), lab.head(0, early)], receivers, frozen, words


def _other_kinds(lab: Lab) -> Asked:
    """Queries, patterns and sums are frozen, each at a position or at all; one of them receives."""
    at, place = lab.random.sample(LABELS, 2)
    top = lab.layers - 1
    frozen = [Node("attn_out", 2), Node("mlp_out", 1, at=at), lab.door(3, None, "k")]
    frozen += [replace(lab.head(3, None), kind="pattern"), Node("mlp_out", top - 1, at=place)]
    senders = [lab.head(1, at), Node("mlp_out", 0, at=place)]
    receivers = [lab.door(top, at), lab.door(top, "END", "q"), frozen[2]]
    return senders, receivers, frozen, names(frozen)


def _nothing(lab: Lab) -> Asked:
    early, late = lab.random.randrange(1, 5), lab.random.randrange(5, COMMON)
    senders = [lab.head(0, early), Node("mlp_out", 1, at=late)]
    return senders, [lab.door(2, late), LOGITS], [], "[]"


def _at_a_position(lab: Lab) -> Asked:
    """The heads are frozen at END alone; one of them sends, and what else sends does so before."""
    at, place = lab.random.choice(LABELS[:3]), lab.place()
    receivers = [lab.door(lab.layers - 1, "END"), lab.door(lab.layers - 2, place)]
    senders = [lab.head(0, at), lab.head(1, at), lab.head(0, "END")]
    return senders, receivers, heads(lab.model, "END"), 'heads(model, "END")'


def _everywhere(lab: Lab) -> Asked:
    """A receiver without a position, beside one that has one."""
    senders = [lab.head(0, lab.place()), lab.head(1, lab.place())]
    receivers = [lab.door(2, None), lab.door(1, "END", "kv")]
    return senders, receivers, heads(lab.model), "heads(model)"


def _drawn(random: Random) -> Iterator[Case]:
    for first, second, deep, low in labs(random):
        yield _case(first, *_one_path(first))
        yield _case(second, *_edges(second))
        yield _case(low, *_left_out(low))
        yield _case(first, *_nothing(first))
        yield _case(second, *_everywhere(second))
        for ask in (_several, _other_kinds, _at_a_position):
            yield _case(deep, *ask(deep))


def _case(
    lab: Lab, senders: list[Node], receivers: list[Node], frozen: list[Node], words: str
) -> Case:
    """A and B have read more than the question needs, so that an answer has to choose."""
    model, prompts = lab.model, lab.prompts
    ends = [*(n.everywhere() for n in senders), *(n for n in receivers if n != LOGITS)]
    every = [*frozen, *heads(model), *mlps(model), Node("resid_post", 0, at=senders[0].at), *ends]
    b, a = (run(model, tokens, reads=every) for tokens in (prompts.orig, prompts.new))
    shown = f"pass_c({lab.shown}, x_orig, b, a, {names(senders)}, {names(receivers)}, {words})"
    return Case(shown, (model, prompts.orig, b, a, senders, receivers, frozen))


@check(
    _drawn,
    8,
    advice="One call of `run` on x_orig, with writes that freeze first and patch second.",
)
def pass_c(model, tokens, b, a, senders, receivers, frozen, *, slip):
    q = Question(model, labelled(tokens), labelled(a.tokens), senders, receivers, frozen)
    if slip("x_orig and x_new have changed places"):
        q = q.swapped
    if slip("all heads are frozen, whatever `frozen` says"):
        q = replace(q, frozen=heads(model))
    if slip("of the frozen nodes only the heads are frozen"):
        q = replace(q, frozen=[node for node in frozen if node.kind == "z"])
    if slip("only whole heads are frozen: no other nodes of `frozen`, and no head at one position"):
        q = replace(q, frozen=[node for node in heads(model) if node in frozen])
    if slip("what is frozen is frozen at all positions, and not where `frozen` says"):
        q = replace(q, frozen=[node.everywhere() for node in frozen])
    if slip("all that b has read is frozen, and not only `frozen`"):
        q = replace(q, frozen=[*b])
    if slip("all that a has read is patched in, and not only the senders"):
        q = replace(q, senders=[*a])
    reads = list(receivers)
    if slip("the receivers are read at all positions, and not at their own"):
        reads = [node.everywhere() for node in reads]
    if slip("the receivers are read at END, and not at their own positions"):
        reads = [node if node.at is None else replace(node, at="END") for node in reads]
    in_c = c(q, slip, reads)
    found = {node: in_c[read] for node, read in zip(receivers, reads, strict=True)}
    if slip("a receiver that is frozen is returned as it was frozen, and not as it would be"):
        found |= {node: b[node] for node in receivers if node in frozen}
    if slip("the change of R is returned, and not R itself"):
        old = values(model, tokens, found)
        found = {node: new - old[node] for node, new in found.items()}
    if slip("only the first of the receivers is returned"):
        found = dict([*found.items()][:1])
    if slip("only the last of the receivers is returned"):
        found = dict([*found.items()][-1:])
    if slip("the receivers have changed places with one another"):
        found = dict(zip(found, reversed(found.values()), strict=True))
    return found
