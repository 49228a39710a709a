"""An answer on hidden cases, in words that give no case and no value away."""

import builtins
from typing import Any

from exercises.catalogue import Exercise
from exercises.checks.cases import CHECKS, UntouchedError, Wrong
from exercises.checks.compare import describe, same
from exercises.checks.judge import Judging
from exercises.checks.naming import name_mistake
from exercises.room.room import Reply, Session
from exercises.room.state import MODEL_PARTS
from solutions.grading import keys
from solutions.grading.plan import Mark, Plan, one_line
from solutions.grading.points import DRAWS, KINDS, earned

NAMED = "This is what comes out when "
KEPT = (
    "Each call is right by itself, and one after another is not: something is kept from one call "
    "to the next."
)
WRONG = "It returns another value than the right one."


class Hidden:
    """An answer on the hidden cases of its exercise."""

    def __init__(self, e: Exercise, opened: Session, learner: str, plan: Plan, mark: Mark) -> None:
        self.exercise, self.mark, self.learner, self.plan = e, mark, learner, plan
        self.check = CHECKS[e.function]
        kinds = KINDS.get(e.id, ("the answer",) * self.check.count)
        self.cases = list(enumerate(kinds))
        self.named = self.stopped = False
        draws = range(DRAWS if self.check.names else 1)
        seeds = [keys.seed(plan.key, e.id, draw) for draw in draws]
        self.drawn = [Judging(e, opened, plan.limit, seed) for seed in seeds]

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
        self.mark.words += [one_line(word) for word in words]
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
        if self.named or not self.plan.naming:
            return WRONG
        self.named = True
        name = name_mistake(judging.trial, number, judging.returned)
        return f"{WRONG} {name}" if name.startswith(NAMED) else WRONG

    def _examined(self, reply: Reply) -> str:
        try:
            self.check.examine(reply.result)  # type: ignore[misc]
        except Wrong as error:
            return str(error)
        if self.exercise.function != "planted_circuit" or not self.plan.own_key:
            return ""
        plan, given = self.plan, str(reply.result[0])
        if given == keys.variant(plan.key, self.learner, self.exercise.id):
            return ""
        others = [w for w in plan.learners if given == keys.variant(plan.key, w, "6.3")]
        known = "It fits the variant of somebody else in this class. " if others else ""
        return f"{known}The key is not the one that you were given for {self.exercise.id}."


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


def _written(answer: Any) -> str:
    """The parts of an open answer, for a person to read."""
    if not isinstance(answer, dict):
        return describe(answer)
    return "\n\n".join(f"{key}: {part}" for key, part in answer.items())[:20_000]
