"""Judge one function: run its cases in the room, and find words for what is off."""

import linecache
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import exercises.checks  # noqa: F401  every check, by name
from exercises.catalogue import FOLDER, Exercise
from exercises.checks.cases import Trial, UntouchedError, Wrong, trial
from exercises.checks.compare import contrast, misformed, rows_off, same
from exercises.checks.naming import name_mistake
from exercises.room.outside import from_outside
from exercises.room.room import Reply, RoomError, Session, session

Function = Callable[..., Any]
LIMIT = 60.0  # seconds of processor time for one call
SEED = int(os.environ.get("EXERCISES_SEED", 5))  # of the cases; an instructor takes another
SOLUTIONS = FOLDER.parent / "solutions"
NOTHING = "The function returned nothing. Is there a `return`? (`print` only shows a value.)"


@dataclass(frozen=True)
class Verdict:
    """What a check found; true where the answer is right.

    state: passed, failed, untouched, or handed in (an open question). printed: by the answer.
    trouble: what else could not be read in its file.
    """

    state: str
    text: str
    printed: str = ""
    trouble: str = ""

    @property
    def right(self) -> bool:
        return self.state in ("passed", "handed in")

    def __bool__(self) -> bool:
        return self.right

    def _ipython_display_(self) -> None:
        """Nothing more in a notebook: the text has been printed."""


def judge(
    exercise: Exercise, source: Function | Path, limit: float = LIMIT, seed: int = SEED
) -> Verdict:
    """Run all cases of an exercise in the room. The first one that is off ends it, in words.

    source: the function, or the file that has it. limit: seconds of processor time for one call.
    seed: of the cases that are drawn.
    """
    label = f"{exercise.id} {exercise.function}"
    if callable(source) and (borrowed := from_outside(source)):
        return _borrowed(label, borrowed)
    try:
        with same_conditions(), session(source, exercise.function, limit) as opened:
            if exercise.function not in opened.functions:
                return _absent(exercise, source, opened.trouble)
            verdict = Judging(exercise, opened, limit, seed).verdict()
            return replace(verdict, trouble=opened.trouble)
    except RoomError as error:
        return Verdict("failed", f"{label}: the process in which it ran has ended: {error}.")
    except Exception as error:
        if not callable(source) or trial_error(error):
            raise
        return Verdict("failed", f"{label}: the function cannot be handed over: {error}.")


def _absent(exercise: Exercise, source: Function | Path, trouble: str) -> Verdict:
    label = f"{exercise.id} {exercise.function}: cannot be checked;"
    if callable(source):
        return Verdict("failed", f"{label} {trouble}.")
    back = f"python -m exercises reset {exercise.id} puts the empty one back"
    why = f"{source.name} has no such function, or it failed.\n  {back}."
    return Verdict("failed", f"{label} {why}", trouble=trouble)


def trial_error(error: Exception) -> bool:
    """Whether an error is ours, and not one of pickling a function."""
    return "pickle" not in f"{type(error).__name__} {error}".lower()


def _borrowed(label: str, names: list[str]) -> Verdict:
    return Verdict(
        "failed",
        f"{label}: the function uses `{'` and `'.join(names)}` from outside. In a notebook "
        "that may be left over from another cell.\n  Use only what the function is given.",
    )


