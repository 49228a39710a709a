"""The exercises at the terminal: python -m exercises."""

import argparse
import sys
import time
from collections.abc import Callable

from exercises import catalogue, files, hints, progress
from exercises.catalogue import Exercise, find
from exercises.room import process

Asked = argparse.Namespace  # what: the exercises; notebook: whether; seed: of the cases, or None
MARKS = {"passed": "x", "handed in": "x", "failed": "!", "untouched": " "}
SOME = "an exercise (5.2), a chapter (5), or all (which is also what no word means)"
PAUSE = 0.3  # seconds between two looks at the files


def main(words: list[str] | None = None) -> int:
    """Returns: the exit code, 0 when everything that was checked is right."""
    parser = argparse.ArgumentParser(
        prog="python -m exercises",
        description="Exercises for the book. python -m exercises start makes your own copies. "
        "Write a function in exercises/work/ch05_four_passes.py, then: "
        "python -m exercises check 5.2",
    )
    parser.set_defaults(do=show_list, what=some("all"), notebook=False, seed=None)
    commands = parser.add_subparsers(metavar="command")
    for name, (do, about, takes) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(do=do)
        if "what" in takes:
            command.add_argument("what", nargs="?", default="all", type=some, help=SOME)
        if "one" in takes:
            command.add_argument("what", type=some, help="an exercise (5.2), or a chapter (5)")
        if "notebook" in takes:
            about = "what you wrote in the notebooks, not the .py files"
            command.add_argument("--notebook", action="store_true", help=about)
        if "seed" in takes:
            command.add_argument("--seed", type=int, help="draw other cases (a whole number)")
    asked = parser.parse_args(words)
    try:
        return int(asked.do(asked))
    except KeyboardInterrupt:
        print()
        return 130


def some(word: str) -> list[Exercise]:
    """The exercises that a word stands for."""
    known = list(catalogue.exercises().values())
    if chosen := [e for e in known if word in ("all", e.chapter)]:
        return chosen
    try:
        return [find(word)]
    except ValueError as error:  # a PathPatchError, with a suggestion
        raise argparse.ArgumentTypeError(str(error)) from None


def is_right(exercise: Exercise) -> bool:
    return MARKS[progress.of(exercise.id)["state"]] == "x"


def to_do(chosen: list[Exercise]) -> Exercise:
    """The first that is not right yet; where all are, the last."""
    return next((e for e in chosen if not is_right(e)), chosen[-1])


def show_list(asked: Asked) -> int:
    rows = progress.read()
    chapter = ""
    for e in asked.what:
        if e.chapter != chapter:
            chapter = e.chapter
            print(f"\nChapter {chapter}: {_shown(files.path_of(e))}, or .ipynb")
        row = rows.get(e.id, progress.FRESH)
        used = [_count(row[what], what) for what in ("tries", "hints") if row[what]]
        about = ", ".join([e.about, *used])
        print(f"  [{MARKS[row['state']]}] {e.id}  {e.title} ({about})")
    print("\nWrite in a file, then: python -m exercises check 5.2. More: python -m exercises -h")
    return 0


def _count(number: int, what: str) -> str:
    return f"{number} {({'tries': 'try', 'hints': 'hint'}[what]) if number == 1 else what}"


def _shown(path: object) -> str:
    """A path as one would type it at the root of the repository."""
    return str(path).removeprefix(f"{catalogue.FOLDER.parent}/")


def make_copies(asked: Asked) -> int:
    made = files.start()
    folder = _shown(catalogue.WORK)
    if made:
        print(f"Your copies are in {folder}: {', '.join(path.name for path in made)}")
    else:
        print(f"All your copies are in {folder} already; nothing was changed.")
    return what_next(asked)


def what_next(asked: Asked) -> int:
    e = to_do(asked.what)
    if is_right(e):
        print("All of them are right.")
        return 0
    state = "go on with" if progress.of(e.id)["tries"] else "begin"
    print(f"Now {state} {e.id} {e.title} ({e.about}), in {_shown(files.path_of(e))}.")
    print(f"The text is there, and in chapter {e.chapter} of the book.")
    return 0


