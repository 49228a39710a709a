"""What the learner has done so far, in one local JSON file that only this folder knows."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from exercises.catalogue import FOLDER
from pathpatch.effects import write_file

FILE = FOLDER / "progress.json"
VERSION = 1
STATES = ("untouched", "failed", "handed in", "passed")
FRESH: dict[str, Any] = {"state": "untouched", "tries": 0, "hints": 0, "passed": None}


def read(file: Path | None = None) -> dict[str, dict[str, Any]]:
    """Exercise id -> state, tries, hints and when it was passed.

    A file that cannot be read is set aside under another name, and a new one begun. Of an older
    file, or one that somebody edited, everything that makes sense is kept.
    """
    file = file or FILE
    if not file.exists():
        return {}
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["exercises"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        aside = file.with_name(f"{file.stem}.broken-{datetime.now():%Y%m%d-%H%M%S-%f}.json")
        os.replace(file, aside)
        print(f"{file.name} could not be read. It is now {aside.name}, and a new one is begun.")
        return {}
    return {str(name): _sound(row) for name, row in rows}


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


def of(name: str, file: Path | None = None) -> dict[str, Any]:
    """The row of one exercise."""
    return read(file).get(name, dict(FRESH))


def record(name: str, file: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Change fields of one exercise. What was passed once stays passed until it is reset."""
    file = file or FILE
    rows = read(file)
    row = rows.setdefault(name, dict(FRESH))
    if row["state"] == "passed" and changes.get("state") in ("failed", "untouched"):
        changes.pop("state")
    row |= changes
    if row["state"] == "passed" and not row["passed"]:
        row["passed"] = f"{datetime.now():%Y-%m-%d %H:%M}"
    data = {"version": VERSION, "exercises": rows}
    write_file(file, json.dumps(data, indent=1).encode())
    return row
