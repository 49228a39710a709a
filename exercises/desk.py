"""The learner's desk: check a function, or what a file has, and keep the progress."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exercises import catalogue, progress
from exercises.catalogue import Exercise, named
from exercises.checks.judge import LIMIT, SEED, Verdict, judge
from exercises.files import trouble_in
from pathpatch.errors import PathPatchError, did_you_mean

warnings.filterwarnings("ignore", message="IProgress not found")  # in a notebook, of tqdm


def check(function: Callable[..., Any]) -> Verdict:
    """See `exercises.check`."""
    if not callable(function):
        raise PathPatchError(f"check takes the function itself: check(pass_c), not {function!r}")
    name = getattr(function, "__name__", repr(function))
    exercise = named(name)
    if exercise is None:
        functions = [e.function for e in catalogue.exercises().values()]
        raise PathPatchError(f"no exercise asks for {name!r}; {did_you_mean(name, functions)}")
    verdict = mark(exercise, function)
    if verdict.printed:
        print(verdict.printed.rstrip("\n"))
    print(verdict.text)
    return verdict


def mark(
    exercise: Exercise,
    source: Callable[..., Any] | Path,
    limit: float = LIMIT,
    seed: int = SEED,
) -> Verdict:
    """Judge a function, or what a file has for an exercise, and record the result."""
    if isinstance(source, Path) and (trouble := trouble_in(source)):
        text = f"{exercise.id} {exercise.function}: cannot be checked; {source.name} cannot be read"
        verdict = Verdict("failed", f"{text}.", trouble=trouble)
    else:
        verdict = judge(exercise, source, limit, seed)
    tries = progress.of(exercise.id)["tries"] + (verdict.state != "untouched")
    progress.record(exercise.id, state=verdict.state, tries=tries)
    return verdict
