"""The learner's desk: check a function, find what was written in a file, put a stub back."""

import ast
import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import exercises
from exercises import catalogue, progress
from exercises.catalogue import Exercise, keep, named, pages
from exercises.checks.fences import in_time
from exercises.checks.judge import LIMIT, Verdict, judge
from pathpatch.errors import PathPatchError, did_you_mean


def check(function: Callable[..., Any]) -> bool:
    """See `exercises.check`."""
    if not callable(function):
        raise PathPatchError(f"check takes the function itself: check(pass_c), not {function!r}")
    name = getattr(function, "__name__", repr(function))
    exercise = named(name)
    if exercise is None:
        functions = [e.function for e in catalogue.exercises().values()]
        raise PathPatchError(f"no exercise asks for {name!r}; {did_you_mean(name, functions)}")
    verdict = mark(exercise, function)
    print(verdict.text)
    return verdict.right


def mark(exercise: Exercise, function: Callable[..., Any], limit: float = LIMIT) -> Verdict:
    """Judge a function and record the result."""
    verdict = judge(exercise, function, limit)
    tries = progress.of(exercise.id)["tries"] + (verdict.state != "untouched")
    progress.record(exercise.id, state=verdict.state, tries=tries)
    return verdict


@dataclass
class Page:
    """An exercise file as it was read: its functions, and what could not be read."""

    path: Path
    names: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""


def read_page(stem: str, folder: Path | None = None, limit: float = LIMIT) -> Page:
    """Read a file for its functions. A line that fails does not hide the functions after it."""
    page = Page((folder or catalogue.FOLDER) / f"{stem}.py")
    name = page.path.name
    try:
        text = page.path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except OSError:
        page.trouble = f"{name} is not there."
        return page
    except SyntaxError as error:
        page.trouble = f"Python cannot read {name}: {error.msg}.\n  {_place(stem, text, error)}"
        return page
    except ValueError as error:
        page.trouble = f"Python cannot read {name}: {error}."
        return page
    page.names = {"__name__": stem, "__file__": str(page.path)}
    with _reading():
        for statement in tree.body:
            code = compile(ast.Module([statement], []), str(page.path), "exec")
            try:
                in_time(lambda code=code: exec(code, page.names), limit)  # type: ignore[misc]
            except (Exception, SystemExit) as error:
                what = f"{name}, line {statement.lineno}: {type(error).__name__}: {error}"
                page.trouble = page.trouble or what
    return page


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


@contextmanager
def _reading() -> Iterator[None]:
    """While a file is read for its functions, its own calls of `check` and `hint` do nothing."""
    kept = exercises.check, exercises.hint
    exercises.check, exercises.hint = lambda function: False, lambda name: None
    try:
        yield
    finally:
        exercises.check, exercises.hint = kept


def check_page(page: Page, exercise: Exercise, limit: float = LIMIT) -> Verdict:
    """Judge what a file has for an exercise."""
    function = page.names.get(exercise.function)
    if callable(function):
        return mark(exercise, function, limit)
    why = f"{page.path.name} cannot be read"
    if page.names:
        why = f"{page.path.name} has no such function, or it failed"
        why += f".\n  python -m exercises reset {exercise.id} puts the empty one back"
    return Verdict("failed", f"{exercise.id} {exercise.function}: cannot be checked; {why}.")


def reset(exercise: Exercise) -> Path | None:
    """Put the empty function back. Returns: where the file as it was is kept (None: no file)."""
    path, fresh = catalogue.FOLDER / f"{exercise.stem}.py", pages()[exercise.stem]
    kept, text = None, fresh
    if path.exists():
        kept = keep(path)
        text = _with_stub(path.read_text(encoding="utf-8", errors="replace"), fresh, exercise)
    path.write_text(text, encoding="utf-8")
    progress.forget(exercise.id)
    return kept


def _with_stub(text: str, fresh: str, exercise: Exercise) -> str:
    lines, where = text.splitlines(), lines_of(text, exercise.function)
    stub = fresh.splitlines()[lines_of(fresh, exercise.function) or slice(0)]
    if where is None:
        lines += ["", f"# %% {exercise.id}, put back", *stub]
    else:
        lines[where] = stub
    return "\n".join(lines) + "\n"


def sources(chosen: list[Exercise]) -> dict[str, str]:
    """Id -> what a result depends on: the function, and all code around that is no exercise's."""
    found: dict[str, str] = {}
    for stem in dict.fromkeys(e.stem for e in chosen):
        path = catalogue.FOLDER / f"{stem}.py"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        around = text.splitlines()
        of_stem = [e for e in catalogue.exercises().values() if e.stem == stem]
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
