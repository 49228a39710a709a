"""Files: what a person wrote, read with a sentence for every mistake; results, written whole."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pathpatch.errors import PathPatchError


def as_path(path: Any) -> Path:
    """A path that somebody gave, with ~ for the home folder.

    Raises: PathPatchError for what is no path, an empty one, and one with a NUL in it.
    """
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise PathPatchError(f"expected a path, such as 'out/sweep', got {path!r}")
    return Path(os.path.expanduser(path))


def read_json(path: str | Path, what: str) -> Any:
    """Read a JSON file. what: for the messages.

    Raises: PathPatchError for a file that is missing, not JSON, or says a key twice in one object.
    """
    return read(path, what, lambda text: json.loads(text, object_pairs_hook=once))


def read_object(path: str | Path, what: str, keys: Iterable[str]) -> dict[str, Any]:
    """Read a JSON object with at least these keys. Raises: PathPatchError, also as `read_json`."""
    found = read_json(path, what)
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise PathPatchError(
            f"{path} does not hold {what}, which is a JSON object with {', '.join(keys)}"
        )
    return found


def read(path: str | Path, what: str, parse: Callable[[str], Any]) -> Any:
    """What `parse` makes of a text file. A byte-order mark, which some editors put first, is not
    part of the text. Raises: PathPatchError for a file that is missing or not of this form."""
    try:
        return parse(as_path(path).read_text(encoding="utf-8-sig"))
    except UnicodeError as error:
        why = "it is not UTF-8 text; save it as UTF-8 (and unpack it, if it is compressed)"
        raise PathPatchError(f"cannot read {what} from {path}: {why}") from error
    except RecursionError as error:
        raise PathPatchError(f"cannot read {what} from {path}: lists in lists, too deep") from error
    except (OSError, ValueError) as error:
        raise PathPatchError(f"cannot read {what} from {path}: {error}") from error


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which no key may come twice."""
    keys = [key for key, _ in pairs]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"an object says {', '.join(sorted(twice))} twice")
    return dict(pairs)


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, in a folder that is made where there is none.

    Raises: PathPatchError when it cannot be written.
    """
    path = as_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            part = Path(folder) / "part"
            part.write_bytes(content)
            part.replace(path)
    except OSError as error:
        raise PathPatchError(f"cannot write {path}: {error}") from error
