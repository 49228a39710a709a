"""One learner's answers: where they stand, and the sandbox in which they are judged."""

import math
import re
import warnings
from pathlib import PurePosixPath
from typing import Any

from exercises.catalogue import Exercise, pages
from exercises.checks.judge import same_conditions
from exercises.files import lines_of
from exercises.room.process import warm
from exercises.room.room import Page, Reply, RoomError, Session, session
from solutions.grading.hidden import Hidden
from solutions.grading.plan import Mark, Plan, one_line
from solutions.grading.sandbox import Keeper

BREAKS = 3  # how often answers of a learner may end their sandbox before no more are run


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
                    mark.words.append(f"Reading the file: {one_line(opened.trouble)}")
                if e.function in opened.functions:
                    Hidden(e, Timed(opened, self), self.learner, self.plan, mark).judge()
                else:
                    mark.state = "not there"
                    mark.words.append(f"The file has no `{e.function}` that can be read.")
                self.allow(self.plan.patience)
            self.allow(math.inf)

    def allow(self, seconds: float) -> None:
        """So long, by the clock, until the sandbox is ended. Our own work does not count."""
        self.keepers[-1].allow(seconds)


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
