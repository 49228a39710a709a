"""Checks of exercises whose solutions are withheld: stored calls with what comes out of them.

`python -m solutions release` writes the files in the folder `stored`, for a class that hands its
answers in. Here nothing computes what is right, so a mistake is described and not named, and of an
answer that takes no arguments only the form is looked at. Points are given on other calls.
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from exercises.checks.cases import CHECKS, NONE, Case, Check, UntouchedError, Wrong, with_keys
from exercises.checks.compare import describe
from exercises.checks.rules import RULES, TIDIED
from exercises.room.inputs import unpack
from exercises.room.plain import from_plain

FOLDER = Path(__file__).parent / "stored"
GRADED = "Points are given on other calls of the same kinds, which you do not see."
LATER = "Whether it is right is found out after you have handed it in."


def register() -> None:
    """Register every exercise that is stored here, under the name of its function."""
    for path in sorted(FOLDER.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        CHECKS[path.stem] = _form(row) if "form" in row else _calls(path, row)


def _calls(path: Path, row: dict[str, Any]) -> Check:
    def solve(*args: Any, slip: Any) -> None:
        """Nobody knows the solution here."""

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [inspect.Parameter(name, kind) for name in row["names"]]
    solve.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]

    def draw(random: Random) -> Iterator[Case]:
        arguments = unpack(path.with_suffix(".bin").read_bytes())
        for shown, args, result in zip(row["shown"], arguments, row["results"], strict=True):
            yield Case(shown, args, {NONE: from_plain(result)})

    function, count = path.stem, len(row["shown"])
    more: dict[str, Any] = {"rule": RULES[function]} if function in RULES else {}
    more |= {"tidy": TIDIED[function]} if function in TIDIED else {}
    return Check(solve, draw, count, row["advice"], note=GRADED, **more)


def _form(row: dict[str, Any]) -> Check:
    def examine(found: Any) -> None:
        if row["form"]:
            answers = with_keys(found, row["form"]).values()
            if all(answer == "?" for answer in answers):
                raise UntouchedError
        elif not (isinstance(found, list | tuple) and len(found) == 2):
            raise Wrong(f"came back {describe(found)}\n  expected  two things, as the text says")

    draw = lambda random: iter([Case(row["shown"][0])])  # noqa: E731
    return Check(lambda *, slip: None, draw, 1, examine=examine, note=LATER)


register()
