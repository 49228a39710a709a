"""Names by experiment: which mistake, or which two, give what the answer gives on every call?"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from exercises.checks.cases import AFTER, Trial, fits
from exercises.checks.compare import by_key, kind, same

PATIENCE = 5.0  # seconds of processor time to look for two mistakes at once
MORE = 4  # cases beyond those that decide, where two mistakes still give the same
Results = Callable[[int], Any]  # what the answer returns in a case; None: nothing that counts
Gives = Callable[[int], Any]  # what a mistake gives in a case


def name_mistake(trial: Trial, failed: int, results: Results) -> str:
    """A sentence that names the mistake, or "". failed: the case that is not right."""
    kinds = {kind(gives(failed)) for _, gives in _single(trial)}
    if kind(results(failed)) not in kinds:
        return ""  # a tuple, say, where all that can come out is a tensor
    for hypotheses in (_single(trial), _in_time(_double(trial))):
        fitting = [pair for pair in hypotheses if fits(results(failed), pair[1](failed))]
        fitting = [pair for pair in fitting if _explains(trial.check.count, pair[1], results)]
        if fitting:
            words = _told_apart(trial, fitting, results)
            return f"This is what comes out when {words}." if words else ""
    return _by_key(trial, failed, results)


def _single(trial: Trial) -> Iterator[tuple[str, Gives]]:
    for words in trial.slips():
        yield words, lambda i, words=words: trial.result(i, frozenset({words}))
    for words in AFTER:
        yield words, lambda i, words=words: trial.result(i, after=words)


def _double(trial: Trial) -> Iterator[tuple[str, Gives]]:
    for made in trial.hypotheses():
        if len(made) == 2:
            one, other = sorted(made, key=trial.slips().index)
            yield f"{one},\n    and {other}", lambda i, made=made: trial.result(i, made)
    for words in trial.slips():
        made = frozenset({words})
        for after in AFTER:
            yield (
                f"{words},\n    and {after}",
                lambda i, made=made, after=after: trial.result(i, made, after),
            )


def _in_time(hypotheses: Iterator[tuple[str, Gives]]) -> Iterator[tuple[str, Gives]]:
    """As many as can be tried while somebody waits."""
    late = time.process_time() + PATIENCE
    yield from itertools.takewhile(lambda _: time.process_time() < late, hypotheses)


def _explains(count: int, gives: Gives, results: Results) -> bool:
    """Whether a mistake gives what the answer gives in every case in which that returns."""
    for number in range(count):
        got = results(number)
        if got is not None and not fits(got, gives(number)):
            return False
    return True


def _told_apart(trial: Trial, fitting: list[tuple[str, Gives]], results: Results) -> str:
    """The one that is left after more cases; where all give the same on all of them, the first.

    "" where none is left: then what fitted until now was chance.
    """
    for number in range(trial.check.count, trial.check.count + MORE):
        if len(fitting) < 2:
            break
        try:
            got = results(number)
        except IndexError:  # no more cases can be drawn
            break
        if got is not None:
            fitting = [pair for pair in fitting if fits(got, pair[1](number))]
    return fitting[0][0] if fitting else ""


def _by_key(trial: Trial, failed: int, results: Results) -> str:
    """For a dict: one mistake for each key that is off, where one explains it in every case."""
    got, right = results(failed), trial.result(failed)
    if not (isinstance(got, dict) and isinstance(right, dict)):
        return ""
    got, right = by_key(got), by_key(right)
    if got.keys() != right.keys():
        return ""
    lines = []
    for key in right:
        if same(got[key], right[key]):
            continue
        named = [w for w, gives in _single(trial) if _explains_key(trial, key, gives, results)]
        if not named:
            return ""
        lines.append(f"{key}: this is what comes out when {named[0]}.")
    return "\n  ".join(lines)


def _explains_key(trial: Trial, key: Any, gives: Gives, results: Results) -> bool:
    for number in range(trial.check.count):
        got, wrong = results(number), gives(number)
        if not isinstance(got, dict):
            continue
        if key not in by_key(got):  # one case alone may fit by chance
            return False
        if not isinstance(wrong, dict) or not same(by_key(got)[key], by_key(wrong).get(key)):
            return False
    return True
