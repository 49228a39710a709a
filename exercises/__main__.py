"""The exercises at the terminal: python -m exercises."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable

from exercises import progress
from exercises.catalogue import FOLDER, Exercise
from exercises.catalogue import exercises as all_exercises

MARKS = {"passed": "x", "handed in": "x", "failed": "!", "untouched": " "}
HELP = "an exercise (5.2), a chapter (5), or all"
PAUSE = 0.3  # seconds between two looks at the files


def main(words: list[str] | None = None) -> int:
    """Returns: the exit code, 0 when everything that was checked is right."""
    from pathpatch.errors import PathPatchError

    parser = argparse.ArgumentParser(prog="python -m exercises", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, (_, about, what) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        if what:
            command.add_argument("what", nargs="?" if what == "all" else None, help=HELP)
    asked = parser.parse_args(words)
    try:
        return COMMANDS[asked.command or "list"][0](pick(getattr(asked, "what", None)))
    except PathPatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
        return 130


def pick(what: str | None) -> list[Exercise]:
    """The exercises that a word stands for."""
    known = all_exercises()
    chapters = {e.chapter for e in known.values()}
    if what in (None, "all"):
        return list(known.values())
    if what in chapters:
        return [e for e in known.values() if e.chapter == what]
    from exercises.desk import find

    return [find(str(what))]


def show_list(chosen: list[Exercise]) -> int:
    rows = progress.read()
    chapter = ""
    for e in chosen:
        if e.chapter != chapter:
            chapter = e.chapter
            print(f"\nChapter {chapter}: exercises/{e.stem}.py, or .ipynb")
        row = rows.get(e.id, progress.FRESH)
        tries = f", {row['tries']} tries, {row['hints']} hints" if row["tries"] else ""
        about = f"{e.minutes} min, {e.points} points, {e.kind}"
        print(f"  [{MARKS[row['state']]}] {e.id}  {e.title} ({about}{tries})")
    print("\nWrite in a file, then: python -m exercises check 5.2. More: python -m exercises -h")
    return 0


def check_these(chosen: list[Exercise]) -> int:
    from exercises.desk import check_page, read_page, say

    found = []
    pages = {stem: read_page(stem) for stem in dict.fromkeys(e.stem for e in chosen)}
    for page in pages.values():
        if page.trouble:
            say(f"Note: {page.trouble}\n")
    for exercise in chosen:
        verdict = check_page(pages[exercise.stem], exercise)
        found.append(verdict.state)
        say(verdict.text + "\n")
    right = sum(state in ("passed", "handed in") for state in found)
    if len(chosen) > 1:
        say(f"{right} of {len(chosen)} are right.")
    return int(right < len(chosen))


def give_hint(chosen: list[Exercise]) -> int:
    from exercises.desk import hint

    for exercise in chosen:
        hint(exercise.id)
    return 0


def watch(chosen: list[Exercise], once: Callable[[], bool] = lambda: False) -> int:
    """Check again what has changed, each time a file is saved. once: for tests, when to stop."""
    from exercises.desk import check_page, cut, read_page, say

    def sources() -> dict[str, str]:
        texts = {}
        for stem in dict.fromkeys(e.stem for e in chosen):
            path = FOLDER / f"{stem}.py"
            texts[stem] = (
                path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            )
        return {e.id: cut(texts[e.stem], e.function) or texts[e.stem] for e in chosen}

    before = sources()
    say("Watching. Save an exercise file to have it checked; Ctrl-C to stop.")
    while not once():
        time.sleep(PAUSE)
        now = sources()
        for exercise in [e for e in chosen if now[e.id] != before[e.id]]:
            started = time.perf_counter()
            say("\n" + check_page(read_page(exercise.stem), exercise).text)
            say(f"  ({time.perf_counter() - started:.1f} s)")
        before = now
    return 0


def status(chosen: list[Exercise]) -> int:
    rows = progress.read()

    def done(some: Iterable[Exercise]) -> list[Exercise]:
        states = ("passed", "handed in")
        return [e for e in some if rows.get(e.id, progress.FRESH)["state"] in states]

    chapters = dict.fromkeys(e.chapter for e in chosen)
    groups = {f"chapter {c}": [e for e in chosen if e.chapter == c] for c in chapters}
    for name, some in {**groups, "all": chosen}.items():
        right = done(some)
        bar = "#" * round(20 * len(right) / len(some))
        points = f"{sum(e.points for e in right)} of {sum(e.points for e in some)} points"
        print(f"{name:10} [{bar:.<20}] {len(right)} of {len(some)}, {points}")
    return 0


def put_back(chosen: list[Exercise]) -> int:
    from exercises.desk import reset

    for exercise in chosen:
        kept = reset(exercise)
        where = f"; the file as it was: exercises/kept/{kept.name}" if kept else ""
        print(f"{exercise.id} {exercise.function}: the empty function is back{where}")
    return 0


COMMANDS: dict[str, tuple[Callable[[list[Exercise]], int], str, str]] = {
    "list": (show_list, "all exercises, with their state and time", ""),
    "check": (check_these, "check what you wrote in the .py files", "all"),
    "hint": (give_hint, "the next hint for an exercise", "one"),
    "watch": (watch, "check again whenever you save", "all"),
    "status": (status, "how far you are, by chapter and in all", ""),
    "reset": (put_back, "put the empty function back; your file is kept", "one"),
}

if __name__ == "__main__":
    sys.exit(main())
