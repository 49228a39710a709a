"""Whether a solution stands in a folder, wherever: in code, JSON, notebooks, pages, archives."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from solutions.source import Task

SHORTEST = 30  # letters and digits, below which a text says nothing
SENTENCE = re.compile(r"^ *# (Canary [0-9a-f]{16}): stays with instructors\.\n", re.MULTILINE)
SOLUTION = re.compile(r"^[ ]*# solution\n(.*?)^[ ]*# (?:instead|end of solution)$", re.M | re.S)


def canaries(some: list[Task]) -> dict[str, str]:
    """What must not be found, normalised -> what it is, in words."""
    found: dict[str, str] = {}
    for task in some:
        code = "\n".join(SOLUTION.findall(f"{task.code}\n"))
        found |= {plain(line): f"{task.id}: canary" for line in SENTENCE.findall(code)}
        pieces = {"solution": SENTENCE.sub("", code)}
        pieces |= {part: task.parts.get(part, "") for part in ("Another way", "Worked answer")}
        for name, piece in pieces.items():
            if len(plain(piece)) >= SHORTEST:
                found[plain(piece)] = f"{task.id}: {name.lower()}"
    return found


def plain(text: str) -> str:
    """Letters and digits alone: neither layout nor mark-up hides anything."""
    return re.sub(r"[\W_]+", "", re.sub(r"<[^>]*>", "", text)).lower()


def find(folder: Path, hidden: dict[str, str]) -> list[str]:
    """Where something hidden stands, in words; none where all is well."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            for name, text in _texts(path.name, path.read_bytes()):
                shown = plain(text)
                where = path.relative_to(folder) / ("" if name == path.name else name)
                found += [f"{where}: {what}" for piece, what in hidden.items() if piece in shown]
    return found


def _texts(name: str, data: bytes) -> Iterator[tuple[str, str]]:
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for inner in archive.namelist():
                yield from _texts(inner, archive.read(inner))
        return
    text = data.decode("utf-8", errors="ignore")
    yield name, text
    if name.endswith((".json", ".ipynb")):
        try:
            yield name, "\n".join(_strings(json.loads(text)))
        except ValueError:
            return


def _strings(of: Any) -> Iterator[str]:
    """The texts of a JSON value; the lines of a notebook's cell follow one another."""
    if isinstance(of, str):
        yield of
    elif isinstance(of, dict | list):
        for part in of.values() if isinstance(of, dict) else of:
            yield from _strings(part)
