"""Checks of chapter 1: sums, and five treatments of a toy."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from exercises.checks.cases import Case, check
from exercises.room.inputs import hand_made
from pathpatch import Prompts, make_prompts, run
from pathpatch.handmade.toys import X_NEW, X_ORIG
from pathpatch.nodes import Model, Node, heads, mlps

# ---- 1.1 one term of a sum ----


def _alone(random: Random) -> Iterator[Case]:
    yield Case("by_hand()")


@check(_alone, 1, advice="Add up three numbers for each line. Which of the three are from x_new?")
def by_hand(*, slip):
    orig, new = {"p": 4, "q": -1, "h": 2}, {"p": 10, "q": 3, "h": 5}
    if slip("x_orig and x_new have changed places"):
        orig, new = new, orig
    if slip("the minus of q = -1 is lost"):
        orig["q"] = abs(orig["q"])
    if slip("the 4 of p stands for p on both prompts"):
        new["p"] = orig["p"]
    c = orig | {"h": new["h"]}
    if slip("in pass C all three terms come from x_new: only h may"):
        c = dict(new)
    if slip("in pass C h keeps its old value, and p and q are new"):
        c = new | {"h": orig["h"]}
    if slip("in pass C p comes from x_new as well: only h may"):
        c["p"] = new["p"]
    if slip("in pass C q comes from x_new as well: only h may"):
        c["q"] = new["q"]
    if slip("p is taken for the sender, and it is h"):
        c = orig | {"p": new["p"]}
    if slip("q is taken for the sender, and it is h"):
        c = orig | {"q": new["q"]}
    if slip("in pass C nothing comes from x_new"):
        c = dict(orig)
    found = {"pass B": sum(orig.values()), "pass C": sum(c.values())}
    if slip("pass C adds the new h and keeps the old one too"):
        found["pass C"] += orig["h"]
    if slip("pass C leaves h out"):
        found["pass C"] -= c["h"]
    if slip("pass C is the change, and not R itself"):
        found["pass C"] -= found["pass B"]
    found["overwrite R"] = sum(new.values())
    if slip("R is overwritten with what pass C found, and not with its value on x_new"):
        found["overwrite R"] = found["pass C"]
    if slip("R is overwritten with its value on x_orig"):
        found["overwrite R"] = found["pass B"]
    if slip("overwriting is taken for adding up both prompts"):
        found["overwrite R"] += found["pass B"]
    if slip("only h is returned, and not the sum R"):
        found = {"pass B": orig["h"], "pass C": new["h"], "overwrite R": new["h"]}
    if slip("pass B and pass C have changed places"):
        found["pass B"], found["pass C"] = found["pass C"], found["pass B"]
    if slip("pass C and overwriting have changed places"):
        found["overwrite R"], found["pass C"] = found["pass C"], found["overwrite R"]
    return found


# ---- 1.2 the same by code ----

TOYS = {"sum": "1.0.v@END", "head": "2.0.v@END", "mlp": "1.0.v@END"}


def _drawn_toys(random: Random) -> Iterator[Case]:
    while True:
        for name, receiver in TOYS.items():
            made = hand_made("toy", name)
            prompts = _numbers(made.model, name, random)
            # any head of layer 0 may send: each toy has three
            for sender in random.sample(SENDERS, 2):
                shown = f"toy({name!r}).model, prompts, {sender!r}, {receiver!r}"
                yield Case(f"r_in_pass_c({shown})", (made.model, prompts, sender, receiver))


SENDERS = ["0.0@END", "0.1@END", "0.2@END"]


def _numbers(model: Model, name: str, random: Random) -> Prompts:
    """Pairs of prompts of a toy with other numbers than in the text, all three of them changed."""
    pair = hand_made("toy", name).prompts["x_new"].pairs[0]
    rows = []
    for _ in range(random.randint(2, 5)):
        both = [random.sample(range(-2, 3), 2) for _ in range(3)]
        one, other = (" ".join(str(n) for n in side) for side in zip(*both, strict=True))
        rows.append(replace(pair, clean=f"given {one} =", corrupt=f"given {other} ="))
    return make_prompts(model.tokenizer, rows)


@check(
    _drawn_toys,
    6,
    advice="Pass C is one run on x_orig, that writes all heads and reads R. Sum its last axis.",
)
def r_in_pass_c(model, prompts, sender, receiver, *, slip):
    h, r, every = Node.parse(sender), Node.parse(receiver), heads(model)
    orig, new = prompts.orig, prompts.new
    in_pass_a = slip("R is read in pass A, where everything is new")
    if slip("x_orig and x_new have changed places"):
        orig, new = new, orig
    if slip("the sender is 0.2, whatever is asked for"):
        h = Node.parse("0.2@END")
    if slip("the receiver is 1.0, whatever is asked for"):
        r = Node.parse("1.0.v@END")
    if slip("the query of the receiver is read, and not its value"):
        r = replace(r, kind="q")
    if slip("the key of the receiver is read, and not its value"):
        r = replace(r, kind="k")
    if slip("the MLPs are frozen too: they belong to the direct path"):
        every = [*every, *mlps(model)]
    b = run(model, orig, reads=[*every, r, h])
    a = run(model, new, reads=[*every, r, h])
    freeze, patch = {n: b[n] for n in every}, {h: a[h]}
    if slip("no head is frozen, so that heads between h and R follow h"):
        freeze = {}
    if slip("the heads are frozen to their values on x_new"):
        freeze = {n: a[n] for n in every}
    if slip("only the heads of the sender's layer are frozen"):
        freeze = {n: value for n, value in freeze.items() if n.layer == h.layer}
    if slip("the sender is not patched, or the freeze comes after the patch and undoes it"):
        patch = {}
    if slip("every head is patched, and not the sender alone"):
        patch = {n: a[n] for n in every}
    if slip("the sender gets its value from x_orig with the sign turned round"):
        patch = {h: -b[h]}
    if slip("the new and the old value of the sender are added up"):
        patch = {h: a[h] + b[h]}
    if slip("the change of the sender is patched in, and not its new value"):
        patch = {h: a[h] - b[h]}
    tokens = new if slip("pass C is run on x_new") else orig
    c = run(model, tokens, reads=[r], writes=freeze | patch)[r]
    if in_pass_a:
        c = a[r]
    if slip("h is read, and not R"):
        c = patch.get(h, b[h])
    if slip("the change of R is returned, and not R itself"):
        c = c - b[r]
    if slip("the vector is not summed: one number for each prompt is wanted"):
        return c
    if slip("the sum is taken over everything, and not over the last axis"):
        return c.sum()
    if slip("the sum is taken over the prompts, and not over the last axis"):
        return c.sum(0)
    if slip("the first entry is taken, and not the sum over the last axis"):
        return c[:, 0]
    if slip("the mean is taken, and not the sum over the last axis"):
        return c.mean(-1)
    if slip("the largest entry is taken, and not the sum over the last axis"):
        return c.max(-1).values
    if slip("the sign is lost, by a norm or a square root"):
        return c.norm(dim=-1)
    return c.sum(-1)


# ---- 1.3 five treatments ----

FROZEN, RECOMPUTED = "path patch, p frozen", "path patch, p recomputed"
PATCHED, OVERWRITTEN = "activation patch h", "overwrite R"


def _drawn_numbers(random: Random) -> Iterator[Case]:
    yield Case(f"five({X_ORIG}, {X_NEW})", (dict(X_ORIG), dict(X_NEW)))
    while True:
        both = [random.sample(range(-9, 10), 2) for _ in "aqh"]
        orig, new = (dict(zip("aqh", side, strict=True)) for side in zip(*both, strict=True))
        yield Case(f"five({orig}, {new})", (orig, new))


@check(_drawn_numbers, 6, advice="Work the first line with a pencil: p, then R, then y.")
def five(orig, new, *, slip):
    if slip("the numbers are those of the text, and not those that are given"):
        orig, new = X_ORIG, X_NEW
    if slip("x_orig and x_new have changed places"):
        orig, new = new, orig
    (a, q, h), (a_new, q_new, h_new) = ([x[name] for name in "aqh"] for x in (orig, new))
    p, p_follows = a + h, a + h_new
    if slip("p is a alone: p = a + h"):
        p = p_follows = a
    r = {
        "nothing": p + q + h,
        FROZEN: p + q + h_new,
        RECOMPUTED: p_follows + q + h_new,
        PATCHED: p_follows + q + h_new,
        OVERWRITTEN: a_new + h_new + q_new + h_new,
    }
    last = dict.fromkeys(r, h) | {PATCHED: h_new}
    if slip("p is left out of R = p + q + h"):
        r = {name: value - p for name, value in r.items()}
    if slip("q is left out of R = p + q + h"):
        r = {name: value - q for name, value in r.items()}
    if slip("p follows h although it is frozen"):
        r[FROZEN] = r[RECOMPUTED]
    if slip("p is frozen although it is an MLP"):
        r[RECOMPUTED] = p + q + h_new
    if slip("p stays as it was when h is patched; there everything is computed anew"):
        r[PATCHED] = p + q + h_new
    if slip("R stays as it was when h is patched; there everything is computed anew"):
        r[PATCHED] = p + q + h
    if slip("p is taken from x_new in the path patch"):
        r[FROZEN] = a_new + h_new + q + h_new
    if slip("p is taken from x_new when it is recomputed; only its h is new"):
        r[RECOMPUTED] = a_new + h_new + q + h_new
    if slip("q is taken from x_new in the path patch"):
        r[FROZEN], r[RECOMPUTED] = (r[name] - q + q_new for name in (FROZEN, RECOMPUTED))
    if slip("the path patch changes p and keeps the h that R reads itself"):
        r[RECOMPUTED] = p_follows + q + h
    if slip("everything is taken from x_new when h is patched; only h is"):
        r[PATCHED] = r[OVERWRITTEN]
    if slip("R is overwritten with what pass C found"):
        r[OVERWRITTEN] = r[FROZEN]
    if slip("R on x_new is p + q + h with p from x_orig"):
        r[OVERWRITTEN] = p + q_new + h_new
    if slip("h is patched again in pass D: there it is as on x_orig"):
        last |= dict.fromkeys((FROZEN, RECOMPUTED), h_new)
    if slip("the last step of the activation patch still uses the old h"):
        last[PATCHED] = h
    if slip("R is overwritten and h as well"):
        last[OVERWRITTEN] = h_new
    if slip("the last h is left out: y = 10 R + h"):
        last = dict.fromkeys(r, 0)
    if slip("the last h is taken from x_new everywhere"):
        last = dict.fromkeys(r, h_new)
    if slip("R itself is returned, and not y = 10 R + h"):
        return r
    if slip("the 10 is left out: y = 10 R + h"):
        return {name: r[name] + last[name] for name in r}
    if slip("10 is multiplied with the last h too: y = 10 R + h"):
        return {name: 10 * (r[name] + last[name]) for name in r}
    found = {name: 10 * r[name] + last[name] for name in r}
    if slip("the change is returned, and not y itself"):
        return {name: value - found["nothing"] for name, value in found.items()}
    if slip("the two path patches have changed places"):
        found[FROZEN], found[RECOMPUTED] = found[RECOMPUTED], found[FROZEN]
    return found
