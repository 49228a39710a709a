"""One learner's answers, judged on hidden cases, in words that give no case and no value away."""

import builtins
import math
import re
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from exercises.catalogue import Exercise, exercises, pages
from exercises.checks.cases import CHECKS, UntouchedError, Wrong
from exercises.checks.compare import describe, same
from exercises.checks.judge import Judging, same_conditions
from exercises.checks.naming import name_mistake
from exercises.files import lines_of
from exercises.room.process import warm
from exercises.room.room import Page, Reply, RoomError, Session, session
from exercises.room.state import MODEL_PARTS
from solutions.grading import keys
from solutions.grading.points import DRAWS, KINDS, earned
from solutions.grading.sandbox import Keeper

BREAKS = 3  # how often answers of a learner may end their sandbox before no more are run
NAMED = "This is what comes out when "


@dataclass
class Mark:
    """What an exercise is worth. points: None where a person gives them (`answer` is for them).

    state: right, partly right, not right, not written, not there, or to be marked. kinds: for each
    kind of case whether it is right. words: sentences for the learner.
    """

    id: str
    of: int
    points: float | None = 0.0
    state: str = "not right"
    kinds: dict[str, bool] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    answer: str = ""

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """How a class is graded.

    own_key: whether 6.3 takes only the learner's own variant. limit: seconds of processor time for
    a call. only: exercises and chapters; none means all. naming: whether mistakes are named, which
    takes most of the time where much is wrong.
    """

    key: str
    own_key: bool = False
    limit: float = 5.0
    patience: float = 60.0
    only: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()
    naming: bool = True

    def exercises(self) -> list[Exercise]:
        found = list(exercises().values())
        return [e for e in found if not self.only or {e.id, e.chapter} & {*self.only}]


