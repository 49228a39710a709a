"""What the learner has done so far, in one local JSON file that nobody else sees.

It is `exercises/progress.json`, or the file that the environment variable EXERCISES_PROGRESS names.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from exercises.catalogue import FOLDER

FILE = Path(os.environ.get("EXERCISES_PROGRESS") or FOLDER / "progress.json")
STATES = ("untouched", "failed", "handed in", "passed")
FRESH: dict[str, Any] = {"state": "untouched", "tries": 0, "hints": 0, "passed": None}


def read() -> dict[str, dict[str, Any]]:
    """Exercise id -> state, tries, hints and when it was passed.

    A file that cannot be read is set aside under another name, and a new one begun. Of an older
    file, or one that somebody edited, everything that makes sense is kept.
    """
    if not FILE.exists():
        return {}
    try:
        rows = json.loads(FILE.read_text(encoding="utf-8"))["exercises"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        aside = FILE.with_name(f"{FILE.stem}.broken-{datetime.now():%Y%m%d-%H%M%S-%f}.json")
        os.replace(FILE, aside)
        print(f"{FILE.name} could not be read. It is now {aside.name}, and a new one is begun.")
        return {}
    return {name: _sound(row) for name, row in rows}


def _sound(row: Any) -> dict[str, Any]:
    """A row with all its fields, each of its kind."""
    row = row if isinstance(row, dict) else {}
    found = {key: row.get(key) for key in FRESH}
    if found["state"] not in STATES:
        found["state"] = "untouched"
    for count in ("tries", "hints"):
        number = found[count]
        found[count] = number if type(number) is int and number >= 0 else 0
    found["passed"] = found["passed"] if isinstance(found["passed"], str) else None
    return found


def of(name: str) -> dict[str, Any]:
    """The row of one exercise."""
    return read().get(name, dict(FRESH))


def record(name: str, **changes: Any) -> None:
    """Change fields of one exercise. The state is that of the last check; passed: of the first."""
    row = of(name) | changes
    if row["state"] == "passed" and not row["passed"]:
        row["passed"] = f"{datetime.now():%Y-%m-%d %H:%M}"
    _write(read() | {name: row})


def forget(name: str) -> None:
    """An exercise is as if nobody had worked on it."""
    _write(read() | {name: dict(FRESH)})


def _write(rows: dict[str, dict[str, Any]]) -> None:
    new = FILE.with_name(f".{FILE.name}.new")  # whole or not at all
    new.write_text(json.dumps({"version": 1, "exercises": rows}, indent=1), encoding="utf-8")
    os.replace(new, FILE)