class Judging:
    """One answer, with what it returned in each case."""

    def __init__(self, exercise: Exercise, opened: Session, limit: float, seed: int) -> None:
        self.exercise, self.opened, self.limit, self.seed = exercise, opened, limit, seed
        self.trial: Trial = trial(exercise.function, seed)
        self.replies: dict[int, Reply] = {}

    def reply(self, number: int) -> Reply:
        if number not in self.replies:
            case, names = self.trial.case(number), self.trial.check.names
            call = self.opened.call
            reply = call(self.exercise.function, names, case.args, self.limit)
            counts = self.trial.counts(number, reply.result)
            self.replies[number] = replace(reply, result=counts)
        return self.replies[number]

    def returned(self, number: int) -> Any:
        """What counts of what the answer returned; None where that was nothing."""
        return self.reply(number).result

    def verdict(self) -> Verdict:
        e, count = self.exercise, self.trial.check.count
        label = f"{e.id} {e.function}"
        for number in range(count):
            try:
                problem = self.problem(number)
            except UntouchedError:
                return Verdict("untouched", f"{label}: not written yet.")
            if problem:
                ask = f'hint("{e.id}"), or python -m exercises hint {e.id}'
                drawn = f" (seed {self.seed})" if self.trial.check.examine is None else ""
                text = f"{label}: not yet.{drawn}\n{problem}\n  Next: think again, or ask: {ask}"
                return Verdict("failed", text, self.reply(number).printed)
        printed = self.reply(0).printed
        if left := self.kept_from_the_first():
            return Verdict("failed", f"{label}: not yet.\n{left}", printed)
        if e.kind == "open question":
            good = "in good form. Now mark it with the scheme."
            return Verdict("handed in", f"{label}: {good}{_more(e)}", printed)
        note = f"\n  {self.trial.check.note}" if self.trial.check.note else ""
        if note and self.trial.check.examine is not None:
            return Verdict("handed in", f"{label}: in good form.{note}", printed)
        calls = "the call" if count == 1 else f"all {count} calls"
        text = f"{label}: right, on {calls}.{self._settings()}{note}{_more(e)}"
        return Verdict("passed", text, printed)

    def kept_from_the_first(self) -> str:
        """Whether a call after the first one in its process gives something else, in words."""
        trial, check = self.trial, self.trial.check
        one, call = trial.case(0), self.opened.call
        for number in sorted({min(1, check.count - 1), check.count - 1} - {0}):
            two = trial.case(number)
            reply = call(self.exercise.function, check.names, two.args, self.limit, first=one.args)
            if reply.returned and same(trial.counts(number, reply.result), trial.result(number)):
                continue
            return (
                f"  called    {one.shown}\n  and then  {two.shown}\n"
                "  The second call is right by itself, and not after the first: something is kept "
                "from one call to the next, in a global, in a default or on the model."
            )
        return ""

    def _settings(self) -> str:
        left = dict.fromkeys(name for reply in self.replies.values() for name in reply.settings)
        return "".join(
            f"\n  It leaves {name} changed, for everything that runs after it." for name in left
        )

    def problem(self, number: int) -> str:
        """What is wrong with one call; nothing: "". Raises: UntouchedError."""
        case, check, reply = self.trial.case(number), self.trial.check, self.reply(number)
        called = f"  called    {case.shown}"
        untouched = reply.error.get("kind") == "NotImplementedError"
        if untouched and reply.error["text"].startswith(self.exercise.id):
            raise UntouchedError
        if reply.error:
            return _exception(reply.error, called)
        if reply.late is not None:
            late = f"it had not come back after {reply.late:g} seconds, and was stopped"
            return f"{called}\n  But {late}. Is there a loop that never ends?"
        if not reply.returned:
            return f"{called}\n  But it ended the whole process, with exit code {reply.died}."
        if reply.changed:
            return f"{called}\n  {_changed(reply.changed[0])}"
        if reply.result is None:
            return f"{called}\n  {NOTHING}"
        if broken := check.rule(case, reply):
            return f"{called}\n  {broken}"
        if check.examine is not None:
            try:
                check.examine(reply.result)
            except Wrong as error:
                return f"{called}\n  {error}"
            return ""
        expected = self.trial.result(number)
        if same(reply.result, expected):
            return ""
        return "\n".join([called, *self._difference(number, reply, expected)])

    def _difference(self, number: int, reply: Reply, expected: Any) -> list[str]:
        came, wanted = contrast(reply.result, expected)
        lines = [f"  came back {came}", f"  expected  {wanted}"]
        if named := name_mistake(self.trial, number, self.returned):
            return [*lines, f"  {named}"]
        if said := misformed(reply.result, expected):
            return [*lines, f"  {said}"]
        if rows := rows_off(reply.result, expected):
            lines.append(f"  {rows}")
        if number:
            right = "the call" if number == 1 else f"the {number} calls"
            lines.append(f"  It is right on {right} before this one.")
        lines += _passes(reply.passes)
        return [*lines, f"  {self.trial.check.advice}"]


def _more(e: Exercise) -> str:
    """For who has solved it: another way, and where a solution stands, if this copy has them."""
    solution = SOLUTIONS / f"{e.stem}.py"
    where = f"\n  To compare: {e.id} in {solution.parent.name}/{solution.name}."
    another = f"\n  Another way: {e.another_way}" if e.another_way else ""
    return f"{another}{where if solution.exists() else ''}"


def _changed(what: str) -> str:
    if " " in what:
        return f"Afterwards {what}."
    return (
        f"Your function changed its argument {what} in place: whoever uses it next gets other "
        "values. Change a copy."
    )


def _passes(passes: list[dict[str, Any]]) -> list[str]:
    """The forward passes that a call made, a line each."""
    lines = []
    for i, one in enumerate(passes[:6], 1):
        parts = [f"{word} {_some(one[key])}" for key, word in DONE if one[key]]
        lines.append(f"    {i}. on {one['of']}{': ' if parts else ''}{'; '.join(parts)}")
    if len(passes) > 6:
        lines.append(f"    and {len(passes) - 6} more")
    return ["  The passes of this call:", *lines] if lines else []


DONE = (("writes", "writes"), ("reads", "reads"))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _exception(error: dict[str, Any], called: str) -> str:
    """The learner's own line first, then where it went from there."""
    frames = error["frames"]
    own = [frame for frame in frames if frame[0] == error["file"]]
    lines = []
    if own:
        file, number, _, line = own[-1]
        line = (line or linecache.getline(file, number)).strip()
        lines.append(f"  your line {number}:  {line or '(not shown here)'}")
    lines.append(f"  raised    {error['kind']}: {error['text']}")
    if not own:
        lines.append(f"  It takes {error['takes']}; see the call below.")
    elif frames[-1][0] != error["file"]:
        file, number, name, _ = frames[-1]
        lines.append(f"  deep in   {name}, {file}, line {number}")
    return "\n".join([*lines, called])


@contextmanager
def same_conditions() -> Iterator[None]:
    """What a check draws does not change what the learner draws next, and the reverse.

    And one thread: on models this small, more only wait for one another, on a busy machine seconds.
    """
    drawn, rng, threads = random.getstate(), torch.get_rng_state(), torch.get_num_threads()
    dtype = torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.set_rng_state(rng)
        random.setstate(drawn)
