"""The learner's files: where a function stands in them, what is written, how a stub is put back."""

import ast
import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path

from exercises import catalogue, progress
from exercises.catalogue import Exercise, keep, pages
from exercises.room.pages import code_of

MISSING = "{} is not there. python -m exercises start makes your copies of the exercise files."


def path_of(exercise: Exercise, notebook: bool = False) -> Path:
    """The learner's copy."""
    return catalogue.WORK / f"{exercise.stem}{'.ipynb' if notebook else '.py'}"


def start() -> list[Path]:
    """Copy every exercise file that the learner has no copy of yet. Returns: the new copies."""
    catalogue.WORK.mkdir(parents=True, exist_ok=True)
    made = []
    for stem, text in pages().items():
        for suffix in (".py", ".ipynb"):
            origin, copy = (f / f"{stem}{suffix}" for f in (catalogue.FOLDER, catalogue.WORK))
            if copy.exists():
                continue
            if origin.exists():  # with what somebody may have written in it
                copy.write_bytes(origin.read_bytes())
            elif suffix == ".py":
                copy.write_text(text, encoding="utf-8")
            else:
                continue
            made.append(copy)
    return made


def trouble_in(path: Path) -> str:
    """Why nothing of a file can be read, in words; "" where it can."""
    name = path.name
    try:
        text = code_of(path)
        ast.parse(text)
    except OSError:
        return MISSING.format(name)
    except SyntaxError as error:
        return f"Python cannot read {name}: {error.msg}.\n  {_place(path.stem, text, error)}"
    except ValueError as error:
        return f"Python cannot read {name}: {error}."
    return ""


def _place(stem: str, text: str, error: SyntaxError) -> str:
    """The line that Python cannot read, and the exercise in which it is."""
    number = error.lineno or 1
    place = f"line {number}:  {(error.text or '').strip()}"
    for e in catalogue.exercises().values():
        where = lines_of(text, e.function) if e.stem == stem else None
        if where and where.start < number <= where.stop:
            back = f"python -m exercises reset {e.id} puts the empty function back"
            return f"{place}\n  That is in {e.id} {e.function}: mend it, or {back}."
    return place


def has_work(exercise: Exercise, path: Path) -> bool:
    """Whether something was written in the function of an exercise."""
    try:
        text = code_of(path)
    except (OSError, ValueError):
        return False
    return _own(text, exercise).strip() not in ("", _stub(exercise).strip())


def _own(text: str, exercise: Exercise) -> str:
    return "\n".join(text.splitlines()[lines_of(text, exercise.function) or slice(0)])


def _stub(exercise: Exercise) -> str:
    return _own(pages()[exercise.stem], exercise)


def reset(exercise: Exercise, notebook: bool = False) -> Path | None:
    """Put the empty function back. Returns: where the file as it was is kept (None: no file)."""
    path, kept = path_of(exercise, notebook), None
    if path.exists():
        kept = keep(path)
        text = path.read_text(encoding="utf-8", errors="replace")
        path.write_text(_put_back(text, exercise, notebook), encoding="utf-8")
    else:
        start()
    progress.forget(exercise.id)
    return kept


def _put_back(text: str, exercise: Exercise, notebook: bool) -> str:
    if not notebook:
        return _with_stub(text, exercise)
    book = json.loads(text)
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and lines_of(source, exercise.function):
            cell["source"] = _with_stub(source, exercise).rstrip("\n").splitlines(keepends=True)
            cell["outputs"] = []
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def _with_stub(text: str, exercise: Exercise) -> str:
    lines, where = text.splitlines(), lines_of(text, exercise.function)
    stub = _stub(exercise).splitlines()
    if where is None:
        lines += ["", f"# %% {exercise.id}, put back", *stub]
    else:
        lines[where] = stub
    return "\n".join(lines) + "\n"


def sources(chosen: Iterable[Exercise], notebook: bool = False) -> dict[str, str]:
    """Id -> what a result depends on: the function, and all code around that is no exercise's."""
    found: dict[str, str] = {}
    for path in dict.fromkeys(path_of(e, notebook) for e in chosen):
        try:
            text = code_of(path)
        except (OSError, ValueError):
            text = ""
        around = text.splitlines()
        of_stem = [e for e in catalogue.exercises().values() if e.stem == path.stem]
        where = {e.id: lines_of(text, e.function) or slice(0) for e in of_stem}
        own = {name: "\n".join(around[lines]) for name, lines in where.items()}
        for lines in where.values():
            around[lines] = [""] * len(around[lines])
        code = [x for x in around if x.strip() and not x.startswith(("#", "check(", "hint("))]
        found |= {name: "\n".join([*code, text]) for name, text in own.items()}
    return found


@functools.lru_cache(64)
def lines_of(text: str, function: str) -> slice | None:
    """The lines of a function: the last of that name, as it is the one that counts."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # not Python any more: up to the next cell, or function
        start = rf"^def {function}\b.*\n"
        rest = r"(?:(?!# %%|def |check\().*\n)*"
        found = re.search(start + rest, text + "\n", re.MULTILINE)
        if found is None:
            return None
        first = text[: found.start()].count("\n")
        return slice(first, first + found.group().rstrip().count("\n") + 1)
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
            return slice(first, node.end_lineno)
    return None
