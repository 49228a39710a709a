"""The audit: its report, and what a part that does not hold does to it."""

import json
import re

import audit
import pytest

from exercises.checks.judge import SEED


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "REPORT", tmp_path / "audit.json")
    monkeypatch.setattr(audit, "PARTS", {"good": good, "bad": bad})
    monkeypatch.setattr(audit, "git", lambda *command: "abc" if "rev-parse" in command else "")
    return tmp_path / "audit.json"


def good(sample: bool) -> audit.Figures:
    """A part that holds"""
    return {"tests": 2 if sample else 200}


def bad(sample: bool) -> audit.Figures:
    """A part that does not"""
    raise audit.FailedError("1 failed, 3 passed")


def test_each_part_has_a_row_and_the_other_rows_stay(report):
    assert audit.main(["good"]) == 0
    assert audit.main(["bad"]) == 1
    rows = json.loads(report.read_text())
    assert rows["good"]["held"] and rows["good"]["figures"] == {"tests": 200}
    assert not rows["bad"]["held"] and rows["bad"]["figures"] == {"seen": "1 failed, 3 passed"}
    assert rows["good"]["commit"] == "abc" and rows["good"]["what"] == "A part that holds"
    assert audit.main([]) == 1, "one bad part is enough"


def test_a_sample_writes_nothing_but_fails_all_the_same(report, capsys):
    assert audit.main(["--sample", "good"]) == 0
    assert '"tests": 2}' in capsys.readouterr().out
    assert audit.main(["--sample"]) == 1
    assert not report.exists()


def test_an_unknown_part_is_refused(report):
    with pytest.raises(SystemExit):
        audit.main(["fuz"])


def test_tests_that_fail_or_are_skipped_are_no_success(monkeypatch):
    monkeypatch.setattr(audit, "say", lambda *command, **more: "= 3 passed in 1.0s =")
    assert audit.pytest() == 3
    for end in ("= no tests ran in 1.0s =", "= 3 passed, 2 skipped in 1.0s ="):
        monkeypatch.setattr(audit, "say", lambda *command, end=end, **more: end)
        with pytest.raises(audit.FailedError, match="not all tests ran"):
            audit.pytest()


def test_what_python_says_is_returned_or_raised(tmp_path):
    assert audit.say("-c", "import os; print(os.getcwd())", cwd=tmp_path).strip() == str(tmp_path)
    with pytest.raises(audit.FailedError, match="ZeroDivisionError"):
        audit.say("-c", "1 / 0", cwd=tmp_path)


def test_the_committed_report_is_of_parts_that_there_are():
    report = audit.REPORT
    rows = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    assert set(rows) <= set(audit.PARTS)
    for row in rows.values():
        assert row["held"], row
        assert re.fullmatch(r"[0-9a-f]{10}( and later changes)?", row["commit"])
    assert SEED not in audit.SEEDS, "the learners' own models are in the tests"
