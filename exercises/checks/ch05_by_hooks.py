"""The check of 5.4: path patching of one head to one input of another, by hooks alone."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from unittest import mock

import torch
from torch import Tensor

from exercises.checks.cases import Case, check
from exercises.checks.ch05_draws import LABELS, Lab, labs
from exercises.checks.ch05_last_pass import ALL, c_and_d, pass_d, without
from exercises.checks.ch05_passes import LATE, Question, Slip, freeze, patch
from exercises.checks.ch05_values import labelled, of, passed, values
from exercises.checks.rules import RULES, TIDIED
from pathpatch import Node, Tokens, run
from pathpatch.forward import all_modules, foreign_hooks
from pathpatch.nodes import heads

NOTHING = (
    "nothing changes against pass B. Either C stores the old R: h is not patched (hook.name may be "
    "another name of the same point), the freeze undoes the patch, R is read where nothing "
    "is patched, or it is kept as a view that changes later. Or D does not use what is stored: R "
    "is not written, or its head is frozen there"
)


def _drawn(random: Random) -> Iterator[Case]:
    for first, second, deep, low in labs(random):
        kinds = random.sample("qkv", 3)
        yield _case(first, 0, 2, kinds[0], _anywhere(first))
        yield _case(second, 0, 2, kinds[1], second.prompts.orig.at(random.choice(LABELS[:3])))
        yield _case(low, 0, low.layers - 1, kinds[2], _anywhere(low))
        yield _case(second, 1, 2, kinds[0], second.prompts.orig.at("END"))
        yield _case(first, 0, 1, kinds[1], _anywhere(first))
        yield _case(deep, 0, deep.layers - 1, kinds[2], _anywhere(deep))
        yield _case(deep, 2, deep.layers - 1, kinds[0], deep.prompts.orig.at(random.choice(LABELS)))


def _anywhere(lab: Lab) -> Tensor:
    """A position of its own in each prompt, and rarely the last."""
    ends = lab.prompts.orig.at("END").tolist()
    return torch.tensor([lab.random.randrange(1, end) for end in ends])


def _case(lab: Lab, low: int, high: int, kind: str, at: Tensor) -> Case:
    prompts, heads_in = lab.prompts, lab.model.cfg.n_heads
    sender = (low, lab.random.randrange(heads_in))
    receiver = (high, lab.random.randrange(1, heads_in), kind)
    shown = f"path_patch_by_hooks({lab.shown}, x_orig, x_new, {sender}, {receiver}, {at.tolist()})"
    args = (lab.model, prompts.orig.ids, prompts.new.ids, sender, receiver, at)
    return Case(f"{shown}, prompts with END at {prompts.orig.at('END').tolist()}", args)


@check(
    _drawn,
    7,
    advice="Compare one pass at a time with `run`: A and B first.",
    rule=RULES["path_patch_by_hooks"],
    tidy=TIDIED["path_patch_by_hooks"],
)
def path_patch_by_hooks(model, x_orig, x_new, sender, receiver, at, *, slip):
    places = {
        "END": (x_orig != 0).sum(1) - 1,
        "at": at,
        "last": torch.full_like(at, x_orig.shape[1] - 1),
    }
    orig, new = (labelled(Tokens(ids, places)) for ids in (x_orig, x_new))
    h, r = Node("z", *sender, at="at"), Node(receiver[2], *receiver[:2], at="at")
    if slip("the head of R is divided by the heads that share a key: hook_k and hook_v have all"):
        group = 1 if r.kind == "q" else model.cfg.query_heads_per_kv
        r = replace(r, head=receiver[1] // group)
    if slip("the head of the sender stands for that of R as well"):
        r = replace(r, head=h.head)
    if slip("key and value have changed places"):
        r = replace(r, kind={"q": "q", "k": "v", "v": "k"}[r.kind])
    q = Question(model, orig, new, [h], [r], heads(model))
    if slip("h is patched and R set at all positions, not only at their own"):
        q = replace(q, senders=[h.everywhere()], receivers=[r.everywhere()])
    if slip("the position of the first prompt is used for all prompts"):
        q = replace(q, senders=[of(h)], receivers=[of(r)])
    if slip(
        "every prompt is patched at the positions of all prompts: "
        "index with `[rows, at]`, not `[:, at]`"
    ):
        rows = range(len(at))
        q = replace(q, senders=[of(h, i) for i in rows], receivers=[of(r, i) for i in rows])
    if slip("the last position is used, and not `at`"):
        q = replace(q, senders=[replace(h, at="last")], receivers=[replace(r, at="last")])
    if slip("x_orig and x_new have changed places"):
        q = q.swapped
    some = without(
        slip,
        # h is a frozen head here, and R an input of one: these give what `nothing` does
        "the freeze comes after",
        "R is as in pass B",
        "R is not written",
        "all heads are frozen in pass D",
        "the senders are held",  # h is below R: it does not react
        # h and R are at one position, which nothing leaves while the heads are frozen: all right
        "R is stored and set at all positions",
        "the sender is patched at all positions",
        "each node is frozen only at the positions",
        # both have the position of `at`: see above
        "the sender is patched at",
        "R is written at",
        # nothing invites these
        "every frozen node gets",
        "every prompt gets",
        "the stored values",
        "the new value of the sender is added",
        "the sender is set to zero",
        "the MLPs are frozen in pass D",
    )
    logits = c_and_d(q, some)
    if slip("every layer is frozen to the values of the last one" + LATE):
        logits = _late(q, some)
    if slip(NOTHING):
        logits = values(model, orig, [ALL])[ALL]
    if slip("the scale of the norms is frozen in pass C: it belongs to the direct path"):
        logits = _scaled(q, some, lambda name: True)
    if slip("the scale of the norm before R is frozen in pass C: it belongs to the direct path"):
        logits = _scaled(q, some, lambda name: name == f"blocks.{r.layer}.ln1.hook_scale")
    if slip("only the logits at END are returned, and not those at all positions"):
        return logits[orig.index("END")]
    if slip("only the logits at the position of R are returned, and not those at all positions"):
        return logits[orig.index("at")]
    if slip("only the logits at the last position are returned, and not those at all positions"):
        return logits[:, -1]
    return logits


def _late(q: Question, slip: Slip) -> Tensor:
    """The logits when all layers are frozen to what the heads of the last one give."""
    top = q.model.cfg.n_layers - 1
    last = values(q.model, q.orig, heads(q.model))
    frozen = {node: last[replace(node, layer=top)] for node in freeze(q, slip)}
    stored = passed(q.model, q.orig, frozen | patch(q, slip), q.receivers)
    return pass_d(q.model, q.orig, stored, slip)


def _scaled(q: Question, slip: Slip, which: Callable[[str], bool]) -> Tensor:
    """The logits when the scales of some norms are frozen in pass C, which `run` cannot do."""
    model = q.model
    _, own = model.run_with_cache(q.orig.ids)
    points = [name for name in model.hook_dict if name.endswith("hook_scale") and which(name)]
    hold = [(name, lambda value, hook, name=name: own[name]) for name in points]
    with model.hooks(fwd_hooks=hold), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "numerics may differ": they shall
        known = foreign_hooks(all_modules(model))  # else `run` refuses to run beside them
        with mock.patch.object(model.cfg, "own_hooks", known):
            writes = freeze(q, slip) | patch(q, slip)
            stored = dict(run(model, q.orig, reads=q.receivers, writes=writes))
    return pass_d(model, q.orig, stored, slip)
