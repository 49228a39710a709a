"""Checks of chapter 5: pass C (5.2), pass D (5.3), both alone (5.4), and repaired (5.5)."""

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from exercises.checks.cases import Case, Wrong, checks, describe
from exercises.checks.truth import Question, question, questions
from pathpatch import LOGITS, Node, run
from pathpatch.nodes import heads, mlps

FREEZE_FIRST = "One call of `run` on x_orig, with writes that freeze first and patch second."
BY_HOOKS = (  # model, sender (layer, head), receiver, position
    ("gpt2", (0, 2), (2, 1, "k"), "S2"),
    ("gpt2", (0, 1), (2, 3, "q"), "END"),
    ("llama", (0, 4), (2, 1, "v"), "S2"),
    ("llama", (1, 3), (2, 5, "q"), "END"),
)


def _names(nodes: list[Node]) -> list[str]:
    return [str(node) for node in nodes]


def _by_name(found: Any) -> Any:
    """A dict of nodes, whether its keys are nodes or names."""
    return {str(Node.parse(str(k))): v for k, v in found.items()} if _is_run(found) else found


def _is_run(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(k, Node | str) for k in found)


def _pass_c_case(q: Question, frozen: list[Node], words: str, right: Any, wrong: Any) -> Case:
    def call(f: Callable[..., Any]) -> Any:
        asked = list(q.senders), list(q.receivers), list(frozen)
        return _by_name(f(q.model, q.prompts.orig, copy(q.b), copy(q.a), *asked))

    return Case(
        f"pass_c(tiny_model({q.kind!r}), x_orig, b, a, {_names(q.senders)}, "
        f"{_names(q.receivers)}, {words})",
        call,
        _by_name(right),
        lambda: {mistake: _by_name(stored) for mistake, stored in wrong().items()},
        FREEZE_FIRST,
        q.given,
    )


@checks
def pass_c() -> Iterator[Case]:
    for q in questions():
        yield _pass_c_case(q, heads(q.model), "heads(model)", q.stored, lambda q=q: q.wrong_stored)
    q = question("gpt2", ("0.mlp_out@END", "0.1@END"), ("2.0.q@END",))
    frozen = [*heads(q.model), *mlps(q.model)]
    right = q.c({node: q.b[node] for node in frozen}, q.patch)
    ignored = {"the heads are frozen, whatever the last argument says": q.stored}
    words = "heads(model) + mlps(model)"
    yield _pass_c_case(q, frozen, words, right, lambda: q.wrong_stored | ignored)


@checks
def pass_d() -> Iterator[Case]:
    for q in questions():
        yield Case(
            f"pass_d(tiny_model({q.kind!r}), x_orig, stored), stored with {_names(q.receivers)}",
            lambda f, q=q: f(q.model, q.prompts.orig, dict(q.stored)),
            q.d(q.stored),
            lambda q=q: q.wrong_d | _all_positions(q),
            "One call of `run` on x_orig that writes what is stored and reads the logits.",
            q.given,
        )
    q = question("gpt2", ("1.2@END",), ("logits@END",))
    yield Case(
        "pass_d(tiny_model('gpt2'), x_orig, stored), stored with ['logits@END']",
        lambda f: f(q.model, q.prompts.orig, dict(q.stored)),
        q.stored[LOGITS].clone(),
        {"the logits that C stored are not used: a run reads them before it writes": q.b[LOGITS]},
        "If the logits themselves are the receiver, there is nothing left to run.",
        q.given,
    )


def _all_positions(q: Question) -> dict[str, Tensor]:
    every = run(q.model, q.prompts.orig, reads=["logits"], writes=q.stored)["logits"]
    return {"the logits of all positions are returned, and not those at END": every}


def _by_hand_only(*_: Any) -> None:
    raise Wrong(
        "The function calls pathpatch (`run`, `path_patch` or the like), which does the passes for "
        "you.\n  This exercise is to do them with model.run_with_cache and model.run_with_hooks."
    )


@checks
def path_patch_by_hooks() -> Iterator[Case]:
    for kind, sender, receiver, at in BY_HOOKS:
        ends = ("{}.{}@".format(*sender) + at,), ("{}.{}.{}@".format(*receiver) + at,)
        q = question(kind, *ends)
        rows, end = torch.arange(len(q.prompts)), q.prompts.orig.at("END")

        def call(f, q=q, h=sender, r=receiver, at=at, rows=rows, end=end):
            ids, new = q.prompts.orig.ids, q.prompts.new.ids
            with patch("pathpatch.forward.attempt", _by_hand_only):
                logits = f(q.model, ids, new, h, r, q.prompts.orig.at(at))
            if not isinstance(logits, Tensor) or logits.shape[:2] != ids.shape:
                raise Wrong(
                    f"came back {describe(logits)}\n  expected  the logits of pass D at all "
                    f"positions, {[*ids.shape, q.model.cfg.d_vocab]}"
                )
            return logits[rows, end].detach()

        yield Case(
            f"path_patch_by_hooks(tiny_model({kind!r}), x_orig, x_new, {sender}, {receiver}, at), "
            f"at the positions of {at}; shown are the logits at END",
            call,
            q.d(q.stored),
            lambda q=q, at=at: q.wrong_logits | _wrong_positions(q, at),
            "Compare one pass at a time with `run`: A and B first.",
            q.given,
        )


def _wrong_positions(q: Question, at: str) -> dict[str, Tensor]:
    """The positions of other prompts; of the sender and the receiver alike."""
    index = q.prompts.orig.at(at)
    none = torch.zeros_like(q.prompts.orig.ids, dtype=torch.bool)
    first, union = none.clone(), none.clone()
    first[:, index[0]] = True
    union[:, index] = True
    return {
        "h is patched and R set at all positions, not only at their own": q.at_positions(~none),
        "the position of the first prompt is used for all prompts": q.at_positions(first),
        "every prompt is patched at the positions of all prompts: index with "
        "`[rows, at]`, not `[:, at]`": q.at_positions(union),
    }


@checks
def repaired() -> Iterator[Case]:
    for q in questions():

        def mistakes(q: Question = q) -> dict[str, Tensor]:
            as_given = {
                "the function is still as it was given": q.d(q.c(q.patch, q.frozen), q.patch)
            }
            return q.wrong_logits | _all_positions(q) | as_given

        yield Case(
            f"repaired(tiny_model({q.kind!r}), prompts, {_names(q.senders)}, "
            f"{_names(q.receivers)})",
            lambda f, q=q: f(q.model, q.prompts, list(q.senders), list(q.receivers)),
            q.d(q.stored),
            mistakes,
            "Say for each pass what is frozen, patched, recomputed and kept; then read the code.",
            q.given,
        )
