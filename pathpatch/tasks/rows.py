"""Lists that a person wrote: JSON, JSONL or CSV, checked row by row."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.files import as_path, once, read, read_json

Row = TypeVar("Row")


def read_rows(path: str | Path, what: str) -> list[Any]:
    """Read a list of objects: JSON, or by the name of the file JSONL (.jsonl, .ndjson: an object
    in each line) or CSV (.csv, with tabs .tsv: a row for each object; the column `positions.S2` is
    the key S2 of `positions`; an empty cell is a key left out).

    Raises: PathPatchError for a file that is missing or not of this form.
    """
    kind = as_path(path).suffix.lower()
    if kind in (".csv", ".tsv"):
        mark = "\t" if kind == ".tsv" else ","
        return read(path, what, lambda text: _csv_rows(text, mark))
    if kind in (".jsonl", ".ndjson"):
        return read(path, what, _lines)
    rows = read_json(path, what)
    if not isinstance(rows, list):
        raise PathPatchError(f"{path}: expected a JSON list of objects, got {type(rows).__name__}")
    return rows


def as_kind(rows: Sequence[Any], kind: type[Row], path: str | Path, form: str) -> list[Row]:
    """Make of every row a dataclass. form: how a row should look, said after every problem.

    Raises: PathPatchError for keys that are unknown, missing, or hold another type.
    """
    for i, row in enumerate(rows):
        if problem := _problem(row, kind):
            raise PathPatchError(f"{path}, item {i}: {problem}. {form}")
    return [kind(**row) for row in rows]


def _lines(text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            rows += [json.loads(line, object_pairs_hook=once)] if line.strip() else []
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return rows


def _csv_rows(text: str, mark: str) -> list[dict[str, Any]]:
    try:
        table = list(csv.reader(io.StringIO(text), delimiter=mark, strict=True))
    except csv.Error as error:
        hint = "a quotation mark that is not closed takes in all that follows"
        raise ValueError(f"{error}; {hint}") from error
    header, *cells = [row for row in table if any(row)] or [[]]
    if len(header) == 1 and (other := re.search(r"[;\t,]", header[0])):
        raise ValueError(f"its columns are separated by {other[0]!r}; save it with {mark!r}")
    if len(set(header)) < len(header):
        raise ValueError(f"two columns of one name among {header}")
    rows: list[dict[str, Any]] = [{} for _ in cells]
    for number, (row, values) in enumerate(zip(rows, cells, strict=True)):
        if len(values) != len(header):
            raise ValueError(f"row {number} has {len(values)} cells, the header {len(header)}")
        for name, value in zip(header, values, strict=True):
            field, _, key = name.partition(".")
            if value and key:
                whole = value.strip().removeprefix("-").isdecimal()
                row.setdefault(field, {})[key] = int(value) if whole else value
            elif value:
                row[field] = value
    return rows


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
