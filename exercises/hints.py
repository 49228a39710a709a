"""Hints, from a question to a line of code. They are counted, for the learner only."""

from exercises import progress
from exercises.catalogue import find


def hint(name: str) -> None:
    """See `exercises.hint`."""
    hints, helps = find(name).hints, find(name).helps
    given = min(progress.of(name)["hints"] + 1, len(hints))
    print(f"{name}, hint {given} of {len(hints)}: {hints[given - 1]}")
    if given == len(hints):
        print("\n".join(helps))
    progress.record(name, hints=given)
