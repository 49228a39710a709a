"""Checks of chapter 5: predict the sign (5.1), and both directions of an activation patch (5.6)."""

from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from exercises.checks.cases import Case, Wrong, checks, with_keys
from exercises.checks.labs import lab, machine
from pathpatch import (
    LOGITS,
    Prompts,
    activation_patch,
    logit_diff,
    path_sweep,
    run,
    toy,
)
from pathpatch.nodes import Model

Ways = dict[str, Tensor]
OR_BOTH = ["0.0@END", "0.1@END"]
PATHS = {
    "negative: 2.2 to the logits": ("negative", "2.2@END", ["logits@END"]),
    "negative: 1.0 to the queries of 2.0 and 2.1": (
        "negative",
        "1.0@END",
        ["2.0.q@END", "2.1.q@END"],
    ),
    "negative: 1.0 to the query of 2.2": ("negative", "1.0@END", ["2.2.q@END"]),
    "negative: 1.0 to the logits": ("negative", "1.0@END", ["logits@END"]),
    "backup: 2.0 and 2.1 to the query of 3.0": ("backup", "2.0@END+2.1@END", ["3.0.q@END"]),
    "keys: 0.0 to the value of 1.0": ("keys", "0.0@S2", ["1.0.v@S2"]),
}
WHY = {
    "negative: 2.2 to the logits": "2.2 writes *against* the name it looks at. What is missing "
    "when it no longer looks at IO?",
    "negative: 1.0 to the queries of 2.0 and 2.1": "Without this signal the movers look at both "
    "names. Does the answer gain or lose?",
    "negative: 1.0 to the query of 2.2": "2.2 then looks at both names, and writes against both.",
    "negative: 1.0 to the logits": "Which subspace does 1.0 write, and do the logits read it?",
    "backup: 2.0 and 2.1 to the query of 3.0": "3.0 finds that the movers no longer say IO. What "
    "does it do then, while the movers themselves are as before?",
    "keys: 0.0 to the value of 1.0": "In `keys`, 1.0 finds S2 by a mark and copies the name that "
    "stands there. Which of its inputs is the mark for?",
}


@cache
def _true_signs() -> dict[str, str]:
    found = {}
    for name, (variant, senders, receivers) in PATHS.items():
        made = machine(variant)
        effects = path_sweep(
            made.model, made.prompts["abc"][::7], senders=[senders], receivers=receivers
        )
        change = effects.mean()[0]
        found[name] = "0" if abs(change) < 1e-9 else "-+"[int(change > 0)]
    return found


@checks
def signs() -> Iterator[Case]:
    def answer(function: Callable[[], object]) -> dict[str, str]:
        found = with_keys(function(), PATHS)
        if all(sign == "?" for sign in found.values()):
            raise NotImplementedError("5.1 is not written yet")
        odd = {k: v for k, v in found.items() if v not in ("+", "-", "0")}
        if odd:
            raise Wrong(f'came back {odd}\n  expected  "+", "-" or "0" for each')
        wrong = [name for name, right in _true_signs().items() if found[name] != right]
        if wrong:
            lines = [f"{len(PATHS) - len(wrong)} of {len(PATHS)} are as the runs say. Not so:"]
            lines += [f"    {name}: not {found[name]!r}. {WHY[name]}" for name in wrong]
            raise Wrong("\n".join(lines))
        return {}

    yield Case("signs()", answer, {})


@checks
def both_directions() -> Iterator[Case]:
    gates = {name: toy(name) for name in ("and", "or")}
    plain = machine("token")
    labs = [  # the random model first: on the others, mistakes can give the same whole numbers
        ("tiny_model('llama')", *lab("llama"), ["1.2@END"]),
        ("toy('and').model", gates["and"].model, gates["and"].prompts["noising"], ["0.0@END"]),
        ("toy('or').model", gates["or"].model, gates["or"].prompts["noising"], ["0.0@END"]),
        ("toy('or').model", gates["or"].model, gates["or"].prompts["noising"], OR_BOTH),
        ("ioi_machine().model", plain.model, plain.prompts["abc"][::28], ["2.0@END"]),
    ]
    for name, model, prompts, nodes in labs:
        before, patched = _both(model, prompts, nodes)
        right = {way: patched[way] - before[way] for way in before}
        yield Case(
            f"both_directions({name}, prompts, {nodes})",
            lambda f, m=model, p=prompts, n=nodes: f(m, p, list(n)),
            right,
            _wrong_directions(right, before, patched),
            "Two activation patches. In each: which prompt is run, and where are the values from?",
            (model, prompts),
        )


def _both(model: Model, prompts: Prompts, nodes: list[str]) -> tuple[Ways, Ways]:
    """The logit difference before and after a patch, in both directions."""
    before, patched = {}, {}
    for way, x in (("noising", prompts), ("denoising", prompts.swapped())):
        b = run(model, x.orig, reads=[LOGITS])
        before[way] = logit_diff(b[LOGITS], prompts)
        patched[way] = logit_diff(activation_patch(model, x, nodes=nodes), prompts)
    return before, patched


def _wrong_directions(right: Ways, before: Ways, patched: Ways) -> dict[str, Ways]:
    noising, denoising = right["noising"], right["denoising"]
    gap = before["noising"] - before["denoising"]
    return {
        "both numbers are of the same direction": right | {"denoising": noising},
        "the two directions have changed places": {"noising": denoising, "denoising": noising},
        "both are compared with the run on the clean prompt: in denoising the corrupt one is "
        "run": right | {"denoising": patched["denoising"] - before["noising"]},
        "denoising is taken to be noising with the sign turned round": right
        | {"denoising": -noising},
        "the sign is turned round: a change is patched minus before": _each(right, lambda x: -x),
        "the metric itself is returned, and not its change": patched,
        "the values come from the prompt that is run, so that nothing changes": _each(
            right, torch.zeros_like
        ),
        "the mean over prompts is taken too early: one number for each prompt is wanted": _each(
            right, torch.mean
        ),
        "answer and foil are exchanged in denoising: the metric stays the same": right
        | {"denoising": -denoising},
        "the change is divided by the gap between the two prompts: logits are asked for": _each(
            right, lambda x: x / gap
        ),
    }


def _each(ways: Ways, function: Callable[[Tensor], Tensor]) -> Ways:
    return {way: function(x) for way, x in ways.items()}
