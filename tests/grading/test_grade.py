"""From a folder of submissions to a table and pages, without running anything of theirs."""

import csv
import json
import shutil
import zipfile

import attacks
import jsonschema
import pytest

from exercises.catalogue import exercises
from exercises.checks.cases import CHECKS
from pathpatch.errors import PathPatchError
from solutions.grading import keys, run, sandbox
from solutions.grading.collect import collect, learners, unpack_all
from solutions.grading.mark import where_is
from solutions.grading.plan import Mark, Plan
from solutions.grading.points import KINDS, earned
from solutions.grading.tables import merge_form, write_all
from solutions.grading.texts import python_text

KEY = "a course key for tests"
# The fields that Gradescope's documentation of autograders names, with their types.
NUMBER, TEXT = {"type": "number"}, {"type": "string"}
SHOWN = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
TEST = {"score": NUMBER, "max_score": NUMBER, "name": TEXT, "number": TEXT, "output": TEXT}
TEST |= {"status": {"enum": ["passed", "failed"]}, "visibility": SHOWN, "output_format": FORMAT}
FIELDS = {"score": NUMBER, "output": TEXT, "output_format": FORMAT, "visibility": SHOWN}
FIELDS |= {"stdout_visibility": SHOWN}
TESTS = {"type": "array", "items": {"properties": TEST, "additionalProperties": False}}
SCHEMA = {"properties": FIELDS | {"tests": TESTS}, "additionalProperties": False}


def row(learner="ada", **changes):
    marks = [
        Mark("1.1", 1, 1.0, "right").as_row(),
        Mark(
            "5.3", 2, 1.0, "partly right", {"one": True, "two": False}, ["A *word* <b>."]
        ).as_row(),
        Mark("6.1", 6, None, "to be marked", answer="because: of 9.6").as_row(),
    ]
    return {"learner": learner, "marks": marks, "notes": []} | changes


# ---- what was handed in ----


def test_the_layouts_of_learning_platforms_are_known(tmp_path):
    (tmp_path / "Ada Lovelace_17_assignsubmission_file_").mkdir()
    (tmp_path / "Ada Lovelace_17_assignsubmission_file_" / "ch01_sum.py").write_text("x = 1")
    (tmp_path / "blaisepascal_LATE_23_456_ch01_sum.py").write_text("x = 2")
    (tmp_path / "blaisepascal_LATE_23_457_ch05_four_passes.ipynb").write_text("{}")
    (tmp_path / "grace.py").write_text("x = 3")
    (tmp_path / ".DS_Store").write_text("")
    found = learners(tmp_path)
    assert list(found) == ["Ada Lovelace_17", "blaisepascal_23", "grace"]
    files = collect("blaisepascal_23", found["blaisepascal_23"]).files
    assert list(files) == ["ch01_sum.py", "ch05_four_passes.ipynb"]


def test_a_zip_of_everything_is_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("ada/ch01_sum.py", "x = 1")
        archive.writestr("bob/ch01_sum.py", "x = 2")
        archive.writestr("../bob.py", "x = 3")
    folder = unpack_all(tmp_path / "all.zip", tmp_path / "in")
    assert list(learners(folder)) == ["ada", "bob"] and not (tmp_path / "bob.py").exists()


@pytest.mark.parametrize("make", [lambda p: p / "none", lambda p: p])
def test_a_folder_without_submissions_is_refused(make, tmp_path):
    with pytest.raises(PathPatchError, match="submissions"):
        learners(make(tmp_path))


def test_notebooks_become_python_cell_by_cell():
    book = attacks.notebook("%time\nx = 1", "%%html\n<b>", "%%time\ny = 2", "if x:\n    !ls")
    text, notes = python_text("a.ipynb", book.encode())
    space = {}
    exec(text, space)
    assert (space["x"], space["y"]) == (1, 2) and "1 cells of another language" in notes[0]


def test_the_file_that_somebody_wrote_in_counts():
    e = exercises()["1.1"]
    stub = 'def by_hand():\n    raise NotImplementedError("1.1 is not written yet")\n'
    own = "def by_hand():\n    return {}\n"
    from exercises.catalogue import pages

    texts = {"ch01_sum.py": pages()["ch01_sum"], "ch01_sum.ipynb": own}
    assert where_is(e, texts) == ["ch01_sum.ipynb"]
    assert where_is(e, {"a.py": own, "b.py": own}) == ["a.py"]
    assert where_is(e, {"a.py": own, "ch01_sum.py": own + "\n"}) == ["ch01_sum.py", "a.py"]
    assert where_is(e, {"a.py": "# nothing"}) == [] and stub


