"""Judge one function: run its cases, in time and without a trace, and find words for what is off."""

import ctypes
import inspect
import linecache
import random
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np
import torch

from exercises.cases import CHECKS, Case, Wrong, describe, form, hooks_on, same, value
from exercises.catalogue import Exercise
from pathpatch import HandMade, Prompts, Run, Tokens
from pathpatch.models import fingerprint

LIMIT = 60.0  # seconds for one exercise
OUTSIDE = (torch.Tensor, torch.nn.Module, Prompts, Run, Tokens, HandMade)


class TooLongError(Exception):
    """The learner's function did not come back."""


@dataclass(frozen=True)
class Verdict:
    """state: passed, failed, untouched, or handed in (an open question)."""

    state: str
    text: str


def judge(exercise: Exercise, function: Callable[..., Any], limit: float = LIMIT) -> Verdict:
    """Run all cases of an exercise. The first one that is off ends it, with its message."""
    label = f"{exercise.id} {exercise.function}"
    if borrowed := _from_outside(function):
        return Verdict(
            "failed",
            f"{label}: the function uses {' and '.join(borrowed)} from outside. In a notebook that "
            "may be left over from another cell.\n  Use only what the function is given.",
        )
    count = 0
    with _same_randomness():
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
    return Verdict("passed", f"{label}: right, on all {count} calls.")


def _next(exercise: Exercise) -> str:
    return f'think again, or ask: hint("{exercise.id}"), or python -m exercises hint {exercise.id}'


def _problem(case: Case, function: Callable[..., Any], limit: float) -> str:
    """What is wrong with one call; nothing: "". Raises: NotImplementedError."""
    before = fingerprint(case.model) if case.model is not None else ""
    try:
        got = _in_time(lambda: case.call(function), limit)
    except NotImplementedError:
        raise
    except Wrong as error:
        return f"  called    {case.shown}\n  {error}"
    except TooLongError:
        return (
            f"  called    {case.shown}\n  It had not come back after {limit:g} seconds and was "
            "stopped: is there a loop that never ends?"
        )
    except Exception as error:
        return _exception(error, function, case)
    if case.model is not None:
        left = hooks_on(case.model)
        if left:
            case.model.reset_hooks()
            return (
                f"  called    {case.shown}\n  Hooks are left behind on the model ({left[0]}): every "
                "later run would be patched too. Use run_with_hooks, which takes them off again."
            )
        if fingerprint(case.model) != before:
            return (
                f"  called    {case.shown}\n  The weights of the model are changed. Patch values."
            )
    return _difference(case, got)


def _difference(case: Case, got: Any) -> str:
    expected = value(case.expected)
    if same(got, expected):
        return ""
    lines = [f"  called    {case.shown}", f"  came back {describe(got)}"]
    lines.append(f"  expected  {describe(expected)}")
    named = []
    for words, gives in case.mistakes.items():
        wrong = value(gives)
        if same(got, wrong) and not same(wrong, expected):
            named.append(words)
    if named:
        lines.append(f"  This is what comes out when {', or when '.join(named)}.")
    elif got is None:
        lines.append("  The function returned nothing. Is there a `return`?")
    elif form(got) != form(expected):
        lines.append(f"  That is {form(got)}; expected is {form(expected)}.")
    elif case.advice:
        lines.append(f"  {case.advice}")
    return "\n".join(lines)


def _exception(error: BaseException, function: Callable[..., Any], case: Case) -> str:
    """The learner's own line first, then where it went from there."""
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
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


def _in_time(call: Callable[[], Any], limit: float) -> Any:
    """The result of a call; it runs in a thread, so that a loop without end can be left."""
    found: dict[str, Any] = {}

    def work() -> None:
        try:
            found["value"] = call()
        except BaseException as error:
            found["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        stop = ctypes.py_object(SystemExit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), stop)
        raise TooLongError
    if "error" in found:
        error = found["error"]
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise Wrong(f"It left with {type(error).__name__}; it must return a value.")
        raise error
    return found["value"]


@contextmanager
def _same_randomness() -> Iterator[None]:
    """What a check draws does not change what the learner draws next, and the reverse."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _from_outside(function: Callable[..., Any]) -> list[str]:
    """Models, prompts and tensors that a function takes from the cells around it."""
    seen: set[str] = set()
    todo, found = [function], []
    while todo:
        code = getattr(todo.pop(), "__code__", None)
        around = getattr(function, "__globals__", {})
        for name in _names(code) if code else ():
            if name in seen or name not in around:
                continue
            seen.add(name)
            thing = around[name]
            if isinstance(thing, OUTSIDE):
                found.append(f"`{name}`")
            elif getattr(thing, "__globals__", None) is around:
                todo.append(thing)  # a helper in the same file
    return sorted(found)


def _names(code: CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
