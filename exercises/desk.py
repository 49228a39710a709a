"""The learner's desk: check a function, ask for a hint, find what was written in a file."""

import ast
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import exercises.checks  # noqa: F401  every check, by name
from exercises import progress
from exercises.catalogue import FOLDER, Exercise, keep, named, pages
from exercises.catalogue import exercises as all_exercises
from exercises.judge import LIMIT, Verdict, judge
from pathpatch.errors import PathPatchError, did_you_mean

_reading = False  # while a file is read for its functions, its own calls of `check` do nothing


def check(function: Callable[..., Any]) -> bool:
    """See `exercises.check`."""
    if _reading:
        return False
    name = getattr(function, "__name__", repr(function))
    exercise = named(name)
    if exercise is None:
        functions = [e.function for e in all_exercises().values()]
        hint_ = did_you_mean(name, functions)
        raise PathPatchError(f"no exercise has a function {name!r}; {hint_}")
    verdict = mark(exercise, function)
    print(verdict.text)
    return verdict.state in ("passed", "handed in")


def mark(exercise: Exercise, function: Callable[..., Any], limit: float = LIMIT) -> Verdict:
    """Judge a function and record the result."""
    verdict = judge(exercise, function, limit)
    tries = progress.of(exercise.id)["tries"] + (verdict.state != "untouched")
    progress.record(exercise.id, state=verdict.state, tries=tries)
    return verdict


def hint(name: str) -> None:
    """See `exercises.hint`."""
    exercise = find(name)
    given = progress.of(name)["hints"]
    level = min(given, len(exercise.hints) - 1)
    print(f"{name}, hint {level + 1} of {len(exercise.hints)}: {exercise.hints[level]}")
    progress.record(name, hints=max(given, level + 1))
    if level + 1 == len(exercise.hints):
        print("\n".join(exercise.helps))


def find(name: str) -> Exercise:
    """The exercise with this id. Raises: PathPatchError for another name."""
    known = all_exercises()
    if name not in known:
        raise PathPatchError(f"there is no exercise {name!r}; {did_you_mean(name, known)}")
    return known[name]


@dataclass
class Page:
    """An exercise file as it was read: its functions, and what could not be read."""

    path: Path
    names: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""


def read_page(stem: str, folder: Path = FOLDER) -> Page:
    """Read a file for its functions. A line that fails does not hide the functions after it."""
    page = Page(folder / f"{stem}.py")
    try:
        text = page.path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except OSError:
        page.trouble = f"{page.path.name} is not there; `python -m exercises reset` brings it back"
        return page
    except (SyntaxError, UnicodeDecodeError) as error:
        line = getattr(error, "lineno", "?")
        what = (getattr(error, "text", "") or "").strip()
        page.trouble = f"{page.path.name}, line {line}:  {what}\n  Python cannot read it: {error}"
        return page
    page.names = {"__name__": stem, "__file__": str(page.path)}
    with _reading_only():
        for statement in tree.body:
            code = compile(ast.Module([statement], []), str(page.path), "exec")
            try:
                exec(code, page.names)
            except Exception as error:
                line = f"{page.path.name}, line {statement.lineno}"
                page.trouble = page.trouble or f"{line}: {type(error).__name__}: {error}"
    return page


@contextmanager
def _reading_only() -> Any:
    global _reading
    _reading = True
    try:
        yield
    finally:
        _reading = False


def check_page(page: Page, exercise: Exercise, limit: float = LIMIT) -> Verdict:
    """Judge what a file has for an exercise."""
    label = f"{exercise.id} {exercise.function}"
    function = page.names.get(exercise.function)
    if callable(function):
        return mark(exercise, function, limit)
    why = page.trouble or f"{page.path.name} has no function {exercise.function}"
    reset = f"`python -m exercises reset {exercise.id}` puts the empty one back"
    return Verdict("failed", f"{label}: cannot be checked.\n  {why}.\n  {reset}.")


def reset(exercise: Exercise, folder: Path = FOLDER) -> Path | None:
    """Put the empty function back. Returns: where the file as it was is kept (None: no file)."""
    path, fresh = folder / f"{exercise.stem}.py", pages()[exercise.stem]
    kept = None
    text = fresh
    if path.exists():
        old = path.read_text(encoding="utf-8", errors="replace")
        kept = keep(path)
        text = _with_stub(old, cut(fresh, exercise.function), exercise)
    path.write_text(text, encoding="utf-8")
    progress.record(exercise.id, **progress.FRESH)
    return kept


def cut(text: str, function: str) -> str:
    """The source of a function in a file, or "" where it is not or cannot be read."""
    where = _lines_of(text, function)
    return "\n".join(text.splitlines()[where]) if where else ""


def _with_stub(text: str, stub: str, exercise: Exercise) -> str:
    lines, where = text.splitlines(), _lines_of(text, exercise.function)
    if where is None:  # deleted, or the file is not Python any more: put it at the end
        lines = [*lines, "", f"# %% {exercise.id}, put back", stub]
    else:
        lines[where] = stub.splitlines()
    return "\n".join(lines) + "\n"


def _lines_of(text: str, function: str) -> slice | None:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for node in reversed(tree.body):  # the last one of that name is the one that counts
        if isinstance(node, ast.FunctionDef) and node.name == function:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return slice(first - 1, node.end_lineno)
    return None


def say(text: str) -> None:
    """Print for a person who waits: at once."""
    print(text, file=sys.stdout, flush=True)
