"""The one source: what learners get is generated, complete, and gives nothing away."""

import ast
import json
import sys
from pathlib import Path

import jupytext
import pytest

import exercises.checks
from exercises.catalogue import exercises, pages
from exercises.checks.cases import CHECKS
from exercises.progress import FILE
from solutions import build as building
from solutions import source
from solutions.__main__ import main
from solutions.build import build, outputs
from solutions.source import stems, stub, tasks

TASKS = [task for stem in stems() for task in tasks(stem)]
by_id = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A place with all generated files, to change."""
    for path, text in outputs().items():
        new = tmp_path / path.relative_to(building.ROOT)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
    monkeypatch.setattr(building, "ROOT", tmp_path)
    return tmp_path


def test_the_files_are_as_the_source_says():
    different = [str(path) for path in build(check=True)]
    if FILE.exists():  # somebody works on the exercises here, and may write in these files
        different = [name for name in different if not name.startswith("exercises/ch")]
    assert different == [], "run python -m solutions build"


def test_any_difference_is_found_and_mended(copy, monkeypatch, capsys):
    for path in [path.relative_to(copy) for path in outputs()]:
        for spoil in (lambda p: p.write_text(p.read_text() + "\n"), Path.unlink):
            spoil(copy / path)
            assert build(check=True) == [path]
            assert build(check=False) == [path]
            assert build(check=True) == []
    monkeypatch.setattr(sys, "argv", ["solutions", "build", "--check"])
    assert main() == 0
    (copy / "exercises" / "ch01_sum.py").write_text("")
    assert main() == 1
    assert "exercises/ch01_sum.py differs" in capsys.readouterr().out
    assert (copy / "exercises" / "ch01_sum.py").read_text() == "", "--check writes nothing"


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_work_in_an_exercise_file_is_kept_before_it_is_overwritten(copy, suffix):
    path, kept = copy / "exercises" / f"ch01_sum{suffix}", copy / "exercises" / "kept"
    fresh = path.read_text()
    path.write_text(fresh.replace("1.1 is not written yet", "mine"))
    mine = path.read_text()
    build(check=False)
    assert path.read_text() == fresh
    assert [file.read_text() for file in kept.iterdir()] == [mine]


def test_a_notebook_that_was_only_run_is_no_work(copy):
    path = copy / "exercises" / "ch01_sum.ipynb"
    notebook = jupytext.read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell["execution_count"] = 3
    jupytext.write(notebook, path)
    assert build(check=False)
    assert not (copy / "exercises" / "kept").exists()


def test_every_exercise_has_a_check_and_a_name_of_its_own():
    assert list(exercises()) == [task.id for task in TASKS]
    assert {task.function for task in TASKS} == set(CHECKS)
    assert len({task.function for task in TASKS}) == len(TASKS)


def plain(text: str) -> str:
    """Without the marks of comments and quotes, so that a line is found however it is written."""
    return " ".join(text.replace("#", " ").replace('\\"', '"').split())


@pytest.fixture(scope="module")
def given() -> dict[str, str]:
    """What learners get, by place."""
    found = {"files": "", "book": "", "catalogue": ""}
    for path, text in outputs().items():
        if path.name == "catalogue.json":
            found["catalogue"] += "\n".join(_strings(json.loads(text)))
        elif path.suffix == ".ipynb":
            found["files"] += "\n".join(_strings(json.loads(text)))
        else:
            found["book" if path.suffix == ".md" else "files"] += text
    return {place: plain(text) for place, text in found.items()}


def _strings(of) -> list[str]:
    if isinstance(of, str):
        return [of]
    parts = of.values() if isinstance(of, dict) else of if isinstance(of, list) else []
    return [text for part in parts for text in _strings(part)]


def solution_lines(task) -> list[str]:
    """The lines of a solution that say something and that no learner's version has."""
    stubbed = " ".join(plain(stub(other.code, other.id)) for other in TASKS)
    lines = [plain(line) for line in task.code.splitlines()]
    return [line for line in lines if len(line) > 25 and line not in stubbed]


@by_id
def test_solutions_are_nowhere_but_in_hints(task, given):
    lines = solution_lines(task)
    assert lines, "an exercise without a solution"
    hints = plain(" ".join([*task.hints, *task.helps]))
    for line in lines:
        assert line not in given["files"]
        if line.rstrip(",") not in hints:
            assert line not in given["book"] and line not in given["catalogue"]


@by_id
def test_hints_are_in_the_book_and_the_catalogue_and_worked_answers_nowhere(task, given):
    for hint in [*task.hints, *(text.partition(". ")[2] for text in task.helps)]:
        assert plain(hint) in given["book"] and plain(hint) in given["catalogue"]
        assert plain(hint) not in given["files"]
    for answer in task.parts.get("Worked answer", "").split(". "):
        if len(answer) > 25:
            assert not any(plain(answer) in text for text in given.values())


