"""Who handed in what: a folder with a file, a folder or a zip of each learner, or a zip of it all.

Nothing that is a link is followed, no name leads out of its folder, and no archive is unpacked
further than to the limits below.
"""

import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pathpatch.errors import PathPatchError
from solutions.grading.texts import MOST

FILES, DEPTH, ALL = 60, 8, 16 << 20  # of one learner: files, folders in folders, bytes in all
READ = (".py", ".ipynb")
IGNORED = (".", "__", "~$")  # how names begin that no learner has made
MOODLE = re.compile(r"^(?P<who>.+_\d+)_assignsubmission_\w*$")
CANVAS = re.compile(r"^(?P<who>[^_]+_(?:LATE_)?\d+)_\d+_(?P<what>.+)$")


@dataclass
class Submission:
    """What one learner has handed in. files: name -> content. notes: what was not read, and why."""

    learner: str
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, data: bytes) -> None:
        taken = sum(map(len, self.files.values()))
        if len(self.files) >= FILES or taken + len(data) > ALL:
            self.note(f"More than {FILES} files or {ALL >> 20} MiB: the rest was not read.")
        else:
            self.files[name] = data

    def note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < 20:
            self.notes.append(text)


def learners(folder: Path) -> dict[str, list[Path]]:
    """Learner -> the entries of the folder that are theirs, in the order of their names.

    Raises: PathPatchError where there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise PathPatchError(f"{folder} is no folder with submissions (nor a zip of one)")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(IGNORED):
            continue
        if path.is_symlink() or path.is_dir() or path.suffix.lower() in (*READ, ".zip"):
            found.setdefault(_who(path), []).append(path)
    if not found:
        raise PathPatchError(
            f"{folder} has no submissions: expected a .py or .ipynb file, a folder or a zip of "
            "each learner"
        )
    return found


def _who(path: Path) -> str:
    name = path.name if path.is_dir() and not path.is_symlink() else path.stem
    for layout in (MOODLE, CANVAS):
        if match := layout.match(name):
            return match["who"].replace("_LATE_", "_")
    return name


def collect(learner: str, entries: list[Path]) -> Submission:
    """Read what a learner has handed in. Never raises for what it finds."""
    found = Submission(learner)
    for path in entries:
        if path.is_symlink():
            found.note("A link was handed in; what it leads to was not read.")
        elif path.is_dir():
            for file in _walk(path, found):
                _take(file, str(file.relative_to(path)), found)
        else:
            match = CANVAS.match(path.name)
            _take(path, match["what"] if match else path.name, found)
    return found


def _walk(folder: Path, found: Submission, depth: int = DEPTH) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(IGNORED):
            continue
        if path.is_symlink():
            found.note("A link was handed in; what it leads to was not read.")
        elif path.is_dir() and depth:
            yield from _walk(path, found, depth - 1)
        elif path.is_file():
            yield path


def _take(path: Path, name: str, found: Submission) -> None:
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (*READ, ".zip"):
        return
    try:
        if suffix == ".zip":
            for inner, data in unzipped(path, found):
                found.add(inner, data)
        else:
            with path.open("rb") as file:
                found.add(name, file.read(MOST + 1))
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        found.note(f"A file could not be read ({type(error).__name__}).")


def unzipped(path: Path, found: Submission) -> Iterator[tuple[str, bytes]]:
    """The files of an archive that are read. Raises: BadZipFile, RuntimeError (encrypted)."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist()[: 50 * FILES]:
            place = PurePosixPath(entry.filename.replace("\\", "/"))
            if stat.S_ISLNK(entry.external_attr >> 16):
                found.note("A link was handed in; what it leads to was not read.")
            elif place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
                found.note("A name in the archive leads out of its folder; it was not read.")
            elif place.suffix.lower() in READ and not any(
                part.startswith(IGNORED) for part in place.parts
            ):
                with archive.open(entry) as file:  # its size is what comes out, not what it says
                    yield str(place), file.read(MOST + 1)


def unpack_all(archive: Path, into: Path) -> Path:
    """A zip of all submissions, as learning platforms give them out, laid out as a folder.

    Raises: PathPatchError for a file that is no archive.
    """
    try:
        with zipfile.ZipFile(archive) as whole:
            for entry in whole.infolist():
                place = PurePosixPath(entry.filename.replace("\\", "/"))
                strange = place.is_absolute() or ".." in place.parts or entry.is_dir()
                if strange or stat.S_ISLNK(entry.external_attr >> 16):
                    continue
                file = into.joinpath(*place.parts)
                file.parent.mkdir(parents=True, exist_ok=True)
                with whole.open(entry) as data:
                    file.write_bytes(data.read(ALL))
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise PathPatchError(f"{archive} cannot be unpacked: {error}") from error
    inside = [path for path in into.iterdir() if not path.name.startswith(IGNORED)]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else into
