"""What takes too long to run at every change: make audit, or a part: make audit ARGS=fuzz.

A full run takes about two hours. Each part writes what it found, when, where and on which commit
into tests/audit.json, which is committed and which the book prints. `--sample` runs a little of
each part and writes nothing: that is what .ci/run does.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "tests" / "audit.json"
SEEDS = range(6, 16)  # of the models and prompts that learners' answers are judged on; theirs is 5
Figures = dict[str, object]


class FailedError(Exception):
    """A part of the audit did not hold; the message says what was seen."""


def fuzz(sample: bool) -> Figures:
    """2,000 random models, sets and positions: fast, literal and an oracle without hooks agree"""
    cases = 20 if sample else 2000
    pytest("tests/test_fuzz.py", PATHPATCH_FUZZ=str(cases), HYPOTHESIS_PROFILE="audit")
    return {"cases": cases}


def examples(sample: bool) -> Figures:
    """Ten times as many random examples, new ones at every run, in each test that draws them"""
    some = ["tests/test_deltas.py"] if sample else ["tests"]
    profile = {"HYPOTHESIS_PROFILE": "sample" if sample else "audit"}
    return {"tests": pytest("-m", "hypothesis", *some, **profile)}


def families(sample: bool) -> Figures:
    """Every architecture that can be built small, against hooks on the untouched model"""
    words = ["-k", "Gemma2"] if sample else []
    return {"rows": pytest("tests/families", *words, PATHPATCH_AUDIT="1")}


def slow(sample: bool) -> Figures:
    """Tests of which every change runs a part: all their cases, all prompts, all notebooks"""
    some = ["-k", "test_notebooks and ch06"] if sample else []
    cases = pytest("-m", "audit or sample", *some, PATHPATCH_AUDIT="1")
    files = ["tests/test_peers.py", "tests/test_handmade.py"]
    some = ["-k", "arena or true_effect and toy"] if sample else []
    return {"cases": cases, "in whole files": pytest(*files, *some, PATHPATCH_AUDIT="1")}


def answers(sample: bool) -> Figures:
    """Every right and wrong answer to every exercise, on the learners' own cases and on others"""
    judged = 0
    for seed in SEEDS[:1] if sample else (5, *SEEDS[:3]):
        chapter = ["-k", "1.1"] if sample else []
        judged += pytest("tests/exercises/test_answers.py", *chapter, EXERCISES_SEED=str(seed))
    return {"verdicts": judged}


def edits(sample: bool) -> Figures:
    """Every small edit of every solution, judged; those that pass, on 200 other inputs"""
    words = ["--every", "80"] if sample else []
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    out = say("tests/mutants/edits.py", *words, cwd=ROOT, PYTHONPATH=path)
    names = ("edits", "named", "rejected", "equal", "pass")
    rows = [[int(x) for x in row.split()[1:]] for row in out.splitlines() if row[:1].isdigit()]
    return dict(zip(names, map(sum, zip(*rows, strict=True)), strict=True))


def install(sample: bool) -> Figures:
    """Installed with `pip` into an empty environment, and used from an empty folder"""
    with tempfile.TemporaryDirectory() as folder:
        copy, empty = Path(folder) / "checkout", Path(folder) / "empty"
        empty.mkdir()
        checkout(copy)
        if sample:  # the same files, beside the packages that are here
            say("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", copy, cwd=empty)
            (wheel,) = empty.glob("*.whl")
            zipfile.ZipFile(wheel).extractall(Path(folder) / "library")
            wheel.unlink()
            python, path = sys.executable, {"PYTHONPATH": str(Path(folder) / "library")}
        else:
            venv.create(Path(folder) / "new", with_pip=True)
            python, path = str(Path(folder) / "new" / "bin" / "python"), {}
            say("-m", "pip", "install", "-q", copy, python=python, cwd=empty)
        found = say("-c", LOOK, python=python, cwd=empty, **path).split()
        if found[:2] != ["True", "124"]:
            raise FailedError(f"installed, it has {' '.join(found)}")
        sweep = ["-m", "pathpatch", "sweep", "--model", "tiny-llama", "--prompts", "4"]
        say(*sweep, python=python, cwd=empty, **path)
        written = json.loads((empty / "out" / "sweep" / "effects.json").read_text())
        return {"senders swept": len(written["senders"]), "torch": found[2]}


# Run where it was installed: nothing but the library and the exercises, every wing, the facts.
LOOK = """
import importlib, pkgutil, pathpatch, torch
from importlib.util import find_spec
for module in pkgutil.walk_packages(pathpatch.__path__, "pathpatch."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from pathpatch.tasks.facts import load_facts
alone = find_spec("exercises") and not any(map(find_spec, ("tests", "solutions", "book")))
print(bool(alone), len(load_facts()), torch.__version__)
"""


def bench(sample: bool) -> Figures:
    """Speed, memory and exactness of sweeps on the real model"""
    say("tests/bench.py", *["sample"] * sample, cwd=ROOT)
    found = json.loads((ROOT / "out" / "bench.json").read_text())
    rows = {name: row for name, row in found.items() if isinstance(row, dict)}
    ratios = {name: row["ratio"] for name, row in rows.items() if "ratio" in row}
    return {f"ratio, {name}": round(ratio, 1) for name, ratio in ratios.items()}


PARTS: dict[str, Callable[[bool], Figures]] = {
    part.__name__: part for part in (fuzz, examples, families, slow, answers, edits, install, bench)
}


def say(*command: object, cwd: Path, python: str = sys.executable, **variables: str) -> str:
    """Run Python and return what it prints. Raises: FailedError with the end of that."""
    words = [python, *map(str, command)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"} | variables
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise FailedError(f"{' '.join(words[1:])[:80]}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def pytest(*arguments: str, **variables: str) -> int:
    """Run tests, as many at a time as there are processors. Returns: how many passed."""
    parallel = "-n logical --maxprocesses 4 --dist worksteal -q".split()
    out = say("-m", "pytest", *parallel, *arguments, cwd=ROOT, **variables)
    passed = re.search(r"(\d+) passed", out)
    if passed is None or " skipped" in out.splitlines()[-1]:
        raise FailedError(f"not all tests ran: {out[-1000:]}")
    return int(passed[1])


def checkout(to: Path) -> None:
    """A copy of the files that are under version control, as they are now."""
    for name in git("ls-files").splitlines():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, to / name)


def git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def audit(name: str, sample: bool) -> Figures:
    """Run one part. Returns: what the report says about it."""
    part, started = PARTS[name], time.perf_counter()
    changed = set(git("diff", "--name-only", "HEAD").split()) - {"tests/audit.json"}
    row: Figures = {
        "what": part.__doc__,
        "commit": git("rev-parse", "--short=10", "HEAD") + " and later changes" * bool(changed),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}",
    }
    try:
        row |= {"held": True, "figures": part(sample)}
    except FailedError as error:
        print(error, file=sys.stderr)
        row |= {"held": False, "figures": {"seen": str(error)[-200:]}}
    return row | {"minutes": round((time.perf_counter() - started) / 60, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are named, or all. Returns: 0 when all of them held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all, if none is named")
    parser.add_argument("--sample", action="store_true", help="a little of each; no report")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    rows = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    held = True
    for name in options.parts or PARTS:
        print(f"audit, {name}: {PARTS[name].__doc__} ...", flush=True)
        rows[name] = audit(name, options.sample)
        held &= bool(rows[name]["held"])
        print(f"  {json.dumps(rows[name])}", flush=True)
        if not options.sample:
            REPORT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
