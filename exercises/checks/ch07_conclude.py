"""Check of 7.2: which statements follow from the direct effects of SmolLM2's heads?"""

import hashlib
from functools import cache
from typing import Any

import numpy as np

from exercises.checks.cases import UntouchedError, Wrong, examined, with_keys
from exercises.checks.compare import describe
from exercises.measured import ORDERS, direct_effects

QUESTIONS = {
    "a: 23.3 in both orders": "is the mean below zero in each order, and its interval with it?",
    "b: 23.2 in either order": "what is the sign of its mean in each order?",
    "c: 24.4 has none in ABBA": "how far does its interval in ABBA reach from zero?",
    "d: the answer needs 18.0": "how large is its effect beside the logit difference itself?",
    "e: nobody needs 17.4": "do these paths show what a head does through other heads?",
    "f: 23.3 is beyond 23.0": "are the intervals of the two apart, in each order?",
    "g: 23.0 and 23.3 add up": "how many heads were patched at a time?",
    "h: each has an effect": "if half of these heads did nothing, would more still pass than by "
    "chance?",
}


@cache
def truth() -> dict[str, bool]:
    """What the file says; e, g and h ask for what no file of single direct effects can say."""
    effects = {one: direct_effects(one) for one in ORDERS}

    def both(statement: Any) -> bool:
        return all(statement(one) for one in ORDERS)

    def low_high(head: str, one: str) -> tuple[float, float]:
        low, high = effects[one].interval()[_row(head)]
        return float(low), float(high)

    def share(head: str, one: str) -> float:
        """The largest effect that the interval allows, as a part of the logit difference."""
        return float(np.abs(low_high(head, one)).max() / effects[one].base.mean())

    def beyond(one: str) -> bool:
        return low_high("23.3", one)[1] < low_high("23.0", one)[0]

    return {
        "a: 23.3 in both orders": both(lambda one: low_high("23.3", one)[1] < 0),
        "b: 23.2 in either order": both(lambda one: low_high("23.2", one)[1] < 0),
        "c: 24.4 has none in ABBA": share("24.4", "ABBA") < 0.01,
        "d: the answer needs 18.0": share("18.0", "BABA") > 0.01,
        "e: nobody needs 17.4": False,
        "f: 23.3 is beyond 23.0": both(beyond),
        "g: 23.0 and 23.3 add up": False,
        "h: each has an effect": False,
    }


def _row(head: str) -> int:
    return direct_effects().names.index(f"{head}.z@END")


@examined
def may_conclude(found: Any) -> None:
    found = with_keys(found, QUESTIONS)
    said = {key: _word(key, answer) for key, answer in found.items()}
    open_ones = [key for key, word in said.items() if word == "?"]
    if len(open_ones) == len(QUESTIONS):
        raise UntouchedError
    if open_ones:
        raise Wrong(f"{len(open_ones)} of {len(QUESTIONS)} are still '?'. Decide on all of them.")
    right = {key: "yes" if true else "no" for key, true in truth().items()}
    if wrong := [key for key in QUESTIONS if said[key] != right[key]]:
        key = min(wrong, key=lambda key: _shuffled(key, said))
        count = f"{len(QUESTIONS) - len(wrong)} of {len(QUESTIONS)} are right."
        raise Wrong(f"{count} One to think about, of those that are not:\n  {key}\n"
                    f"  Ask yourself: {QUESTIONS[key]}")  # fmt: skip


def _word(key: str, answer: Any) -> str:
    word = answer.strip().lower() if isinstance(answer, str) else answer
    if word not in ("yes", "no", "?"):
        raise Wrong(f'came back {key}: {describe(answer)}\n  expected  "yes" or "no"')
    return str(word)


def _shuffled(key: str, said: dict[str, str]) -> bytes:
    """Another order for each answer, so that the one that is shown says nothing of the others."""
    return hashlib.sha256(f"{key} {[said[key] for key in QUESTIONS]}".encode()).digest()
