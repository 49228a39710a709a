"""The Python text of a file that somebody handed in, whatever it is."""

import codecs
import json
import re

MOST = 2 << 20  # bytes of one file
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
WRAPPERS = ("%%time", "%%timeit", "%%capture")  # magics around a cell that is Python otherwise
LINE = re.compile(r"^[%?].*$|^.*\?\??$", re.MULTILINE)
SHELL = re.compile(r"^(\s*)!.*$", re.MULTILINE)


def python_text(name: str, data: bytes) -> tuple[str, list[str]]:
    """The text that is judged, and what a learner must know about how it was read.

    Nothing is run, and no file is refused: what cannot be read is an empty text.
    """
    if len(data) > MOST:
        return "", [f"{name} is larger than {MOST >> 20} MiB and was not read."]
    text, notes = _decoded(name, data)
    if "\0" in text:
        text, notes = (
            text.replace("\0", ""),
            [*notes, f"{name} has NUL characters; they are left out."],
        )
    if not text.strip():
        return "", [*notes, f"{name} is empty."]
    if name.lower().endswith(".ipynb"):
        text, more = _cells(name, text)
        notes += more
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _decoded(name: str, data: bytes) -> tuple[str, list[str]]:
    coding = next((c for mark, c in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(coding), []
    except UnicodeError:
        note = f"{name} is not written in UTF-8; what is not plain English may be read wrongly."
        return data.decode("latin-1"), [note]


def _cells(name: str, text: str) -> tuple[str, list[str]]:
    """The code cells of a notebook, each under a line that begins one for `room.pages`."""
    try:
        book = json.loads(text)
        sheets = [book, *book.get("worksheets", [])]  # those of old notebooks
        cells = [cell for sheet in sheets for cell in sheet.get("cells", [])]
        code = [_source(cell) for cell in cells if cell.get("cell_type") == "code"]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return "", [f"{name} is not a notebook that can be read."]
    found, left_out = [], 0
    for number, source in enumerate(code, 1):
        if source.lstrip().startswith("%%") and not source.lstrip().startswith(WRAPPERS):
            left_out += 1
            continue
        plain = SHELL.sub(r"\1pass", LINE.sub("", source))
        found.append(f"# %% code cell {number}\n{plain}\n")
    note = f"{name}: {left_out} cells of another language (%%) are left out."
    return "\n".join(found), [note] if left_out else []


def _source(cell: dict[str, object]) -> str:
    source = cell.get("source", cell.get("input", ""))
    return "".join(map(str, source)) if isinstance(source, list) else str(source)
