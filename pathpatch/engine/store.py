"""Finished blocks of a sweep in a folder, so that a sweep that was stopped goes on from there."""

import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pathpatch.effects import Array
from pathpatch.errors import PathPatchError
from pathpatch.files import check_folder, write_file

CHECKSUM = hashlib.sha256().digest_size  # bytes


class Blocks(dict[int, Array]):
    """Block number -> its values. Every new block is also written to the folder, whole or not.

    key: what the sweep's numbers depend on. shapes: of every block. A file ends with a checksum
    over the key and the values, so blocks that are damaged or of another sweep are not taken; they
    are computed again, which is said. Two sweeps that write into one folder never mix.

    Raises: PathPatchError when the folder holds another sweep.
    """

    def __init__(self, folder: str | Path, key: dict[str, Any], shapes: list[tuple[int, int]]):
        super().__init__()
        self.folder = check_folder(Path(folder) / "blocks")
        text = json.dumps(key, indent=1)
        self.key = hashlib.sha256(text.encode()).digest()
        self._claim(json.loads(text), self.folder / "sweep.json")
        files = [self.folder / f"{number}.npy" for number in range(len(shapes))]
        there = {i: file.read_bytes() for i, file in enumerate(files) if file.exists()}
        for i, content in there.items():
            if (values := self._values(content, shapes[i])) is not None:
                super().__setitem__(i, values)
        if bad := sorted(there.keys() - self.keys()):
            print(
                f"{self.folder}: block(s) {', '.join(map(str, bad))} of {len(files)} are damaged "
                "or of another sweep, and are computed again",
                file=sys.stderr,
            )

    def _claim(self, key: dict[str, Any], file: Path) -> None:
        """Write down whose folder it is, or compare."""
        try:
            there = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # none, or damaged: every block still has its key
            write_file(file, json.dumps(key, indent=1).encode())
            return
        if other := [k for k in key | there if key.get(k) != there.get(k)]:
            raise PathPatchError(
                f"{self.folder.parent} holds blocks of another sweep, which differs in "
                f"{', '.join(other)}; choose another folder or delete this one"
            )

    def _checksum(self, content: bytes) -> bytes:
        return hashlib.sha256(self.key + content).digest()

    def _values(self, content: bytes, shape: tuple[int, int]) -> Array | None:
        """The values in a file, if it is whole, of this sweep, and holds what it should."""
        values, checksum = content[:-CHECKSUM], content[-CHECKSUM:]
        if self._checksum(values) != checksum:
            return None
        found = np.load(io.BytesIO(values), allow_pickle=False)
        return found if found.shape == shape and np.isfinite(found).all() else None

    def __setitem__(self, number: int, values: Array) -> None:
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        whole = content.getvalue() + self._checksum(content.getvalue())
        write_file(self.folder / f"{number}.npy", whole)
        super().__setitem__(number, values)
