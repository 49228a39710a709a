"""Read an exercise file for its functions."""

import ast
import json
import linecache
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import exercises


@dataclass
class Page:
    """What a file defines. trouble: what could not be read, in words."""

    names: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""

    def functions(self) -> list[str]:
        return [name for name, thing in self.names.items() if callable(thing)]


def read_page(path: str | Path, limit: float) -> Page:
    """Run a file, statement by statement. One that fails does not hide the functions after it.

    limit: seconds for one statement.
    """
    path, page = Path(path), Page()
    try:
        text = code_of(path)
        statements, page.trouble = statements_of(text, path.name)
    except (OSError, ValueError) as error:  # `desk` has said where and what
        page.trouble = f"{path.name}: {error}"
        return page
    linecache.cache[str(path)] = (len(text), None, text.splitlines(True), str(path))
    page.names = {"__name__": path.stem, "__file__": str(path)}
    with _reading():
        for statement in statements:
            code = compile(ast.Module([statement], []), str(path), "exec")
            try:
                in_time(lambda code=code: exec(code, page.names), limit)  # type: ignore[misc]
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                what = f"{path.name}, line {statement.lineno}: {type(error).__name__}: {error}"
                page.trouble = page.trouble or what
    return page


def statements_of(text: str, name: str) -> tuple[list[ast.stmt], str]:
    """The statements of a text; where Python cannot read it, those of the cells that it can read.

    Returns: with them, what could not be read, in words. Raises: ValueError for a NUL in the text.
    """
    try:
        return ast.parse(text).body, ""
    except SyntaxError as error:
        trouble = f"{name}: {error}"
    found: list[ast.stmt] = []
    for cell in CELLS.finditer(text):
        above = "\n" * text.count("\n", 0, cell.start())  # so that every line keeps its number
        with suppress(SyntaxError):
            found += ast.parse(above + cell.group()).body
    return found, trouble


CELLS = re.compile(r"(?s)(?:\A|^# %%).*?(?=^# %%|\Z)", re.MULTILINE)


def code_of(path: Path) -> str:
    """The Python text of a file, or of the code cells of a notebook without their magics.

    Raises: OSError, and ValueError for a file that is no text or no notebook.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    try:
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return "\n\n".join(MAGIC.sub("", "".join(cell["source"])) for cell in cells) + "\n"
    except (KeyError, TypeError) as error:
        raise ValueError("it is not a notebook") from error


MAGIC = re.compile(r"^[%!?].*$|^.*\?$", re.MULTILINE)


def in_time(work: Callable[[], Any], limit: float) -> Any:
    """What `work` returns. Raises: TimeoutError after so many seconds of the clock."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"it had not come back after {limit:g} seconds, and was stopped")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _reading() -> Iterator[None]:
    """While a file is read for its functions, its own calls of `check` and `hint` do nothing."""
    kept = exercises.check, exercises.hint
    exercises.check, exercises.hint = lambda function: False, lambda name: None
    try:
        yield
    finally:
        exercises.check, exercises.hint = kept