class Marker:
    """One learner: texts, by the name of the file, and where they run."""

    def __init__(self, learner: str, texts: dict[str, str], plan: Plan, keepers: list[Keeper]):
        self.learner, self.texts, self.plan, self.keepers = learner, texts, plan, keepers
        self.breaks = 0

    def marks(self) -> list[Mark]:
        return [self.mark(exercise) for exercise in self.plan.exercises()]

    def mark(self, e: Exercise) -> Mark:
        mark = Mark(e.id, e.points)
        found = where_is(e, self.texts)
        if not found:
            mark.state = "not there"
            mark.words.append(f"No file that was handed in has a function `{e.function}`.")
            return mark
        if len(found) > 1:
            mark.words.append(f"{' and '.join(found)} have an answer; {found[0]} was graded.")
        if self.breaks >= BREAKS:
            mark.words.append("It was not run: answers before it ended their sandbox each time.")
            return mark
        try:
            self._judge(e, Page(PurePosixPath(found[0]).stem + ".py", self.texts[found[0]]), mark)
        except RoomError:
            self.breaks += 1
            why = self.keepers[-1].ended if self.keepers else ""
            mark.points, mark.state, mark.kinds = 0.0, "not right", {}
            mark.words.append(f"Its process has ended{f': {why}' if why else ''}.")
        return mark

    def _judge(self, e: Exercise, page: Page, mark: Mark) -> None:
        with same_conditions(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warm()
            self.allow(20 * self.plan.limit + self.plan.patience)
            with session(page, e.function, self.plan.limit) as opened:
                self.allow(math.inf)
                if opened.trouble:
                    mark.words.append(f"Reading the file: {_one_line(opened.trouble)}")
                if e.function in opened.functions:
                    Hidden(e, Timed(opened, self), self, mark).judge()
                else:
                    mark.state = "not there"
                    mark.words.append(f"The file has no `{e.function}` that can be read.")
                self.allow(self.plan.patience)
            self.allow(math.inf)

    def allow(self, seconds: float) -> None:
        """So long, by the clock, until the sandbox is ended. Our own work does not count."""
        self.keepers[-1].allow(seconds)


class Hidden:
    """An answer on the hidden cases of its exercise."""

    def __init__(self, e: Exercise, opened: Session, marker: Marker, mark: Mark) -> None:
        self.exercise, self.mark, self.marker = e, mark, marker
        self.check = CHECKS[e.function]
        kinds = KINDS.get(e.id, ("the answer",) * self.check.count)
        self.cases = list(enumerate(kinds))
        self.named = self.stopped = False
        draws = range(DRAWS if self.check.names else 1)
        seeds = [keys.seed(marker.plan.key, e.id, draw) for draw in draws]
        limit = marker.plan.limit
        self.drawn = [Judging(e, opened, limit, seed) for seed in seeds]

    def judge(self) -> None:
        try:
            faults = self._faults()
        except UntouchedError:
            self.mark.state = "not written"
            return
        right = [kind for kind, fault in faults.items() if not fault]
        self.mark.kinds = {kind: not fault for kind, fault in faults.items()}
        words = dict.fromkeys(fault for fault in faults.values() if fault)
        if len(right) == len(faults) and self.check.names and self.drawn[0].kept_from_the_first():
            words[KEPT] = None
            right.pop()
        self.mark.words += [_one_line(word) for word in words]
        self.mark.points = earned(self.mark.of, len(right), len(faults))
        self.mark.state = "not right" if not self.mark.points else "partly right"
        if self.mark.points == self.mark.of:
            self.mark.state = "right"
        if self.exercise.kind == "open question" and self.mark.state == "right":
            self.mark.points, self.mark.state = None, "to be marked"
            self.mark.answer = _written(self.drawn[0].returned(0))

    def _faults(self) -> dict[str, str]:
        """Kind -> what is wrong with it, in words ("": nothing). Raises: UntouchedError."""
        faults = {kind: "" for _, kind in self.cases}
        for judging in self.drawn:
            for number, kind in self.cases:
                if faults[kind]:
                    continue
                if self.stopped:
                    faults[kind] = "The other cases were not run."
                else:
                    faults[kind] = self._fault(judging, number)
        return faults

    def _fault(self, judging: Judging, number: int) -> str:
        reply = judging.reply(number)
        error = reply.error
        empty = error.get("kind") == "NotImplementedError"
        if empty and error["text"].startswith(self.exercise.id):
            raise UntouchedError
        if error:
            return _raised(error)
        if reply.late is not None:
            self.stopped = True
            return "It did not come back in time and was stopped. Is there a loop without an end?"
        if not reply.returned:
            self.stopped = True
            return "It ended its whole process."
        if reply.changed:
            return _changed(reply.changed, self.check.names)
        if reply.result is None:
            return "It returned nothing. Is there a `return`?"
        if broken := self.check.rule(judging.trial.case(number), reply):
            return broken
        if self.check.examine is not None:
            return self._examined(reply)
        if same(reply.result, judging.trial.result(number)):
            return ""
        return self._name(judging, number)

    def _name(self, judging: Judging, number: int) -> str:
        if self.named or not self.marker.plan.naming:
            return WRONG
        self.named = True
        name = name_mistake(judging.trial, number, judging.returned)
        return f"{WRONG} {name}" if name.startswith(NAMED) else WRONG

    def _examined(self, reply: Reply) -> str:
        try:
            self.check.examine(reply.result)  # type: ignore[misc]
        except Wrong as error:
            return str(error)
        if self.exercise.function != "planted_circuit" or not self.marker.plan.own_key:
            return ""
        plan, given = self.marker.plan, str(reply.result[0])
        if given == keys.variant(plan.key, self.marker.learner, self.exercise.id):
            return ""
        others = [w for w in plan.learners if given == keys.variant(plan.key, w, "6.3")]
        known = "It fits the variant of somebody else in this class. " if others else ""
        return f"{known}The key is not the one that you were given for {self.exercise.id}."


class Timed(Session):
    """A session whose sandbox is ended when a call does not come back to us at all."""

    def __init__(self, opened: Session, marker: Marker) -> None:
        self.trouble, self.functions = opened.trouble, opened.functions
        self._opened, self._marker = opened, marker

    def call(self, *args: Any, **more: Any) -> Reply:
        plan = self._marker.plan
        self._marker.allow(4 * plan.limit + plan.patience)
        try:
            return self._opened.call(*args, **more)
        finally:
            self._marker.allow(math.inf)


KEPT = (
    "Each call is right by itself, and one after another is not: something is kept from one call "
    "to the next."
)
WRONG = "It returns another value than the right one."


def where_is(e: Exercise, texts: dict[str, str]) -> list[str]:
    """The files with an answer, the one that counts first; those that are untouched come last."""
    defined = re.compile(rf"^(?:async )?(?:def {e.function}\b|{e.function}\s*=)", re.MULTILINE)
    stub = pages()[e.stem]
    empty = "\n".join(stub.splitlines()[lines_of(stub, e.function) or slice(0)]).strip()
    found = [name for name, text in texts.items() if defined.search(text)]
    written = [
        name for name in found if empty not in texts[name] or len(defined.findall(texts[name])) > 1
    ]
    as_named = sorted(written, key=lambda name: (e.stem not in name, name.endswith("b"), name))
    different = {texts[name]: name for name in reversed(as_named)}.values()
    return sorted(different, key=as_named.index) or sorted(found)[:1]


def _raised(error: dict[str, Any]) -> str:
    """The kind of an exception, where Python has it, and the line: a text could hold a case."""
    kind = error["kind"]
    known = isinstance(getattr(builtins, kind, None), type) or kind == "PathPatchError"
    own = [frame for frame in error["frames"] if frame[0] == error["file"]]
    where = f" in line {own[-1][1]} of the file" if own and 0 < own[-1][1] < 100_000 else ""
    return f"It raised {kind if known else 'an exception of its own'}{where}."


def _changed(changed: list[str], names: list[str]) -> str:
    what = next((c for c in changed if c in names or c in MODEL_PARTS.values()), "something")
    if " " in what:
        return f"Afterwards {what}."
    return f"It changes its argument {what} in place. Change a copy."


def _one_line(text: str) -> str:
    """Without what a terminal or a page could take for a command."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:600]


def _written(answer: Any) -> str:
    """The parts of an open answer, for a person to read."""
    if not isinstance(answer, dict):
        return describe(answer)
    return "\n\n".join(f"{key}: {part}" for key, part in answer.items())[:20_000]