def check_these(asked: Asked) -> int:
    process.warm()  # it loads torch while this process does
    from exercises.checks.judge import LIMIT, SEED
    from exercises.desk import mark

    right, troubles = 0, dict[str, None]()
    seed = SEED if asked.seed is None else asked.seed
    for exercise in asked.what:
        verdict = mark(exercise, files.path_of(exercise, asked.notebook), LIMIT, seed)
        right += verdict.right
        if verdict.trouble not in ("", *troubles):
            print_now(f"Note: {verdict.trouble}\n")
        troubles[verdict.trouble] = None
        if verdict.printed:
            print_now(verdict.printed.rstrip("\n"))
        print_now(f"{verdict.text}{_elsewhere(exercise, asked, verdict.state)}\n")
    if len(asked.what) > 1:
        print_now(f"{right} of {len(asked.what)} are right.")
    return int(right < len(asked.what))


def _elsewhere(exercise: Exercise, asked: Asked, state: str) -> str:
    """A line where the other of the two files has an answer, and this one has none."""
    other = files.path_of(exercise, not asked.notebook)
    if state != "untouched" or not files.has_work(exercise, other):
        return ""
    how = "without --notebook" if asked.notebook else "with --notebook"
    return f"\n  But {other.name} has an answer: check {exercise.id} {how}."


def give_hint(asked: Asked) -> int:
    hints.hint(to_do(asked.what).id)
    return 0


def watch(asked: Asked, once: Callable[[], bool] = lambda: False) -> int:
    """Check again what has changed, each time a file is saved. once: for tests, when to stop."""
    process.warm()
    before = files.sources(asked.what, asked.notebook)
    print_now("Watching. Save an exercise file to have it checked; Ctrl-C to stop.")
    paths = {e.id: files.path_of(e, asked.notebook) for e in asked.what}
    changed = [e for e in asked.what if files.has_work(e, paths[e.id])]
    while True:
        if changed:
            started = time.perf_counter()
            print_now("")
            check_these(Asked(what=changed, notebook=asked.notebook, seed=asked.seed))
            print_now(f"({time.perf_counter() - started:.1f} s)")
        if once():
            return 0
        time.sleep(PAUSE)
        now = files.sources(asked.what, asked.notebook)
        changed = [e for e in asked.what if now[e.id] != before[e.id]]
        before = now


def status(asked: Asked) -> int:
    chapters = dict.fromkeys(e.chapter for e in asked.what)
    groups = {f"chapter {c}": [e for e in asked.what if e.chapter == c] for c in chapters}
    for name, group in {**groups, "all": asked.what}.items():
        right = [e for e in group if is_right(e)]
        bar = "#" * (20 * len(right) // len(group))
        points = f"{sum(e.points for e in right)} of {sum(e.points for e in group)} points"
        print(f"{name:10} [{bar:.<20}] {len(right)} of {len(group)}, {points}")
    return 0


def put_back(asked: Asked) -> int:
    for e in asked.what:
        kept = files.reset(e, asked.notebook)
        where = f"; the file as it was: {_shown(kept)}" if kept else ""
        print(f"{e.id} {e.function}: the empty function is back{where}")
        other = files.path_of(e, not asked.notebook)
        if files.has_work(e, other):
            more = "without" if asked.notebook else "with"
            print(f"  {other.name} still has an answer: reset {e.id} {more} --notebook.")
    return 0


def print_now(text: str) -> None:
    """Print for a person who waits."""
    print(text, flush=True)


COMMANDS: dict[str, tuple[Callable[[Asked], int], str, str]] = {
    "start": (make_copies, "make your own copies of the exercise files; nothing is replaced", ""),
    "list": (show_list, "all exercises, with their state and time", ""),
    "next": (what_next, "what to do now", "what"),
    "check": (check_these, "check what you wrote", "what notebook seed"),
    "hint": (give_hint, "the next hint for an exercise: there are three", "one"),
    "watch": (watch, "check again whenever you save", "what notebook seed"),
    "status": (status, "how far you are, by chapter and in all", ""),
    "reset": (put_back, "put the empty function back; your file is kept", "one notebook"),
}

if __name__ == "__main__":
    sys.exit(main())
