"""Grade a class: each learner in turn, on several processors; what is done is kept."""

import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from exercises.catalogue import FOLDER
from pathpatch.errors import PathPatchError
from solutions.grading.collect import Submission, collect, learners, unpack_all
from solutions.grading.mark import Marker
from solutions.grading.plan import Mark, Plan
from solutions.grading.sandbox import REFUSAL, UNSAFE, Cell, Keeper, kind_here
from solutions.grading.stage import make_stage
from solutions.grading.tables import Row, merge_form, slug, write, write_all
from solutions.grading.texts import python_text

UNSAFE_WARNING = "Graded without a sandbox (--unsafe): answers ran as the user who graded."
CRASHED = "What was handed in ended the grader's process twice; nothing in it counts."
_worker: dict[str, Any] = {}  # in a worker: plan, stage, kind, keepers


def grade(submissions: Path, out: Path, plan: Plan, *, unsafe: bool, workers: int) -> list[Row]:
    """Grade all submissions into a folder. What that folder has of the same files stays.

    Returns: a row for each learner. Raises: PathPatchError, for one where no sandbox works.
    """
    if not (kind := kind_here()) and not unsafe:
        raise PathPatchError(REFUSAL)
    kind = kind or UNSAFE
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="grading-") as work:
        if submissions.suffix == ".zip":
            submissions = unpack_all(submissions, Path(work) / "unpacked")
        everyone = learners(submissions)
        plan = replace(plan, learners=tuple(everyone))
        stage = make_stage(Path(work) / "stage")
        Path(work).chmod(0o755)
        log = _log(out, f"{len(everyone)} learners, sandbox: {kind}")
        rows, todo = {}, {}
        for learner, entries in everyone.items():
            digest = _digest(collect(learner, entries), plan)
            kept = _kept(out, learner, digest)
            if kept is None:
                todo[learner] = (entries, digest)
            else:
                rows[learner] = kept
        log(f"{len(rows)} are graded already, {len(todo)} to go")
        bar = tqdm(total=len(everyone), initial=len(rows), unit=" learners", file=sys.stderr)
        for row, digest in _graded(todo, (plan, stage, kind), workers):
            rows[row["learner"]] = row
            seconds = row.pop("seconds")
            text = json.dumps({"digest": digest, "row": row}, ensure_ascii=False)
            write(out / "state" / f"{slug(row['learner'])}.json", text)
            points = [f"{m['id']} {m['state']}" for m in row["marks"]]
            log(f"{row['learner']!r} in {seconds:.1f} s: {', '.join(points)}")
            bar.update()
        bar.close()
    found = [rows[learner] for learner in everyone]
    merge_form(found, out / "marking.csv")
    write_all(found, out, UNSAFE_WARNING if kind == UNSAFE else "")
    log("all written")
    return found


def _log(out: Path, first: str) -> Callable[[str], None]:
    path = out / "log.txt"

    def log(text: str) -> None:
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    log(first)
    return log


def _digest(found: Submission, plan: Plan) -> str:
    """Of everything that the points depend on."""
    digest = hashlib.sha256()
    learners = plan.learners if plan.own_key else ()
    digest.update(repr((found.learner, found.notes, replace(plan, learners=learners))).encode())
    for name, data in sorted(found.files.items()):
        digest.update(repr((name, len(data))).encode("utf-8", "replace") + data)
    for folder in (FOLDER / "checks", FOLDER / "room", Path(__file__).parent):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _kept(out: Path, learner: str, digest: str) -> Row | None:
    try:
        found = json.loads((out / "state" / f"{slug(learner)}.json").read_text(encoding="utf-8"))
        row: Row = found["row"]
        return row if found["digest"] == digest and row["learner"] == learner else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


Todo = dict[str, tuple[list[Path], str]]


def _graded(todo: Todo, setting: tuple[Any, ...], workers: int) -> Iterator[tuple[Row, str]]:
    """Rows as they come. A submission that ends its worker is tried once more, alone."""
    alone: list[str] = []
    left = dict(todo)
    for row in _in_pool(left, setting, workers):
        yield row, left.pop(row["learner"])[1]
    alone = list(left)
    for learner in alone:
        entries, digest = left[learner]
        rows = list(_in_pool({learner: (entries, digest)}, setting, 1))
        yield (rows[0] if rows else _nothing(learner, setting[0], CRASHED)), digest


def _in_pool(todo: Todo, setting: tuple[Any, ...], workers: int) -> Iterator[Row]:
    context = multiprocessing.get_context("spawn")  # a copy of this process could hold locks
    many = max(1, min(workers, len(todo)))
    if not todo:
        return
    with ProcessPoolExecutor(many, context, _settle, setting) as pool:
        jobs = [pool.submit(_one, learner, entries) for learner, (entries, _) in todo.items()]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BrokenProcessPool:
            return
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _nothing(learner: str, plan: Plan, note: str) -> Row:
    marks = [asdict(Mark(e.id, e.points)) for e in plan.exercises()]
    return {"learner": learner, "marks": marks, "notes": [note], "seconds": 0.0}


# ---- in a worker ----


def _settle(plan: Plan, stage: Path, kind: str) -> None:
    """Get ready. When the grader dies, this process does, and its sandbox with it."""
    from exercises.room.process import furnish

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    keepers: list[Keeper] = []

    def make() -> Cell:
        if not keepers or keepers[-1].process.poll() is not None:
            keepers.append(Keeper(stage, kind))
        return Cell(keepers[-1])

    furnish(make)
    _worker.update(plan=plan, keepers=keepers)


def _one(learner: str, entries: list[Path]) -> Row:
    """Grade one learner, in a room that nobody has used."""
    from exercises.room.process import leave

    began = time.monotonic()
    found = collect(learner, entries)
    texts, notes = {}, list(found.notes)
    for name, data in sorted(found.files.items()):
        texts[name], more = python_text(name, data)
        notes += more
    if not texts:
        notes.append("No .py file and no notebook was handed in.")
    leave()
    try:
        marks = Marker(learner, texts, _worker["plan"], _worker["keepers"]).marks()
    finally:
        leave()
    rows = [asdict(mark) for mark in marks]
    seconds = time.monotonic() - began
    return {"learner": learner, "marks": rows, "notes": notes, "seconds": seconds}
