"""Judge one function: run its cases, and find words for what is off."""

import functools
import inspect
import linecache
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from exercises.cases import CHECKS, Case, Wrong, contrast, form, same
from exercises.catalogue import Exercise
from exercises.fences import TooLongError, copies, from_outside, in_time, put_back, same_randomness

LIMIT = 60.0  # seconds for one call
NOTHING = "The function returned nothing. Is there a `return`? (`print` only shows a value.)"


@dataclass(frozen=True)
class Verdict:
    """state: passed, failed, untouched, or handed in (an open question)."""

    state: str
    text: str

    @property
    def right(self) -> bool:
        return self.state in ("passed", "handed in")


def judge(exercise: Exercise, function: Callable[..., Any], limit: float = LIMIT) -> Verdict:
    """Run all cases of an exercise. The first one that is off ends it, with its message."""
    label = f"{exercise.id} {exercise.function}"
    if borrowed := from_outside(function):
        return Verdict(
            "failed",
            f"{label}: the function uses `{'` and `'.join(borrowed)}` from outside. In a notebook "
            "that may be left over from another cell.\n  Use only what the function is given.",
        )
    count = 0
    with same_randomness():
        for count, case in enumerate(CHECKS[exercise.function](), 1):  # noqa: B007
            try:
                problem = _problem(case, function, limit)
            except NotImplementedError as error:
                if str(error).startswith(exercise.id):
                    return Verdict("untouched", f"{label}: not written yet.")
                problem = _exception(error, function, case)
            if problem:
                return Verdict("failed", f"{label}: not yet.\n{problem}\n  Next: {_next(exercise)}")
    if exercise.kind == "open question":
        return Verdict("handed in", f"{label}: in good form. Now mark it with the scheme.")
    calls = "the call" if count == 1 else f"all {count} calls"
    return Verdict("passed", f"{label}: right, on {calls}.")


def _next(exercise: Exercise) -> str:
    return f'think again, or ask: hint("{exercise.id}"), or python -m exercises hint {exercise.id}'


def _problem(case: Case, function: Callable[..., Any], limit: float) -> str:
    """What is wrong with one call; nothing: "". Raises: NotImplementedError."""
    before, called = copies(case.given), f"  called    {case.shown}\n"
    problem, got = "", None
    try:
        got = in_time(lambda: case.call(_returning(function)), limit)
    except NotImplementedError:
        raise
    except Wrong as error:
        problem = f"{called}  {error}"
    except TooLongError as error:
        problem = f"{called}  But {error}. Is there a loop that never ends?"
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        problem = _exception(error, function, case)
    finally:
        left = put_back(case.given, before)
    if left and not problem:
        return f"{called}  {left}"
    return problem or _difference(case, got)


def _returning(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, but nothing is not an answer."""

    @functools.wraps(function)
    def asked(*given: Any) -> Any:
        found = function(*given)
        if found is None:
            raise Wrong(NOTHING)
        return found

    return asked


def _difference(case: Case, got: Any) -> str:
    expected = case.expected
    if same(got, expected):
        return ""
    came, wanted = contrast(got, expected)
    lines = [f"  called    {case.shown}", f"  came back {came}", f"  expected  {wanted}"]
    mistakes = case.mistakes() if callable(case.mistakes) else case.mistakes
    if named := _named(got, expected, mistakes):
        lines += named
    elif form(got) != form(expected):
        lines.append(f"  That is {form(got)}; expected is {form(expected)}.")
    elif case.advice:
        lines.append(f"  {case.advice}")
    return "\n".join(lines)


def _named(got: Any, expected: Any, mistakes: Mapping[str, Any]) -> list[str]:
    """The mistakes that give this result; of a dict, if none gives all of it, those of each key."""
    if whole := _fitting(got, mistakes):
        return [f"  This is what comes out when {whole}."]
    if not isinstance(got, Mapping) or form(got) != form(expected):
        return []
    lines = []
    for key in [key for key in expected if not same(got[key], expected[key])]:
        if part := _fitting(got[key], {words: gives[key] for words, gives in mistakes.items()}):
            lines.append(f"  {key}: this is what comes out when {part}.")
    return lines


def _fitting(got: Any, mistakes: Mapping[str, Any]) -> str:
    return ", or when ".join(words for words, gives in mistakes.items() if same(got, gives))


def _exception(error: BaseException, function: Callable[..., Any], case: Case) -> str:
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


def _signature(function: Callable[..., Any]) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "something that cannot be called like this"
