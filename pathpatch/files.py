"""JSON lists of objects that a person wrote, checked row by row."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pathpatch.errors import PathPatchError, did_you_mean


def read_rows(
    path: str | Path, what: str, types: Mapping[str, type], optional: Collection[str]
) -> list[dict[str, Any]]:
    """Read a JSON list of objects with these keys and types. what: for the messages.

    Raises: PathPatchError for a file that is missing, not JSON, or not of this form.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PathPatchError(f"cannot read {what} from {path}: {error}") from error
    if not isinstance(rows, list):
        raise PathPatchError(f"{path}: expected a JSON list of objects, got {type(rows).__name__}")
    for i, row in enumerate(rows):
        if problem := _problem(row, types, optional):
            raise PathPatchError(f"{path}, item {i}: {problem}")
    return rows


def _problem(row: Any, types: Mapping[str, type], optional: Collection[str]) -> str:
    if not isinstance(row, dict):
        return f"expected an object, got {type(row).__name__}"
    for key, value in row.items():
        if key not in types:
            return f"unknown key {key!r}; {did_you_mean(key, types)}"
        if not isinstance(value, types[key]):
            return f"{key!r} must be a {types[key].__name__}, got {type(value).__name__}"
    absent = [key for key in types if key not in row and key not in optional]
    return f"missing {', '.join(absent)}" if absent else ""
