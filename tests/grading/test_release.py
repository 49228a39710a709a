"""The repository of a class: it works, and what is withheld is nowhere in it."""

import json
import os
import subprocess
import sys

import pytest

from pathpatch.errors import PathPatchError
from solutions import release as releasing
from solutions.canaries import canaries, find
from solutions.release import release
from solutions.source import stems, tasks

TASKS = [task for stem in stems() for task in tasks(stem)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    out = tmp_path_factory.mktemp("release") / "class"
    assert [e.id for e in release("7", out)] == ["7.1", "7.2"]
    return out


def test_nothing_of_a_withheld_chapter_is_left(copy):
    assert not find(copy, canaries([task for task in TASKS if task.id in ("7.1", "7.2")]))
    assert not (copy / "solutions").exists() and not (copy / "tests" / "mutants").exists()
    checks = sorted(path.name for path in (copy / "exercises" / "checks").glob("ch0[67]*"))
    assert checks == ["ch06_my_choice.py", "ch06_planted.py", "ch06_shared.py"]


@pytest.mark.audit
def test_the_commands_of_learners_work_in_it(copy):
    def say(*words):
        words = [sys.executable, "-m", "exercises", *words]
        environment = os.environ | {"PYTHONPATH": str(copy)}
        done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "Your copies are in exercises/work" in say("start")
    work = copy / "exercises" / "work" / "ch07_ioi_walk.py"
    assert "7.2 may_conclude: not written yet" in say("check", "7.2")
    solved = {task.id: task.code for task in TASKS}
    imports = "from math import comb\nimport numpy as np\n"
    work.write_text(imports + solved["7.1"] + "\n\n" + solved["7.2"].replace('"yes"', '"no"'))
    said = say("check", "7")
    assert "7.1 standing_out: right, on all 6 calls" in said and "which you do not see" in said
    assert "7.2 may_conclude: in good form" in said and "Another way" not in said
    work.write_text(imports + solved["7.1"].replace("0.05", "0.5"))
    said = say("check", "7.1")
    assert "not yet" in said and "expected" in said


@pytest.mark.parametrize("hide", ["code", "json", "page"])
def test_a_solution_that_is_left_somewhere_is_found(hide, tmp_path):
    task = next(task for task in TASKS if task.id == "5.4")
    code = task.code
    texts = {
        "code": ("a.py", code.replace("    ", "\t")),
        "json": ("a.ipynb", json.dumps({"cells": [{"source": code.splitlines(True)}]})),
        "page": ("a.html", "".join(f"<span>{line}</span>\n" for line in code.splitlines())),
    }
    name, text = texts[hide]
    (tmp_path / name).write_text(text.replace("Canary", "Bird"))
    assert find(tmp_path, canaries([task])) and not find(tmp_path, canaries(TASKS[:1]))


def test_a_release_with_a_solution_in_it_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(releasing, "LEFT_OUT", ("tests/", "book/", "pathpatch/"))
    with pytest.raises(PathPatchError, match=r"would give away .*solutions/ch07_ioi_walk.py: 7\.1"):
        release("7", tmp_path / "class")
    assert not (tmp_path / "class").exists()


@pytest.mark.parametrize("withheld", ["8", "five", ""])
def test_a_chapter_without_exercises_is_refused(withheld, tmp_path):
    with pytest.raises(PathPatchError, match="has no exercises"):
        release(withheld, tmp_path / "class")


IN_A_RELEASE = """
import sys
from pathlib import Path

from exercises.catalogue import exercises
from exercises.checks.judge import judge

for exercise in exercises().values():
    if exercise.chapter in sys.argv[2].split(","):
        path = Path(sys.argv[1], f"{exercise.stem}.py")
        verdict = judge(exercise, path, limit=600)
        assert verdict.right, verdict.text
print("all right")
"""


@pytest.mark.audit
@pytest.mark.parametrize(("withheld", "others"), [("2", "2"), ("3", "3,4"), ("5", "3,4,5,6")])
def test_solutions_pass_where_they_are_withheld_and_in_chapters_that_use_them(
    withheld, others, tmp_path
):
    release(withheld, tmp_path / "class")
    words = [sys.executable, "-c", IN_A_RELEASE, str(releasing.ROOT / "solutions"), others]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "class")}
    done = subprocess.run(
        words, cwd=tmp_path / "class", env=environment, capture_output=True, text=True
    )
    assert "all right" in done.stdout, done.stdout + done.stderr
