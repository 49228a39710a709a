"""The progress file: kept, repaired, set aside, never fatal."""

import json
import os
import subprocess
import sys

import pytest

from exercises import progress

pytestmark = pytest.mark.usefixtures("own_desk")


def write(data) -> None:
    progress.FILE.write_text(data if isinstance(data, str) else json.dumps(data))


def test_without_a_file_everything_is_fresh():
    assert progress.read() == {}
    assert progress.of("5.2") == progress.FRESH


def test_what_is_recorded_is_read_again():
    progress.record("5.2", state="failed", tries=1)
    progress.record("5.3", hints=2)
    progress.record("5.2", tries=2)
    assert progress.of("5.2") == {"state": "failed", "tries": 2, "hints": 0, "passed": None}
    assert progress.of("5.3")["hints"] == 2


def test_the_state_is_that_of_the_last_check():
    progress.record("5.2", state="passed", tries=1)
    when = progress.of("5.2")["passed"]
    assert when
    progress.record("5.2", state="failed", tries=2)
    assert progress.of("5.2") == {"state": "failed", "tries": 2, "hints": 0, "passed": when}
    progress.forget("5.2")
    assert progress.of("5.2") == progress.FRESH


@pytest.mark.parametrize(
    "data", ["", "{", "[]", "null", "7", {"version": 1}, {"exercises": []}, {"exercises": None}]
)
def test_a_broken_file_is_set_aside_and_a_new_one_begun(data, own_desk, capsys):
    write(data)
    assert progress.read() == {}
    (aside,) = own_desk.glob("progress.broken-*.json")
    assert aside.name in capsys.readouterr().out
    progress.record("5.2", state="failed")
    assert progress.of("5.2")["state"] == "failed"


def test_bytes_that_are_no_text_are_set_aside(own_desk):
    progress.FILE.write_bytes(b"\xff\xfe\x00")
    assert progress.read() == {}
    assert len(list(own_desk.glob("progress.broken-*.json"))) == 1


def test_of_an_older_or_edited_file_everything_that_makes_sense_is_kept():
    rows = {
        "1.1": {"state": "passed", "passed": "2026-01-01 10:00"},
        "5.2": {"state": "solved!", "tries": -1, "hints": "many", "passed": 5, "mood": "good"},
        "5.3": {"tries": True, "hints": 2},
        "5.4": "passed",
        "9.9": {"state": "passed"},
    }
    write({"exercises": rows})
    assert progress.of("1.1") == progress.FRESH | {"state": "passed", "passed": "2026-01-01 10:00"}
    assert progress.of("5.2") == progress.of("5.4") == progress.FRESH
    assert progress.of("5.3") == progress.FRESH | {"hints": 2}
    progress.record("5.2", tries=1)
    assert progress.of("9.9")["state"] == "passed", "an exercise of a later version is kept"


def test_a_variable_says_where_the_file_is(tmp_path):
    code = "from exercises import progress; print(progress.FILE)"
    where = str(tmp_path / "mine.json")
    for value, expected in ((where, where), ("", str(progress.FOLDER / "progress.json"))):
        environment = os.environ | {"EXERCISES_PROGRESS": value}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
        assert run.stdout.decode().strip() == expected
