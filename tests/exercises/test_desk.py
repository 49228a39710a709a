"""The desk: functions are found whatever else stands in the file, and a reset loses nothing."""

import json
from pathlib import Path

import jupytext
import pytest
from nbformat.v4 import new_code_cell

import exercises
from exercises import catalogue, files, progress
from exercises.catalogue import find
from exercises.checks.judge import Verdict
from exercises.desk import mark
from exercises.files import has_work, path_of, reset, sources, trouble_in
from pathpatch import PathPatchError

ANSWER = '    return {"pass B": 5, "pass C": 8, "overwrite R": 18}\n'
STUB = '    raise NotImplementedError("1.1 is not written yet")\n'


@pytest.fixture
def page(own_desk) -> Path:
    return own_desk / "ch01_sum.py"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def marked(name: str, notebook: bool = False, limit: float = 20.0) -> Verdict:
    return mark(find(name), path_of(find(name), notebook), limit)


def state(name: str) -> str:
    return marked(name).state


# ---- check(function) ----


def by_hand():
    return {"pass B": 5, "pass C": 8, "overwrite R": 18}


def test_a_function_is_known_by_its_name_and_progress_is_kept(own_desk, capsys):
    assert exercises.check(by_hand)
    assert capsys.readouterr().out.startswith("1.1 by_hand: right, on the call.\n")
    assert (progress.of("1.1")["state"], progress.of("1.1")["tries"]) == ("passed", 1)


def test_a_name_that_no_exercise_has_gets_a_suggestion(own_desk):
    def by_hands():
        return {}

    with pytest.raises(PathPatchError, match="asks for 'by_hands'; did you mean 'by_hand'"):
        exercises.check(by_hands)
    with pytest.raises(PathPatchError, match=r"takes the function itself: check\(pass_c\)"):
        exercises.check("1.1")


def test_the_untouched_stub_is_no_try(page):
    assert state("1.1") == "untouched"
    assert progress.of("1.1") == progress.FRESH
    edit(page, STUB, "    return {}\n")
    assert state("1.1") == "failed" and progress.of("1.1")["tries"] == 1


# ---- reading a file ----


def test_a_line_that_fails_does_not_hide_other_functions(page):
    edit(page, STUB, ANSWER)
    page.write_text("import nothing_like_this\nx = 1 / 0\n" + page.read_text())
    verdict = marked("1.1")
    assert verdict.trouble.startswith("ch01_sum.py, line 1: ModuleNotFoundError")
    assert verdict.state == "passed"


def test_leaving_or_looping_does_not_stop_the_reading(page):
    edit(page, STUB, ANSWER)
    loop = "exit()\nwhile True:\n    import time; time.sleep(0.01)\n"
    edit(page, "# %%\ncheck(by_hand)", loop)
    verdict = marked("1.1", limit=0.5)
    assert "SystemExit" in verdict.trouble and verdict.state == "passed"
    assert marked("1.3", limit=0.5).state == "untouched"


def test_a_file_that_ends_the_process_is_a_verdict(page):
    page.write_text("import os\nos._exit(0)\n" + page.read_text())
    verdict = marked("1.1")
    assert verdict.state == "failed" and "has ended" in verdict.text
    page.write_text(catalogue.pages()["ch01_sum"])
    assert state("1.1") == "untouched"


def test_a_file_that_is_not_python_shows_the_line_and_the_exercise(page):
    edit(page, STUB, "    return {'pass B': 5\n")
    trouble = trouble_in(page)
    assert trouble.startswith("Python cannot read ch01_sum.py: '{' was never closed.")
    assert "line 36:  return {'pass B': 5\n  That is in 1.1 by_hand: mend it, or" in trouble
    assert "python -m exercises reset 1.1" in trouble and marked("1.1").trouble == trouble
    assert state("1.1") == state("1.2") == "failed"
    page.write_text("a b\n" + catalogue.pages()["ch01_sum"])
    assert trouble_in(page).endswith("line 1:  a b")


def test_a_function_that_is_gone_can_be_put_back(page):
    page.write_text("x = 1\n")
    verdict = marked("1.1")
    assert verdict.state == "failed" and "reset 1.1 puts the empty one back" in verdict.text


def test_a_file_that_is_not_text_or_not_there_says_so(page):
    page.write_bytes(b"\xff\xfe")
    assert "Python cannot read ch01_sum.py: 'utf-8' codec" in marked("1.1").trouble
    page.unlink()
    assert marked("1.1").trouble.startswith("ch01_sum.py is not there. python -m exercises start")
    assert state("1.1") == "failed"


def test_cells_may_be_edited_deleted_and_moved(page):
    edit(page, STUB, ANSWER)
    cells = page.read_text().split("# %%")
    keep = [cell for cell in cells if "def by_hand" in cell]
    page.write_text("# %%".join(["", *reversed(keep)]))
    assert state("1.1") == "passed"
    assert state("1.3") == "failed"


def test_the_calls_in_a_file_do_nothing_while_it_is_read(page):
    edit(page, "check(by_hand)", 'check(by_hand)\nhint("1.1")\nassert not check(by_hand)')
    verdict = marked("1.1")
    assert (verdict.state, verdict.trouble) == ("untouched", "")
    assert progress.of("1.1") == progress.FRESH


