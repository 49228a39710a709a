"""Tools for instructors: python -m solutions."""

import argparse
import os
import sys
from pathlib import Path

from pathpatch.errors import PathPatchError

Asked = argparse.Namespace


def main(words: list[str] | None = None) -> int:
    """Returns: the exit code, 0 where everything that was asked for is done."""
    parser = argparse.ArgumentParser(prog="python -m solutions", description=__doc__)
    commands = parser.add_subparsers(metavar="command", required=True)
    command = commands.add_parser("build", help="write the exercises and the blocks of the book")
    command.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    command.set_defaults(do=build_all)
    command = commands.add_parser("grade", help="grade a folder of submissions")
    command.add_argument("submissions", type=Path, help="a folder, or a zip of it: a .py or .ipynb "
                         "file, a folder or a zip of each learner")  # fmt: skip
    command.add_argument("--out", type=Path, required=True, help="where results go")
    command.add_argument("--key", type=Path, help="the file with the course key (see key); without "
                         "one, a new key is kept in OUT, and 6.3 takes any variant")  # fmt: skip
    command.add_argument("--only", default="", help="chapters or exercises, such as 5,6.1")
    command.add_argument(
        "--limit", type=float, default=5.0, help="seconds of processor time a call"
    )
    command.add_argument("--no-names", action="store_true", help="do not look for the mistake "
                         "behind a wrong value: faster")  # fmt: skip
    command.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    command.add_argument("--unsafe", action="store_true", help="where no sandbox works, run what "
                         "others wrote as you")  # fmt: skip
    command.set_defaults(do=grade_all)
    command = commands.add_parser("release", help="write the repository of a class, without the "
                                  "solutions of some chapters")  # fmt: skip
    command.add_argument("--withhold", required=True, help="chapters, such as 5,6, or all")
    command.add_argument("--out", type=Path, required=True, help="a new folder")
    command.set_defaults(do=release_class)
    command = commands.add_parser("key", help="write a new course key")
    command.add_argument("file", type=Path)
    command.set_defaults(do=write_key)
    command = commands.add_parser("variants", help="what each learner gets for 6.3")
    command.add_argument("learners", type=Path, help="a file with a name in each line, as the "
                         "submissions will be called")  # fmt: skip
    command.add_argument("--key", type=Path, required=True)
    command.set_defaults(do=show_variants)
    asked = parser.parse_args(words)
    try:
        return int(asked.do(asked))
    except PathPatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def build_all(asked: Asked) -> int:
    from solutions.build import build

    different = build(asked.check)
    for path in different:
        print(path, "differs" if asked.check else "written")
    if asked.check and different:
        print("These files are generated: change solutions/, then run python -m solutions build.")
        return 1
    return 0


def grade_all(asked: Asked) -> int:
    from exercises.catalogue import exercises
    from solutions.grading import keys
    from solutions.grading.plan import Plan
    from solutions.grading.run import grade

    only = tuple(word.strip() for word in asked.only.split(",") if word.strip())
    known = {name for e in exercises().values() for name in (e.id, e.chapter)}
    if unknown := [word for word in only if word not in known]:
        raise PathPatchError(f"--only: there is no chapter or exercise {unknown[0]!r}")
    own = asked.out / "course_key.txt"
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.key is None and not own.exists():
        keys.new_key(own)
    key = keys.read_key(asked.key or own)
    naming = not asked.no_names
    plan = Plan(key, asked.key is not None, asked.limit, only=only, naming=naming)
    workers = max(1, asked.workers)
    rows = grade(asked.submissions, asked.out, plan, unsafe=asked.unsafe, workers=workers)
    print(f"{len(rows)} learners: {asked.out / 'grades.csv'}, and a page for each in feedback/")
    if any(mark["points"] is None for row in rows for mark in row["marks"]):
        print("Open answers wait in to_mark/. Fill in marking.csv, then say the same again.")
    return 0


def release_class(asked: Asked) -> int:
    from solutions.release import release

    chosen = release(asked.withhold, asked.out)
    print(f"{asked.out}: {len(chosen)} exercises withheld, no solution of theirs found in it")
    return 0


def write_key(asked: Asked) -> int:
    from solutions.grading.keys import new_key

    new_key(asked.file)
    print(f"{asked.file}: keep it, and keep it to yourself; the same key gives the same cases.")
    return 0


def show_variants(asked: Asked) -> int:
    from solutions.grading.keys import read_key, variant

    key = read_key(asked.key)
    print("learner,6.3")
    for name in filter(None, asked.learners.read_text(encoding="utf-8").splitlines()):
        print(f"{name},{variant(key, name, '6.3')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
