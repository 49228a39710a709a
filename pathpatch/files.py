"""Files: lists that a person wrote, checked row by row; results, written whole or not at all."""

import json
import os
import tempfile
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pathpatch.errors import PathPatchError, did_you_mean

Row = TypeVar("Row")


def read_rows(path: str | Path, what: str, kind: type[Row]) -> list[Row]:
    """Read a JSON list of objects with the fields of a dataclass. what: for the messages.

    Raises: PathPatchError for a file that is missing, not JSON, or not of this form.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PathPatchError(f"cannot read {what} from {path}: {error}") from error
    if not isinstance(rows, list):
        raise PathPatchError(f"{path}: expected a JSON list of objects, got {type(rows).__name__}")
    for i, row in enumerate(rows):
        if problem := _problem(row, kind):
            raise PathPatchError(f"{path}, item {i}: {problem}")
    return [kind(**row) for row in rows]


def _problem(row: Any, kind: Any) -> str:
    if not isinstance(row, dict):
        return f"expected an object, got {type(row).__name__}"
    types: dict[str, Any] = {f.name: get_origin(f.type) or f.type for f in fields(kind)}
    for key, value in row.items():
        if key not in types:
            return f"unknown key {key!r}; {did_you_mean(key, types)}"
        if not isinstance(value, types[key]):
            return f"{key!r} must be a {types[key].__name__}, got {type(value).__name__}"
        for name, number in value.items() if isinstance(value, dict) else ():
            if type(number) is not int:  # a bool is an int too, and is refused
                return f"{key!r}: {name!r} must be a whole number, got {number!r}"
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    absent = [key for key in needed if key not in row]
    return f"missing {', '.join(absent)}" if absent else ""


def check_folder(folder: str | Path) -> Path:
    """Make an output folder and try to write in it, before any work is done.

    Raises: PathPatchError when it cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise PathPatchError(f"cannot write into the folder {folder}: {error}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