def test_an_exception_shows_the_line_as_it_is_now(page):
    for text in ('    return {}["first"]\n', '    pass\n    return {}["second"]\n'):
        page.write_text(catalogue.pages()["ch01_sum"].replace(STUB, text))
        assert f":  {text.splitlines()[-1].strip()}\n" in marked("1.1").text


# ---- notebooks, copies ----


@pytest.fixture
def notebook(page) -> Path:
    """The notebook beside the page, with an answer to 1.1 and what else people write in one."""
    path = page.with_suffix(".ipynb")
    book = jupytext.reads(page.read_text().replace(STUB, ANSWER), fmt="py:percent")
    book.cells.insert(1, new_code_cell("%matplotlib inline\n!ls\nlen?"))
    jupytext.write(book, path)
    return path


def test_a_notebook_can_be_checked_and_reset(page, notebook):
    assert has_work(find("1.1"), notebook) and not has_work(find("1.1"), page)
    assert state("1.1") == "untouched" and marked("1.1", notebook=True).state == "passed"
    assert has_work(find("1.1"), reset(find("1.1"), notebook=True))
    assert not has_work(find("1.1"), notebook) and marked("1.1", notebook=True).trouble == ""
    assert marked("1.1", notebook=True).state == marked("1.2", notebook=True).state == "untouched"


def test_a_line_of_a_notebook_is_shown(notebook):
    notebook.write_text(notebook.read_text().replace("return {", "return 1 / 0 or {"))
    assert ':  return 1 / 0 or {"pass B": 5' in marked("1.1", notebook=True).text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 1}', '{"cells": [{}]}'])
def test_what_is_no_notebook_says_so(page, text):
    page.with_suffix(".ipynb").write_text(text)
    assert "Python cannot read ch01_sum.ipynb" in marked("1.1", notebook=True).trouble


def test_copies_are_made_once_and_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "WORK", tmp_path / "work")
    made = files.start()
    assert {path.suffix for path in made} == {".py", ".ipynb"} and len(made) == 14
    made[0].write_text("mine")
    made[1].unlink()
    assert files.start() == [made[1]] and made[0].read_text() == "mine"
    assert json.loads(made[1].read_text())["cells"]


# ---- reset ----


def test_a_reset_puts_the_stub_back_and_keeps_the_rest(page):
    edit(page, STUB, "    # my try\n" + ANSWER)
    edit(page, "# %%\ncheck(by_hand)", "# %%\nmine = 1\ncheck(by_hand)")
    before = page.read_text()
    assert state("1.1") == "passed"
    kept = reset(find("1.1"))
    assert kept.read_text() == before
    assert page.read_text() == before.replace("    # my try\n" + ANSWER, STUB)
    assert progress.of("1.1") == progress.FRESH
    assert state("1.1") == "untouched"


def test_two_resets_keep_two_files(page):
    one, two = reset(find("1.1")), reset(find("1.3"))
    assert one != two and one.exists() and two.exists()


def test_a_reset_brings_back_a_function_that_is_gone(page):
    text = page.read_text()
    page.write_text(text.replace("def by_hand", "def in_my_head"))
    reset(find("1.1"))
    assert state("1.1") == "untouched"
    assert "def in_my_head" in page.read_text()


def test_a_reset_brings_back_a_file_that_is_gone(page):
    before = page.read_text()
    page.unlink()
    assert reset(find("1.1")) is None
    assert page.read_text() == before


def test_a_reset_mends_a_file_that_is_not_python_any_more(page):
    edit(
        page, '    raise NotImplementedError("1.3 is not written yet")\n', "    return {}  # mine\n"
    )
    edit(page, STUB, "    return {'pass B': 5\n")
    reset(find("1.1"))
    assert state("1.1") == "untouched"
    assert "# mine" in page.read_text() and state("1.3") == "failed"


def test_a_reset_elsewhere_in_a_broken_file_changes_that_function_alone(page):
    edit(page, '    raise NotImplementedError("1.3 is not written yet")\n', "    return {\n")
    edit(page, STUB, ANSWER)
    reset(find("1.1"))
    assert STUB in page.read_text() and "    return {\n" in page.read_text()
    reset(find("1.3"))
    assert state("1.3") == "untouched"


def test_a_reset_takes_the_last_function_of_that_name_with_its_decorators(page):
    page.write_text(page.read_text() + "\n\n@staticmethod\ndef by_hand():\n    return 1\n")
    reset(find("1.1"))
    assert "@staticmethod" not in page.read_text()
    assert page.read_text().count(STUB) == 2


# ---- what `watch` compares ----


def test_only_a_function_that_changed_counts_and_helpers_count_for_all(page):
    chosen = [find("1.1"), find("1.2"), find("1.3"), find("5.2")]

    def changed(old: str, new: str) -> list[str]:
        before = sources(chosen)
        edit(page, old, new)
        after = sources(chosen)
        return [name for name in before if before[name] != after[name]]

    assert changed(STUB, ANSWER) == ["1.1"]
    assert changed("check(by_hand)", "check(by_hand)  # !\n\n# a remark") == []
    assert changed("# %%\ncheck(five)", "def helper():\n    return 1\n") == ["1.1", "1.2", "1.3"]
    assert changed(ANSWER, '    return {"pass B": 5\n') == ["1.1"]
    page.unlink()
    assert sources(chosen)["1.1"].strip() == ""
