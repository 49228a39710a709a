"""The repository of a class: everything but what would give withheld chapters away."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from exercises.catalogue import Exercise, exercises
from exercises.checks.cases import CHECKS, trial
from exercises.checks.judge import SEED
from exercises.room.inputs import pack
from exercises.room.plain import to_plain
from pathpatch.errors import PathPatchError
from solutions.canaries import canaries, find
from solutions.source import FOLDER, Task, stems, tasks

ROOT = FOLDER.parent
LEFT_OUT: tuple[str, ...] = (
    *("solutions/", "tests/mutants/", "tests/grading/", "tests/exercises/", ".ci/", ".github/"),
    *("tests/audit.py", "tests/test_audit.py", "tests/exam.py"),  # they read solutions
)
MADE = (".git", ".venv", "out", "__pycache__", "work", "kept", "progress.json", ".ready")
REPLACED = {  # file -> what stands in it about solutions, and what instead
    "README.md": [("Solutions are in `solutions/`, with the same names.\n", "")],
    "Makefile": [("exercises solutions", "exercises")],
}


def release(withheld: str, out: Path) -> list[Exercise]:
    """Write the repository of a class into a new folder.

    withheld: chapters, such as "5,6", or "all". Returns: the exercises that are withheld.
    Raises: PathPatchError for a chapter without exercises, a folder that has something in it, and
    where a solution is found in the result, which is then removed.
    """
    chosen = _chosen(withheld)
    if out.exists() and any(out.iterdir()):
        raise PathPatchError(f"{out} is not empty; a release is written into a new folder")
    for path in _files():
        new = out / path.relative_to(ROOT)
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, new)
        new.chmod(path.stat().st_mode & 0o777)
    for name, changes in REPLACED.items():
        text = (out / name).read_text(encoding="utf-8")
        for before, after in changes:
            text = text.replace(before, after)
        (out / name).write_text(text, encoding="utf-8")
    _store(chosen, out / "exercises" / "checks")
    _without_other_ways(chosen, out / "exercises" / "catalogue.json")
    if found := find(out, _hidden(chosen)):
        shutil.rmtree(out)
        raise PathPatchError(f"the release would give away {'; '.join(found)}; it is removed")
    return chosen


def _chosen(withheld: str) -> list[Exercise]:
    known = list(exercises().values())
    asked = {word.strip() for word in withheld.split(",")}
    chapters = {e.chapter for e in known}
    if unknown := asked - chapters - {"all"}:
        raise PathPatchError(
            f"chapter {sorted(unknown)[0]!r} has no exercises; --withhold takes some of "
            f"{', '.join(sorted(chapters, key=int))}, with commas, or all"
        )
    return [e for e in known if "all" in asked or e.chapter in asked]


def _files() -> list[Path]:
    """What belongs to the repository, but for what no class gets."""
    if (ROOT / ".git").exists():
        words = ["git", "ls-files", "-z"]
        listed = subprocess.run(words, cwd=ROOT, capture_output=True, check=True, text=True)
        names = [name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
        names = [path.as_posix() for path in paths if not {*MADE} & {*path.parts}]
    kept = [ROOT / name for name in names if not name.startswith(LEFT_OUT)]
    return [path for path in kept if path.is_file()]


def _store(chosen: list[Exercise], checks: Path) -> None:
    """In place of the checks of withheld chapters: calls, with what comes out of them."""
    folder = checks / "stored"
    folder.mkdir()
    functions = {task.function: (stem, task) for stem in stems() for task in tasks(stem)}
    stay = {Path(_file(e)).stem for e in chosen if e.kind == "open question"}
    gone = {p.stem for e in chosen for p in checks.glob(f"ch{int(e.chapter):02}_*.py")} - stay
    gone = _with_users(gone, checks)
    for e in exercises().values():
        if Path(_file(e)).stem not in gone:
            continue
        row = (
            _stored_calls(e, folder) if CHECKS[e.function].names else _form(*functions[e.function])
        )
        text = json.dumps(row, ensure_ascii=False) + "\n"
        (folder / f"{e.function}.json").write_text(text, encoding="utf-8")
    for name in gone:
        (checks / f"{name}.py").unlink()
    entrance = checks / "__init__.py"
    lines = entrance.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.strip().strip('",') not in gone]
    entrance.write_text("".join(kept), encoding="utf-8")


def _with_users(gone: set[str], checks: Path) -> set[str]:
    """These modules and all that import them: what a class needs of those is stored, too."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in checks.glob("ch*.py")}
    uses = {
        stem: {*re.findall(r"exercises\.checks\.(ch\w+)", text)} for stem, text in texts.items()
    }
    while more := {stem for stem, used in uses.items() if used & gone} - gone:
        gone = gone | more
    return gone


def _file(e: Exercise) -> str:
    check = CHECKS[e.function]
    return str((check.examine or check.solve).__code__.co_filename)


def _stored_calls(e: Exercise, folder: Path) -> dict[str, Any]:
    made, check = trial(e.function, SEED), CHECKS[e.function]
    cases = [made.case(number) for number in range(check.count)]
    results = [to_plain(check.solve(*case.args, slip=lambda words: False)) for case in cases]
    (folder / f"{e.function}.bin").write_bytes(pack([case.args for case in cases]))
    shown = [case.shown for case in cases]
    return {"names": check.names, "advice": check.advice, "shown": shown, "results": results}


def _form(stem: str, task: Task) -> dict[str, Any]:
    """The keys of an answer that is a dict; of another one, the docstring says the form."""
    shown = [f"{task.function}()"]
    signature = next(line for line in task.code.splitlines() if f"def {task.function}(" in line)
    if not re.search(r"-> dict\b", signature):
        return {"form": [], "shown": shown}
    space: dict[str, Any] = {}
    exec(compile(task.code, stem, "exec"), space)
    return {"form": list(space[task.function]()), "shown": shown}


def _without_other_ways(chosen: list[Exercise], path: Path) -> None:
    """What is said to who has passed is a solution as well."""
    data = json.loads(path.read_text(encoding="utf-8"))
    for row in data["exercises"]:
        if row["id"] in {e.id for e in chosen}:
            row["another_way"] = ""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _hidden(chosen: list[Exercise]) -> dict[str, str]:
    ids = {e.id for e in chosen}
    some = [task for stem in dict.fromkeys(e.stem for e in chosen) for task in tasks(stem)]
    return canaries([task for task in some if task.id in ids])
