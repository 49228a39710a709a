"""What a check consists of: calls that are drawn, and the solution with every mistake built in.

A check is the literal solution of an exercise, with one more argument: `slip("words")` says whether
the mistake of these words is made at this place. Without a slip it gives what is right; with one,
or two, what somebody gets who makes them. So a mistake is named by experiment, and only where it
explains every call.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, islice
from random import Random
from typing import Any

from exercises.checks.compare import close_or_broken, same
from exercises.room.plain import Array, from_plain, to_plain
from exercises.room.room import Reply

Made = frozenset[str]  # the mistakes that are made
NONE: Made = frozenset()


class Wrong(Exception):
    """An answer of the wrong form. The message says what came and what would be right."""


class UntouchedError(Exception):
    """The answer is still the empty one."""


class Slips:
    """Which mistakes are made; `asked`: those that could have been, in the order of the code."""

    def __init__(self, made: Made = NONE) -> None:
        self.made, self.asked = made, dict[str, None]()

    def __call__(self, words: str) -> bool:
        self.asked[words] = None
        return words in self.made


@dataclass(frozen=True)
class Case:
    """One call. shown: as one would write it. args: in the order of the function's own."""

    shown: str
    args: tuple[Any, ...] = ()
    results: dict[Made, Any] = field(default_factory=dict, compare=False)


Draw = Callable[[Random], Iterator[Case]]


def _nothing(case: Case, reply: Reply) -> str:
    return ""


def _all_of_it(case: Case, result: Any) -> Any:
    return result


@dataclass(frozen=True)
class Check:
    """How an exercise is checked.

    solve: the solution, `solve(*args, slip=...)`. draw: cases without end, of which `count` decide
    and the next ones may tell two mistakes apart. advice: what to try when nothing fits. rule: what
    else must hold of a call, in words where it does not ("" otherwise). tidy: from a plain value
    what of it counts. examine: in place of a comparison, for answers of which more than one is
    right: it raises Wrong. note: a sentence for who has passed, where passing is not all.
    """

    solve: Callable[..., Any]
    draw: Draw
    count: int
    advice: str = ""
    rule: Callable[[Case, Reply], str] = _nothing
    tidy: Callable[[Case, Any], Any] = _all_of_it
    examine: Callable[[Any], None] | None = None
    note: str = ""

    @property
    def names(self) -> list[str]:
        """Of the arguments."""
        return [name for name in inspect.signature(self.solve).parameters if name != "slip"]


CHECKS: dict[str, Check] = {}  # name of the learner's function -> its check


def check(draw: Draw, count: int, **more: Any) -> Callable[[Callable[..., Any]], Any]:
    """Register a solution with its slips under its name, which is that of the learner's function.

    more: advice, rule and tidy, as in `Check`.
    """

    def register(solve: Callable[..., Any]) -> Callable[..., Any]:
        CHECKS[solve.__name__] = Check(solve, draw, count, **more)
        return solve

    return register


def examined(examine: Callable[[Any], None]) -> Callable[[Any], None]:
    """Register a function that looks at an answer without arguments, under the same name."""
    shown = f"{examine.__name__}()"
    draw = lambda random: iter([Case(shown)])  # noqa: E731  one call, nothing to draw
    CHECKS[examine.__name__] = Check(lambda *, slip: None, draw, 1, examine=examine)
    return examine


