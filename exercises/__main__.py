"""The exercises at the terminal: python -m exercises."""

import argparse
import sys
import time
from collections.abc import Callable

from exercises import catalogue, hints, progress
from exercises.catalogue import Exercise, find

Chosen = list[Exercise]
MARKS = {"passed": "x", "handed in": "x", "failed": "!", "untouched": " "}
ONE = "an exercise, such as 5.2"
SOME = "an exercise (5.2), a chapter (5), or all (which is also what no word means)"
PAUSE = 0.3  # seconds between two looks at the files


def main(words: list[str] | None = None) -> int:
    """Returns: the exit code, 0 when everything that was checked is right."""
    parser = argparse.ArgumentParser(
        prog="python -m exercises",
        description="Exercises for the book. Write a function in exercises/ch05_four_passes.py, "
        "then: python -m exercises check 5.2",
    )
    parser.set_defaults(do=show_list, what=some("all"))
    commands = parser.add_subparsers(metavar="command")
    for name, (do, about, what) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(do=do)
        if what is one:
            command.add_argument("what", type=one, help=ONE)
        elif what is some:
            command.add_argument("what", nargs="?", default="all", type=some, help=SOME)
    asked = parser.parse_args(words)
    try:
        return int(asked.do(asked.what))
    except KeyboardInterrupt:
        print()
        return 130


def one(word: str) -> Chosen:
    """The exercise that a word stands for."""
    try:
        return [find(word)]
    except ValueError as error:  # a PathPatchError, with a suggestion
        raise argparse.ArgumentTypeError(str(error)) from None


def some(word: str) -> Chosen:
    """The exercises that a word stands for."""
    known = list(catalogue.exercises().values())
    return [e for e in known if word in ("all", e.chapter)] or one(word)


def show_list(chosen: Chosen) -> int:
    rows = progress.read()
    chapter = ""
    for e in chosen:
        if e.chapter != chapter:
            chapter = e.chapter
            print(f"\nChapter {chapter}: exercises/{e.stem}.py, or .ipynb")
        row = rows.get(e.id, progress.FRESH)
        used = (
            f", {row['tries']} tries, {row['hints']} hints" if row["tries"] + row["hints"] else ""
        )
        print(f"  [{MARKS[row['state']]}] {e.id}  {e.title} ({e.about}{used})")
    print("\nWrite in a file, then: python -m exercises check 5.2. More: python -m exercises -h")
    return 0


def check_these(chosen: Chosen) -> int:
    from exercises.desk import check_page, read_page

    pages = {stem: read_page(stem) for stem in dict.fromkeys(e.stem for e in chosen)}
    for page in pages.values():
        if page.trouble:
            print_now(f"Note: {page.trouble}\n")
    right = 0
    for exercise in chosen:
        verdict = check_page(pages[exercise.stem], exercise)
        right += verdict.right
        print_now(f"{verdict.text}\n")
    if len(chosen) > 1:
        print_now(f"{right} of {len(chosen)} are right.")
    return int(right < len(chosen))


def give_hint(chosen: Chosen) -> int:
    hints.hint(chosen[0].id)
    return 0


def watch(chosen: Chosen, once: Callable[[], bool] = lambda: False) -> int:
    """Check again what has changed, each time a file is saved. once: for tests, when to stop."""
    from exercises.checks.labs import lab
    from exercises.desk import sources

    lab("gpt2")  # what takes seconds to load is loaded before somebody waits for it
    before = sources(chosen)
    print_now("Watching. Save an exercise file to have it checked; Ctrl-C to stop.")
    while not once():
        time.sleep(PAUSE)
        now = sources(chosen)
        if changed := [e for e in chosen if now[e.id] != before[e.id]]:
            started = time.perf_counter()
            print_now("")
            check_these(changed)
            print_now(f"({time.perf_counter() - started:.1f} s)")
        before = now
    return 0


def status(chosen: Chosen) -> int:
    rows = progress.read()
    chapters = dict.fromkeys(e.chapter for e in chosen)
    groups = {f"chapter {c}": [e for e in chosen if e.chapter == c] for c in chapters}
    for name, group in {**groups, "all": chosen}.items():
        right = [e for e in group if MARKS[rows.get(e.id, progress.FRESH)["state"]] == "x"]
        bar = "#" * (20 * len(right) // len(group))
        points = f"{sum(e.points for e in right)} of {sum(e.points for e in group)} points"
        print(f"{name:10} [{bar:.<20}] {len(right)} of {len(group)}, {points}")
    return 0


def put_back(chosen: Chosen) -> int:
    from exercises.desk import reset

    for exercise in chosen:
        kept = reset(exercise)
        where = f"; the file as it was: exercises/kept/{kept.name}" if kept else ""
        print(f"{exercise.id} {exercise.function}: the empty function is back{where}")
    return 0


def print_now(text: str) -> None:
    """Print for a person who waits."""
    print(text, flush=True)


COMMANDS: dict[str, tuple[Callable[[Chosen], int], str, Callable[[str], Chosen] | None]] = {
    "list": (show_list, "all exercises, with their state and time", None),
    "check": (check_these, "check what you wrote in the .py files", some),
    "hint": (give_hint, "the next hint for an exercise: there are three", one),
    "watch": (watch, "check again whenever you save", some),
    "status": (status, "how far you are, by chapter and in all", None),
    "reset": (put_back, "put the empty function back; your file is kept", one),
}

if __name__ == "__main__":
    sys.exit(main())