def test_the_open_question_has_a_marking_scheme_and_two_worked_answers():
    (task,) = [task for task in TASKS if task.facts["kind"] == "open question"]
    assert task.parts["Worked answer"].count(" of 6)") == 2
    assert task.parts["Marking"].count("\n|") == 2 + task.facts["points"]


def function(code: str, name: str) -> ast.FunctionDef:
    found = [n for n in ast.parse(code).body if isinstance(n, ast.FunctionDef) and n.name == name]
    return found[-1]


@by_id
def test_signature_and_docstring_are_those_of_the_solution(task):
    stem = exercises()[task.id].stem
    notebook = jupytext.reads(outputs()[building.ROOT / "exercises" / f"{stem}.ipynb"], "ipynb")
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    solved = function(task.code, task.function)
    for text in (pages()[stem], code):
        empty = function(text, task.function)
        assert ast.unparse(empty.args) == ast.unparse(solved.args)
        assert ast.get_docstring(empty) == ast.get_docstring(solved) is not None


@pytest.mark.parametrize("stem", stems())
def test_notebook_and_script_are_the_same_and_have_no_outputs(stem):
    files = outputs()
    notebook = jupytext.reads(files[building.ROOT / "exercises" / f"{stem}.ipynb"], "ipynb")
    assert building.as_script(notebook) == files[building.ROOT / "exercises" / f"{stem}.py"]
    assert not any(cell.get("outputs") for cell in notebook.cells)


SOURCE = """
# %% [markdown] exercise="9.1" kind="implement" minutes=5 difficulty=1 importance=5 points=1
# ## 9.1 A title
#
# Prose.
#
# **Goal.** One.
#
# **Out of scope.** Two.
#
# **Hint 1.** Three?
#
# **Hint 2.** Four.
#
# **Hint 3.** `five`
#
# **Help.** I see six. Do seven.
#
# **Another way.** Ten.

# %%
def nine(x):
    \"\"\"Eight.\"\"\"
    # solution
    return x
    # end of solution
"""


def written(folder: Path, monkeypatch, text: str) -> list[source.Task]:
    (folder / "ch09_nine.py").write_text(text)
    monkeypatch.setattr(source, "FOLDER", folder)
    return tasks("ch09_nine")


def test_a_source_is_read(tmp_path, monkeypatch):
    (task,) = written(tmp_path, monkeypatch, SOURCE)
    assert (task.id, task.title, task.function) == ("9.1", "A title", "nine")
    assert task.hints == ["Three?", "Four.", "`five`"] and task.helps == ["I see six. Do seven."]
    assert stub(task.code, "9.1") == (
        'def nine(x):\n    """Eight."""\n    raise NotImplementedError("9.1 is not written yet")'
    )
    instead = task.code.replace("    # end", "    # instead\n    # return 0\n    # end")
    assert stub(instead, "9.1") == 'def nine(x):\n    """Eight."""\n    return 0'


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ("# **Goal.** One.", "lacks Goal"),
        ("# **Out of scope.** Two.", "lacks Out of scope"),
        ("# **Hint 2.** Four.", "lacks Hint 2"),
        ("# **Help.** I see six. Do seven.", "lacks Help"),
        ("# **Another way.** Ten.", "lacks Another way"),
        (" minutes=5", "lacks minutes"),
        (" points=1", "lacks points"),
        ("# ## 9.1 A title", "lacks a title with its number"),
    ],
)
def test_a_source_that_lacks_something_says_what(tmp_path, monkeypatch, cut, words):
    assert cut in SOURCE
    with pytest.raises(ValueError, match=f"exercise 9.1 {words}"):
        written(tmp_path, monkeypatch, SOURCE.replace(cut, ""))


def test_a_solution_without_an_end_says_so(tmp_path, monkeypatch):
    (task,) = written(tmp_path, monkeypatch, SOURCE.replace("    # end of solution\n", ""))
    with pytest.raises(ValueError, match=r"exercise 9\.1: a solution has no end"):
        stub(task.code, task.id)


def test_exercises_work_without_the_solutions():
    """A class may get `exercises` without `solutions`."""
    for path in (building.FOLDER.parent / "exercises").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("solutions", "tests") for name in names), path


def test_no_exercise_needs_another():
    for stem in stems():
        functions = {task.function for task in tasks(stem)}
        for task in tasks(stem):
            names = {n.id for n in ast.walk(ast.parse(task.code)) if isinstance(n, ast.Name)}
            assert not names & functions, f"{task.id} uses another exercise"
