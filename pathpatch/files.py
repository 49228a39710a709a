"""Files: JSON is read with the reason why it cannot be, results are written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pathpatch.errors import PathPatchError


def read_json(path: str | Path, what: str) -> Any:
    """Read a JSON file. what: for the messages.

    Raises: PathPatchError for a file that is missing, not JSON, or says a key twice in one object.
    """
    return read_text(path, what, lambda text: json.loads(text, object_pairs_hook=once))


def read_text(path: str | Path, what: str, parse: Callable[[str], Any]) -> Any:
    """What is parsed out of a file. A byte-order mark, which some editors put first, is no text.

    Raises: PathPatchError for a file that is missing, or when `parse` raises a ValueError.
    """
    try:
        return parse(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise PathPatchError(f"cannot read {what} from {path}: {error}") from error


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises: ValueError for one that says a key twice."""
    keys = [key for key, _ in pairs]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"an object says {', '.join(sorted(twice))} twice")
    return dict(pairs)


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
    """Write a file whole or not at all. Raises: PathPatchError when it cannot be written."""
    try:
        _write(path, content)
    except OSError as error:
        raise PathPatchError(f"cannot write {path}: {error}") from error


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
