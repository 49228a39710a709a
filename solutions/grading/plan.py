"""How a class is graded, and what an exercise is worth in it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from exercises.catalogue import Exercise, exercises


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


def one_line(text: str) -> str:
    """Without what a terminal or a page could take for a command."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.split())[:600]
