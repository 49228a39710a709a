"""What answers may try against the grader: one class, graded once."""

import json
import os
from pathlib import Path

import attacks
import psutil
import pytest

from exercises.checks.cases import trial
from solutions.grading import keys, sandbox
from solutions.grading.plan import Plan
from solutions.grading.run import grade
from solutions.grading.tables import slug

AUDIT = "PATHPATCH_AUDIT" in os.environ
SECRET = "what only the grader knows"
# One in five at every change, and three that tests below look at; all of them in the audit.
LOOKED_AT = ("html_in_the_name_<b>", "=cmd()", "result_file")
CHOSEN = [
    attack
    for i, attack in enumerate(attacks.ATTACKS)
    if AUDIT or attack.name in LOOKED_AT or (attack.quick and i % 5 == 0)
]
KEY = "a course key for tests"

pytestmark = pytest.mark.skipif(not sandbox.kind_here(), reason="no sandbox works here")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Learner -> its row, and the folder of results."""
    folder = tmp_path_factory.mktemp("class")
    for attack in CHOSEN:
        attack.hand_in(folder)
    (folder / "honest.py").write_text(attacks.RIGHT_1 + attacks.RIGHT_3)
    secret = tmp_path_factory.mktemp("secret") / "ch01_sum.py"
    secret.write_text(attacks.RIGHT_3 + f"# {SECRET}")
    (folder / "linked").mkdir()
    (folder / "linked" / "ch01_sum.py").symlink_to(secret)
    (folder / "linked_folder").symlink_to(secret.parent)
    out = tmp_path_factory.mktemp("out")
    plan = Plan(KEY, limit=1.0, patience=20.0, only=("1.1", "1.3"), naming=False)
    rows = grade(folder, out, plan, unsafe=False, workers=1)
    return {row["learner"]: row for row in rows}, out


def points(row) -> list[float]:
    return [mark["points"] for mark in row["marks"]]


def test_who_is_honest_gets_all_points_in_the_midst_of_it(graded):
    rows, _ = graded
    assert points(rows["honest"]) == [1, 3]


@pytest.mark.parametrize("attack", CHOSEN, ids=lambda attack: attack.name)
def test_an_attack_gets_what_it_has_earned_and_no_more(attack, graded):
    rows, _ = graded
    assert points(rows[attack.name]) == list(attack.earned), rows[attack.name]


@pytest.mark.parametrize("learner", ["linked", "linked_folder"])
def test_links_are_not_followed(learner, graded):
    rows, _ = graded
    assert points(rows[learner]) == [0, 0]
    assert "A link was handed in" in rows[learner]["notes"][0]


def test_no_file_of_the_results_tells_a_hidden_case_a_value_or_a_secret(graded):
    _, out = graded
    cases = [trial("five", keys.seed(KEY, "1.3", draw)).case(0) for draw in range(2)]
    hidden = [case.shown for case in cases] + [str(case.args[0]) for case in cases]
    for path in out.rglob("*"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        found = [word for word in ["SECRET", SECRET, KEY, *hidden] if word in text]
        assert not found, (path, found)


def test_nothing_goes_on_and_nothing_is_left_behind(graded):
    users = [p.uids().real for p in psutil.process_iter() if p.status() != "zombie"]
    assert not [uid for uid in users if uid >= sandbox.OWN_USERS]
    for name in ("pathpatch_gotcha", "pathpatch_bomb"):
        assert not Path("/tmp", name).exists()


def test_results_stay_in_their_folder_whatever_a_learner_is_called(graded):
    rows, out = graded
    assert len({slug(learner) for learner in rows}) == len(rows)
    pages = {path.name for path in (out / "feedback").iterdir()}
    assert len(pages) == 2 * len(rows)
    html = (out / "feedback" / f"{slug('html_in_the_name_<b>')}.html").read_text()
    assert "<b>" not in html and "script" not in html
    table = (out / "grades.csv").read_text(encoding="utf-8")
    assert "\n=" not in table and "'=cmd()" in table


def test_a_fake_result_is_not_what_gradescope_gets(graded):
    _, out = graded
    found = json.loads((out / "gradescope" / "result_file" / "results.json").read_text())
    assert found["score"] == 1