class Trial:
    """A check with a seed: its cases, made when they are needed, and what comes out of each."""

    def __init__(self, function: str, seed: int) -> None:
        self.check = CHECKS[function]
        self._drawn = self.check.draw(Random(f"{function} {seed}"))
        self._cases: list[Case] = []

    def case(self, number: int) -> Case:
        missing = number + 1 - len(self._cases)
        self._cases += islice(self._drawn, max(0, missing))
        return self._cases[number]

    def counts(self, number: int, result: Any) -> Any:
        """What of a plain value counts in a case."""
        return None if result is None else self.check.tidy(self.case(number), result)

    def result(self, number: int, made: Made = NONE, after: str = "") -> Any:
        """What counts of what the solution gives with these mistakes; None: it fails.

        after: one of `AFTER`, done to it.
        """
        found = self._solved(number, made)
        return self.counts(number, afterwards(after, found) if after else found)

    def _solved(self, number: int, made: Made) -> Any:
        case = self.case(number)
        if made not in case.results:
            try:
                found = self.check.solve(*case.args, slip=Slips(made))
                case.results[made] = from_plain(to_plain(found))
            except Exception:
                if not made:
                    raise
                case.results[made] = None
        return case.results[made]

    @cache  # noqa: B019  a trial lives as long as the process
    def slips(self, made: Made = NONE) -> tuple[str, ...]:
        """The mistakes that can be made beside those that are."""
        found: dict[str, None] = {}
        for number in range(self.check.count):
            slips = Slips(made)
            try:
                self.check.solve(*self.case(number).args, slip=slips)
            except Exception:
                if not made:
                    raise
            found |= slips.asked
        return tuple(words for words in found if words not in made)

    def hypotheses(self) -> Iterator[Made]:
        """One mistake, then two."""
        yield from (frozenset({words}) for words in self.slips())
        yield from map(frozenset, combinations(self.slips(), 2))


@cache
def trial(function: str, seed: int) -> Trial:
    """Cases are drawn and solved once for each process."""
    return Trial(function, seed)


# What can be done wrong with any result, after it was computed rightly.
AFTER: dict[str, Callable[[Any], Any]] = {
    "the sign is turned round": lambda x: -x,
    "the mean over the prompts is taken: one result for each prompt is wanted": lambda x: x.mean(0),
    "every prompt has the mean over the prompts": lambda x: x.mean(0, keepdim=True).expand_as(x),
    "every prompt has the result of the first one": lambda x: x[:1].expand_as(x),
    "only the first prompt is returned": lambda x: x[0],
    "only the first prompt is returned, as a batch of one": lambda x: x[:1],
    "the mean over the prompts is taken, as a batch of one": lambda x: x.mean(0, keepdim=True),
    "the result is rounded to half precision": lambda x: x.half(),
    "the prompts are in the reverse order": lambda x: x.flip(0),
    "probabilities are returned, and not logits": lambda x: x.softmax(-1),
    "log-probabilities are returned, and not logits": lambda x: x.log_softmax(-1),
    "there is an axis too many in front": lambda x: x[None],
    "there is an axis too many at the end": lambda x: x[..., None],
    "the two axes have changed places": lambda x: x.mT,
    "everything is summed up to one number": lambda x: x.sum(),
    "only the prompts are summed up": lambda x: x.sum(0),
}


def afterwards(words: str, right: Any) -> Any:
    """A right plain value with one of `AFTER` done to it; None where that cannot be."""
    if isinstance(right, dict):
        found = {key: afterwards(words, value) for key, value in right.items()}
        return None if any(value is None for value in found.values()) else found
    if not isinstance(right, Array) or not right.values.ndim:
        return None
    try:
        values = AFTER[words](right.values.double()).double()
    except RuntimeError:
        return None
    return Array(values, right.kind, right.dtype)


def fits(got: Any, right: Any) -> bool:
    """Whether a mistake gives what came; one that fails gives nothing."""
    return right is not None and same(got, right, close_or_broken)


def with_keys(found: Any, keys: Iterable[str]) -> dict[str, Any]:
    """A dict that has these keys. Raises: Wrong for anything else."""
    from exercises.checks.compare import describe

    if isinstance(found, dict) and found.keys() == set(keys):
        return found
    what = f"the keys {[*found]}" if isinstance(found, dict) else describe(found)
    raise Wrong(f"came back {what}\n  expected  a dict with the keys {[*keys]}")
