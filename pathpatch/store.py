"""Finished blocks of a sweep, kept in a folder so that a sweep that was stopped goes on."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from pathpatch.effects import Array, check_folder, write_file
from pathpatch.errors import PathPatchError


class Blocks(dict[int, Array]):
    """Block number -> its values. Every new block is also written to the folder, whole or not.

    Raises: PathPatchError when the folder holds blocks of another sweep.
    """

    def __init__(self, folder: str | Path, key: dict[str, Any]) -> None:
        super().__init__()
        self.folder = check_folder(Path(folder) / "blocks")
        key = json.loads(json.dumps(key))
        spec = self.folder / "sweep.json"
        if spec.exists():
            there = json.loads(spec.read_text(encoding="utf-8"))
            if other := [k for k in key | there if key.get(k) != there.get(k)]:
                raise PathPatchError(
                    f"{folder} holds blocks of another sweep, which differs in "
                    f"{', '.join(other)}; choose another folder or delete this one"
                )
        else:
            write_file(spec, json.dumps(key, indent=1).encode())
        for file in self.folder.glob("*.npy"):
            super().__setitem__(int(file.stem), np.load(file))

    def __setitem__(self, number: int, values: Array) -> None:
        content = io.BytesIO()
        np.save(content, values)
        write_file(self.folder / f"{number}.npy", content.getvalue())
        super().__setitem__(number, values)
