"""Checks of chapter 1: sums, and five treatments of a toy."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from exercises.checks.cases import Case, Wrong, checks, with_keys
from pathpatch import Prompts, make_prompts, run, toy
from pathpatch.handmade.designs import HandMade
from pathpatch.handmade.toys import X_NEW, X_ORIG
from pathpatch.nodes import Node, heads, mlps

Numbers = dict[str, int]


@checks
def by_hand() -> Iterator[Case]:
    orig, new = {"p": 4, "q": -1, "h": 2}, {"p": 7, "q": 3, "h": 5}
    b, a = sum(orig.values()), sum(new.values())
    right = {"pass B": b, "pass C": b - orig["h"] + new["h"], "overwrite R": a}
    yield Case(
        "by_hand()",
        lambda f: _whole(f(), right),
        right,
        {
            "in pass C all three terms come from x_new: only h may": right | {"pass C": a},
            "pass C adds the new h and keeps the old one too": right | {"pass C": b + new["h"]},
            "in pass C h keeps its old value, and p and q are new": right
            | {"pass C": a - new["h"] + orig["h"]},
            "x_orig and x_new have changed places": {
                "pass B": a,
                "pass C": a - new["h"] + orig["h"],
                "overwrite R": b,
            },
            "R is overwritten with what pass C found, and not with its value on x_new": right
            | {"overwrite R": right["pass C"]},
            "the minus of q = -1 is lost": {
                "pass B": b + 2,
                "pass C": right["pass C"] + 2,
                "overwrite R": a,
            },
        },
        "Add up three numbers for each line. Which of the three are from x_new?",
    )


@cache
def _numbers(name: str) -> tuple[HandMade, Prompts]:
    """A toy, with eight pairs of prompts of other numbers than in the text."""
    made = toy(name)
    rows = torch.randint(-2, 3, (9, 3), generator=torch.Generator().manual_seed(1)).tolist()
    pair = made.prompts["x_new"].pairs[0]
    pairs = [
        replace(
            pair,
            clean=f"given {' '.join(map(str, one))} =",
            corrupt=f"given {' '.join(map(str, other))} =",
        )
        for one, other in pairwise(rows)
        if one != other
    ]
    return made, make_prompts(made.model.tokenizer, pairs)


@checks
def r_in_pass_c() -> Iterator[Case]:
    for name, receiver in (("sum", "1.0.v@END"), ("head", "2.0.v@END"), ("mlp", "1.0.v@END")):
        made, prompts = _numbers(name)
        model, h, r = made.model, Node.parse("0.2@END"), Node.parse(receiver)
        reads = [*heads(model), *mlps(model), h, r]
        b, a = (run(model, x, reads=reads) for x in (prompts.orig, prompts.new))

        def with_writes(
            writes: dict[Node, Tensor], orig: bool = True, m=model, p=prompts, node=r
        ) -> Tensor:
            tokens = p.orig if orig else p.new
            return run(m, tokens, reads=[node], writes=writes)[node].sum(-1)

        frozen = {node: b[node] for node in heads(model)}
        more = {node: b[node] for node in mlps(model)}
        yield Case(
            f"r_in_pass_c(toy({name!r}).model, prompts, '0.2@END', {receiver!r})",
            lambda f, m=model, p=prompts, node=receiver: f(m, p, "0.2@END", node),
            with_writes(frozen | {h: a[h]}),
            {
                "no head is frozen, so that p follows h": with_writes({h: a[h]}),
                "R is as in pass B: the freeze comes after the patch and undoes it, or h is not "
                "taken from x_new": b[r].sum(-1),
                "the MLPs are frozen too: they belong to the direct path": with_writes(
                    frozen | more | {h: a[h]}
                ),
                "R is read in pass A, where a and q differ too": a[r].sum(-1),
                "the two prompts have changed places": with_writes(
                    {n: a[n] for n in heads(model)} | {h: b[h]}, orig=False
                ),
                "h is read, and not R": a[h].sum(-1),
            },
            "Pass C is one run on x_orig, that writes all heads and reads R. Sum its last axis.",
            (model, prompts),
        )


@checks
def five() -> Iterator[Case]:
    for orig, new in ((X_ORIG, X_NEW), ({"a": 5, "q": -3, "h": 1}, {"a": 2, "q": 4, "h": -6})):
        right = _treated(orig, new)
        yield Case(
            f"five({orig}, {new})",
            lambda f, o=orig, n=new, right=right: _whole(f(dict(o), dict(n)), right),
            right,
            _wrong_five(orig, new, right),
            "Work the first line with a pencil: p, then R, then y.",
        )


FROZEN, RECOMPUTED = "path patch, p frozen", "path patch, p recomputed"
PATCHED, OVERWRITTEN = "activation patch h", "overwrite R"


def _treated(orig: Numbers, new: Numbers, times: int = 10, plus: int = 1) -> Numbers:
    """y = times * R + plus * h after each of the five."""
    (a, q, h), h_new = (orig[name] for name in "aqh"), new["h"]
    r = {
        "nothing": a + h + q + h,
        FROZEN: a + h + q + h_new,
        RECOMPUTED: a + h_new + q + h_new,
        PATCHED: a + h_new + q + h_new,
        OVERWRITTEN: new["a"] + h_new + new["q"] + h_new,
    }
    return {name: times * r[name] + plus * (h_new if name == PATCHED else h) for name in r}


def _wrong_five(orig: Numbers, new: Numbers, right: Numbers) -> dict[str, Numbers]:
    late = new["h"] - orig["h"]  # what the last h of y = 10 R + h adds, if it is the new one
    paths = {name: right[name] + late for name in (FROZEN, RECOMPUTED)}
    p_new = 10 * (new["a"] + new["h"] + orig["q"] + new["h"]) + orig["h"]
    changed: dict[str, Numbers] = {
        "h is patched again in pass D: there it is as on x_orig": paths,
        "p follows h although it is frozen": {FROZEN: right[RECOMPUTED]},
        "p is frozen although it is an MLP": {RECOMPUTED: right[FROZEN]},
        "p stays as it was when h is patched; after an activation patch all is computed anew": {
            PATCHED: right[FROZEN] + late
        },
        "the last step of the activation patch still uses the old h": {PATCHED: right[RECOMPUTED]},
        "R is overwritten and h as well": {OVERWRITTEN: right[OVERWRITTEN] + late},
        "R is overwritten with what pass C found": {OVERWRITTEN: right[FROZEN]},
        "p is taken from x_new in the path patch": {FROZEN: p_new},
        "x_orig and x_new have changed places": _treated(new, orig),
        "R itself is returned, and not y = 10 R + h": _treated(orig, new, times=1, plus=0),
        "the last h is left out: y = 10 R + h": _treated(orig, new, plus=0),
        "the numbers are those of the text, and not those that are given": _treated(X_ORIG, X_NEW),
    }
    return {words: right | some for words, some in changed.items()}


def _whole(found: Any, right: Numbers) -> dict[str, float]:
    """The answer as whole numbers under the keys that are asked for."""
    found = with_keys(found, right)
    try:
        numbers = {key: float(found[key]) for key in right}
    except (TypeError, ValueError) as error:
        raise Wrong(f"came back {found}, which has something that is no number") from error
    return {key: int(x) if x == int(x) else x for key, x in numbers.items()}  # 13.0 is 13
