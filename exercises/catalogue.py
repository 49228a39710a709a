"""What exercises there are. `catalogue.json` is written by `python -m solutions build`."""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
WORK = Path(os.environ.get("EXERCISES_WORK") or FOLDER / "work")  # the learner's copies


@dataclass(frozen=True)
class Exercise:
    """One exercise, without its solution.

    id: chapter and number ("5.2"). stem: its file. function: what the learner writes.
    another_way: a sentence for who has solved it.
    """

    id: str
    stem: str
    function: str
    title: str
    kind: str
    minutes: int
    difficulty: int
    importance: int
    points: int
    hints: list[str]
    helps: list[str]
    another_way: str

    @property
    def about(self) -> str:
        """How long, how much, of which kind."""
        points = "1 point" if self.points == 1 else f"{self.points} points"
        return f"about {self.minutes} min, {points}, {self.kind}"

    @property
    def chapter(self) -> str:
        return self.id.split(".")[0]


@cache
def exercises() -> dict[str, Exercise]:
    """Every exercise by its id, in the order of the book."""
    return {row["id"]: Exercise(**row) for row in _data()["exercises"]}


def pages() -> dict[str, str]:
    """Stem -> the exercise file as it was before anyone wrote in it."""
    return dict(_data()["pages"])


def keep(path: Path) -> Path:
    """Copy a file that will be overwritten to the folder `kept`. Returns: where it is now."""
    kept = path.parent / "kept" / f"{path.stem}-{datetime.now():%Y%m%d-%H%M%S-%f}{path.suffix}"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(path.read_bytes())
    return kept


def find(name: str) -> Exercise:
    """The exercise with this id, or this function. Raises: PathPatchError for another name."""
    known = exercises()
    found = known.get(str(name)) or named(str(name))  # str: hint(5.2) is as good as hint("5.2")
    if found is None:
        from pathpatch.errors import PathPatchError, did_you_mean  # a list need not wait for torch

        raise PathPatchError(f"there is no exercise {str(name)!r}; {did_you_mean(name, known)}")
    return found


def named(function: str) -> Exercise | None:
    """The exercise in which a function of this name is written."""
    return next((e for e in exercises().values() if e.function == function), None)


@cache
def _data() -> dict[str, Any]:
    return json.loads((FOLDER / "catalogue.json").read_text(encoding="utf-8"))
