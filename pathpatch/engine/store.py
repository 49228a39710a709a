"""Finished blocks of a sweep in a folder, so that a sweep that was stopped goes on from there."""

import hashlib
import io
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pathpatch.effects import Array
from pathpatch.engine.spec import Spec
from pathpatch.errors import PathPatchError
from pathpatch.files import as_path, write_file

CHECKSUM = hashlib.sha256().digest_size  # bytes
SIZES = ("block", "rows")  # of a `Spec`: what the memory allowed decides


class Blocks(dict[int, Array]):
    """Block number -> its values. Every new block is also written to the folder, whole or not.

    key: what the sweep's numbers depend on. shapes: of every block. A file ends with a checksum
    over the key, the number of the block and the values, so blocks that are damaged, of another
    sweep or another block's are not taken; they are computed again, which is said. Two sweeps that
    write into one folder never mix.

    Raises: PathPatchError when the folder holds another sweep, or something that is no file.
    """

    def __init__(self, folder: str | Path, key: dict[str, Any], shapes: list[tuple[int, int]]):
        super().__init__()
        self.folder = check_folder(Path(folder) / "blocks")
        text = json.dumps(key, indent=1)
        self.key = hashlib.sha256(text.encode()).digest()
        self._claim(json.loads(text), self.folder / "sweep.json")
        files = [self.folder / f"{number}.npy" for number in range(len(shapes))]
        found = {i: _content(file) for i, file in enumerate(files)}
        there = {i: content for i, content in found.items() if content is not None}
        for i, content in there.items():
            if (values := self._values(i, content, shapes[i])) is not None:
                super().__setitem__(i, values)
        if bad := sorted(there.keys() - self.keys()):
            print(
                f"{self.folder}: block(s) {', '.join(map(str, bad))} of {len(files)} are damaged "
                "or of another sweep, and are computed again",
                file=sys.stderr,
            )

    def _claim(self, key: dict[str, Any], file: Path) -> None:
        """Write down whose folder it is, or compare."""
        there = _key(file)
        if not there:  # none, or damaged: every block still has its key
            write_file(file, json.dumps(key, indent=1).encode())
            return
        other = [k for k in key | there if key.get(k) != there.get(k)]
        if other and set(other) <= set(SIZES):
            raise PathPatchError(
                f"{self.folder.parent} holds blocks of this sweep that were started with more "
                f"memory ({there.get('block')} prompts in a block, now {key['block']}); allow as "
                "much memory as then, choose another folder or delete this one"
            )
        if other:
            raise PathPatchError(
                f"{self.folder.parent} holds blocks of another sweep, which differs in "
                f"{', '.join(other)}; choose another folder or delete this one"
            )

    def _checksum(self, number: int, content: bytes) -> bytes:
        return hashlib.sha256(self.key + f"block {number}:".encode() + content).digest()

    def _values(self, number: int, content: bytes, shape: tuple[int, int]) -> Array | None:
        """The values in a file, if it is whole, this block, and holds what it should."""
        values, checksum = content[:-CHECKSUM], content[-CHECKSUM:]
        if self._checksum(number, values) != checksum:
            return None
        found = np.load(io.BytesIO(values), allow_pickle=False)
        return found if found.shape == shape and np.isfinite(found).all() else None

    def __setitem__(self, number: int, values: Array) -> None:
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        whole = content.getvalue() + self._checksum(number, content.getvalue())
        write_file(self.folder / f"{number}.npy", whole)
        super().__setitem__(number, values)


def check_folder(folder: str | Path) -> Path:
    """Make an output folder and try to write in it, before any work is done. Raises: PathPatchError
    when it cannot be written to."""
    folder = as_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise PathPatchError(f"cannot write into the folder {folder}: {error}") from error


def resized(spec: Spec, folder: str | Path) -> Spec:
    """The sweep in blocks of the sizes in the folder, where those need no more memory than its own.

    So a sweep that is started again with more memory goes on.
    """
    there = _key(Path(folder) / "blocks" / "sweep.json")
    block, rows = (there.get(name) for name in SIZES)
    if type(block) is int and type(rows) is int and 0 < block <= spec.block and rows <= spec.rows:
        return replace(spec, block=block, rows=rows)
    return spec


def _key(file: Path) -> dict[str, Any]:
    """What sweep.json says; empty where there is none, or it is damaged."""
    content = _content(file) or b""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _content(file: Path) -> bytes | None:
    """What is in a file; None where there is none. Raises: PathPatchError for what cannot be read,
    such as a folder of that name."""
    try:
        if file.exists() and not file.is_file():  # reading a pipe would wait for ever
            raise OSError("it is not a file")
        return file.read_bytes() if file.exists() else None
    except OSError as error:
        raise PathPatchError(
            f"cannot read {file}: {error}; delete it or choose another folder"
        ) from error
