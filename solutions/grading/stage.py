"""The tree that a sandbox sees: the library and the room, and nothing that is right."""

import compileall
import shutil
import sys
import sysconfig
from pathlib import Path

from pathpatch.errors import PathPatchError
from solutions.source import FOLDER

ROOT = FOLDER.parent
INSIDE = ("inside.py", "landlock.py")
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin")  # what Python's own libraries need
MASKED = ("solutions", "exercises", "tests", "mutants", "pathpatch")  # an install that is a copy


def make_stage(at: Path) -> Path:
    """Copy what an answer may import. Returns: the folder, readable for everyone."""
    room = at / "room"
    hidden = shutil.ignore_patterns(
        "__pycache__", "checks", "work", "kept", "ch[0-9]*", "progress.json"
    )
    shutil.copytree(ROOT / "pathpatch", room / "pathpatch", ignore=hidden)
    shutil.copytree(ROOT / "exercises", room / "exercises", ignore=hidden)
    (at / "start").mkdir()
    for name in INSIDE:
        shutil.copyfile(Path(__file__).parent / name, at / "start" / name)
    compileall.compile_dir(at, quiet=2)
    for path in [at, *at.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return at


def python_folders() -> list[Path]:
    """Where Python and the packages are. Raises: PathPatchError where that would show solutions."""
    found = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    for folder in found:
        if folder == ROOT or folder in ROOT.parents:
            raise PathPatchError(
                f"the grader's repository, {ROOT}, is inside the folder of Python, {folder}, which "
                "answers must be able to read; move it elsewhere"
            )
    return sorted(found)


def masked_folders() -> list[Path]:
    """Copies of our packages among the installed ones, which an answer must not see."""
    places = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    return [place / name for place in places for name in MASKED if (place / name).exists()]
