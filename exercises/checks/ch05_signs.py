"""Check of chapter 5: predict the sign (5.1)."""

import hashlib
from functools import cache
from typing import Any

from exercises.checks.cases import UntouchedError, Wrong, examined, with_keys
from exercises.checks.compare import describe
from exercises.room.inputs import machine_model
from pathpatch import make_prompts, path_sweep
from pathpatch.handmade.ioi_machine import machine_pairs

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
QUESTIONS = {
    "negative: 2.2 to the logits": "2.2 writes *against* the name it looks at. What is missing "
    "when it no longer looks at IO?",
    "negative: 1.0 to the queries of 2.0 and 2.1": "without this signal the movers look at both "
    "names. Does the answer gain or lose?",
    "negative: 1.0 to the query of 2.2": "where does 2.2 look without this signal, and what does "
    "it write against then?",
    "negative: 1.0 to the logits": "which subspace does 1.0 write, and do the logits read it?",
    "backup: 2.0 and 2.1 to the query of 3.0": "3.0 finds that the movers no longer say IO. What "
    "does it do then, while the movers themselves are as before?",
    "keys: 0.0 to the value of 1.0": "1.0 finds S2 by a mark, and copies the name that stands "
    "there. Which of its inputs is the mark for?",
}
SIGNS = ("+", "-", "0")


@cache
def true_signs() -> dict[str, str]:
    """What the runs say; the effect is the same on every prompt."""
    found = {}
    for path, (variant, senders, receivers) in PATHS.items():
        model = machine_model(variant)
        prompts = make_prompts(model.tokenizer, list(machine_pairs("abc"))[::50])
        effects = path_sweep(model, prompts, senders=[senders], receivers=receivers)
        change = effects.mean()[0]
        found[path] = "0" if abs(change) < 1e-9 else "-+"[int(change > 0)]
    return found


@examined
def signs(found: Any) -> None:
    found = with_keys(found, PATHS)
    open_ones = [path for path, sign in found.items() if sign == "?"]
    if len(open_ones) == len(PATHS):
        raise UntouchedError
    if open_ones:
        raise Wrong(f"{len(open_ones)} of {len(PATHS)} are still '?'. Predict all of them first.")
    for path, sign in found.items():
        if not (isinstance(sign, str) and sign in SIGNS):
            raise Wrong(
                f'came back {path}: {describe(sign)}\n  expected  "+", "-" or "0"{_as(sign)}'
            )
    if wrong := [path for path in PATHS if found[path] != true_signs()[path]]:
        path = min(wrong, key=lambda path: _shuffled(path, found))
        count = f"{len(PATHS) - len(wrong)} of {len(PATHS)} are as the runs say."
        raise Wrong(f"{count} One to think about, of those that are not:\n  {path}:\n"
                    f"  {QUESTIONS[path]}")  # fmt: skip


def _as(sign: Any) -> str:
    if isinstance(sign, str) and sign.strip() in ("\u2212", "\u2013", "\u2014"):
        return ": the minus that is on the keyboard"
    return "" if isinstance(sign, str) else ": the sign alone, as text"


def _shuffled(path: str, found: dict[str, Any]) -> bytes:
    """Another order for each answer, so that the one that is shown says nothing of the others."""
    return hashlib.sha256(f"{path} {[found[path] for path in PATHS]}".encode()).digest()
