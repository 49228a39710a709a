"""Judge one function: run its cases, and find words for what is off."""

import functools
import inspect
import linecache
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import exercises.checks  # noqa: F401  every check, by name
from exercises.catalogue import Exercise
from exercises.checks.cases import CHECKS, Case, Wrong, contrast, form, same
from exercises.checks.fences import (
    TooLongError,
    copies,
    from_outside,
    in_time,
    put_back,
    same_conditions,
)

Function = Callable[..., Any]
LIMIT = 60.0  # seconds of processor time for one call
NOTHING = "The function returned nothing. Is there a `return`? (`print` only shows a value.)"


@dataclass(frozen=True)
class Verdict:
    """state: passed, failed, untouched, or handed in (an open question)."""

    state: str
    text: str

    @property
    def right(self) -> bool:
        return self.state in ("passed", "handed in")


def judge(exercise: Exercise, function: Function, limit: float = LIMIT) -> Verdict:
    """Run all cases of an exercise. The first one that is off ends it, with its message."""
    label = f"{exercise.id} {exercise.function}"
    if borrowed := from_outside(function):
        return Verdict(
            "failed",
            f"{label}: the function uses `{'` and `'.join(borrowed)}` from outside. In a notebook "
            "that may be left over from another cell.\n  Use only what the function is given.",
        )
    done: list[Case] = []
    with same_conditions():
        for case in (cases := CHECKS[exercise.function]()):
            try:
                problem = _problem(case, function, limit, done, cases)
            except NotImplementedError as error:
                if str(error).startswith(exercise.id):
                    return Verdict("untouched", f"{label}: not written yet.")
                problem = _exception(error, function, case)
            if problem:
                return Verdict("failed", f"{label}: not yet.\n{problem}\n  Next: {_next(exercise)}")
            done.append(case)
    if exercise.kind == "open question":
        return Verdict("handed in", f"{label}: in good form. Now mark it with the scheme.")
    calls = "the call" if len(done) == 1 else f"all {len(done)} calls"
    return Verdict("passed", f"{label}: right, on {calls}.")


def _next(exercise: Exercise) -> str:
    return f'think again, or ask: hint("{exercise.id}"), or python -m exercises hint {exercise.id}'


def _problem(
    case: Case, function: Function, limit: float, done: list[Case], rest: Iterable[Case]
) -> str:
    """What is wrong with one call; nothing: "". Raises: NotImplementedError."""
    called = f"  called    {case.shown}"
    try:
        got = _call(case, function, limit)
    except NotImplementedError:
        raise
    except Wrong as error:
        return f"{called}\n  {error}"
    except TooLongError as error:
        return f"{called}\n  But {error}. Is there a loop that never ends?"
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return _exception(error, function, case)
    if same(got, case.expected):
        return ""
    came, wanted = contrast(got, case.expected)
    lines = [called, f"  came back {came}", f"  expected  {wanted}"]
    if named := _fitting(got, _mistakes(case)):
        for other in done:
            named = _narrow(named, other, other.expected)
        lines.append(_when(_narrow_by_calls(named, rest, function, limit)))
    elif form(got) != form(case.expected):
        lines.append(f"  That is {form(got)}; expected is {form(case.expected)}.")
    else:
        lines += _by_key(got, case) or [f"  {case.advice}"]
    return "\n".join(lines)


def _call(case: Case, function: Function, limit: float) -> Any:
    """The result. Raises: what the function raises, and Wrong when it leaves something changed."""
    before = copies(case.given)
    try:
        got = in_time(lambda: case.call(_returning(function)), limit)
    finally:
        left = put_back(case.given, before)
    if left:
        raise Wrong(left)
    return torch.from_numpy(got) if isinstance(got, np.ndarray) else got


def _returning(function: Function) -> Function:
    """The function, but nothing is not an answer."""

    @functools.wraps(function)
    def asked(*given: Any) -> Any:
        found = function(*given)
        if found is None:
            raise Wrong(NOTHING)
        return found

    return asked


def _mistakes(case: Case) -> Mapping[str, Any]:
    return case.mistakes() if callable(case.mistakes) else case.mistakes


def _fitting(got: Any, mistakes: Mapping[str, Any]) -> list[str]:
    return [words for words, gives in mistakes.items() if same(got, gives)]


def _narrow_by_calls(
    named: list[str], rest: Iterable[Case], function: Function, limit: float
) -> list[str]:
    """Of several mistakes that give the same in one call, those that fit the other calls too."""
    for case in rest:
        if len(named) < 2:
            break
        try:
            named = _narrow(named, case, _call(case, function, limit))
        except Exception:
            break
    return named


def _narrow(named: list[str], case: Case, got: Any) -> list[str]:
    mistakes = _mistakes(case)
    return [w for w in named if w not in mistakes or same(got, mistakes[w])] or named


def _when(named: list[str], of: str = "T") -> str:
    return f"  {of}his is what comes out when " + ",\n    or when ".join(named) + "."


def _by_key(got: Any, case: Case) -> list[str]:
    """The mistakes that explain a part of a dict, where none explains all of it."""
    lines = []
    for key, right in case.expected.items() if isinstance(got, Mapping) else ():
        parts = {words: gives[key] for words, gives in _mistakes(case).items()}
        if not same(got[key], right) and (named := _fitting(got[key], parts)):
            lines.append(_when(named, f"{key}: t"))
    return lines


def _exception(error: BaseException, function: Function, case: Case) -> str:
    """The learner's own line first, then where it went from there."""
    file = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", "")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file]
    lines = []
    if own:
        line = linecache.getline(file, own[-1].lineno or 0).strip()
        lines.append(f"  your line {own[-1].lineno}:  {line or '(not shown here)'}")
    lines.append(f"  raised    {type(error).__name__}: {error}")
    if not own:
        lines.append(f"  It takes {_signature(function)}; see the call below.")
    elif frames[-1].filename != file:
        last = frames[-1]
        lines.append(f"  deep in   {last.name}, {last.filename}, line {last.lineno}")
    return "\n".join([*lines, f"  called    {case.shown}"])


def _signature(function: Function) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "something that cannot be called like this"