# ---- points ----


def test_every_case_of_an_exercise_has_a_kind():
    """An exercise that is not in the list has one kind: all or nothing."""
    for name, kinds in KINDS.items():
        assert len(kinds) == CHECKS[exercises()[name].function].count, name


def test_half_of_the_kinds_is_the_least_that_earns_something():
    assert [earned(3, right, 6) for right in range(7)] == [0, 0, 0, 1.5, 2, 2.5, 3]
    assert earned(1, 6, 7) == 0.5 and earned(3, 0, 1) == 0


def test_hidden_cases_and_variants_follow_from_the_key_alone():
    assert keys.seed(KEY, "5.2", 0) == keys.seed(KEY, "5.2", 0) != keys.seed(KEY, "5.2", 1)
    assert keys.seed(KEY, "5.2", 0) != keys.seed(KEY + "!", "5.2", 0)
    found = {keys.variant(KEY, learner, "6.3") for learner in ("ada", "bob", "ad", "a")}
    assert len(found) == 4 and keys.variant(KEY, "a", "b6.3") != keys.variant(KEY, "ab", "6.3")


def test_a_key_is_written_once_for_us_alone_and_a_short_one_refused(tmp_path):
    path = tmp_path / "key"
    assert keys.new_key(path) == keys.read_key(path) and path.stat().st_mode & 0o077 == 0
    with pytest.raises(PathPatchError, match="no new course key can be written"):
        keys.new_key(path)
    path.write_text("short")
    with pytest.raises(PathPatchError, match="at least 16"):
        keys.read_key(path)


# ---- results ----


def test_all_files_of_a_class_are_written(tmp_path):
    write_all([row(), row("<script>", notes=["=1+1"])], tmp_path, "")
    table = list(csv.reader((tmp_path / "grades.csv").read_text().splitlines()))
    assert table[0] == ["learner", "points", "of", "1.1", "5.3", "6.1", "to be marked", "notes"]
    assert table[1] == ["ada", "2", "9", "1", "1", "", "1", ""] and table[2][-1] == "'=1+1"
    jsonschema.validate(json.loads((tmp_path / "gradescope/ada/results.json").read_text()), SCHEMA)
    page = (tmp_path / "feedback" / "ada.html").read_text()
    assert "<li>A *word* &lt;b&gt;.</li>" in page and "Not right: two." in page
    assert "because: of 9.6" in (tmp_path / "to_mark" / "ada.txt").read_text()
    assert not [p for p in (tmp_path / "feedback").iterdir() if "<" in p.name]


def test_points_that_a_person_gave_are_merged_and_kept(tmp_path):
    write_all([row()], tmp_path, "")
    form = tmp_path / "marking.csv"
    form.write_text(form.read_text().replace("6.1,6,,", "6.1,6,4.5,Good plan."))
    for _ in range(2):
        rows = [row()]
        merge_form(rows, form)
        write_all(rows, tmp_path, "")
        assert "Good plan." in (tmp_path / "feedback" / "ada.md").read_text()
        assert "ada,6.5,9,1,1,4.5,0," in (tmp_path / "grades.csv").read_text()
    form.write_text(form.read_text().replace("4.5", "7"))
    with pytest.raises(PathPatchError, match=r"line 2: points are '7'; expected 0 to 6"):
        merge_form([row()], form)


def test_without_a_sandbox_nothing_runs_unless_somebody_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "kind_here", lambda: "")
    with pytest.raises(PathPatchError, match="no sandbox works here"):
        run.grade(tmp_path, tmp_path / "out", Plan(KEY), unsafe=False, workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not sandbox.kind_here(), reason="no sandbox works here")
def test_grading_again_runs_only_what_has_changed_and_gives_the_same(tmp_path, monkeypatch):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "ada.py").write_text(attacks.RIGHT_1)
    (folder / "bob.py").write_text(attacks.RIGHT_1.replace("8", "9"))
    plan = Plan(KEY, only=("1.1",))
    grade = lambda: run.grade(folder, out, plan, unsafe=False, workers=1)  # noqa: E731
    first = grade()
    assert [r["marks"][0]["points"] for r in first] == [1, 0]
    before = (out / "grades.csv").read_bytes()
    monkeypatch.setattr(run, "_in_pool", lambda *_: iter(()))
    assert grade() == first and (out / "grades.csv").read_bytes() == before
    shutil.rmtree(out / "feedback")
    (folder / "bob.py").write_text(attacks.RIGHT_1)
    assert "ended the grader's process" in grade()[1]["notes"][0]
