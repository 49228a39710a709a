"""The terminal: python -m exercises."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from exercises import __main__ as terminal
from exercises import progress
from exercises.__main__ import main

ROOT = Path(__file__).parent.parent.parent
ANSWER = '    return {"pass B": 5, "pass C": 8, "overwrite R": 18}\n'
STUB = '    raise NotImplementedError("1.1 is not written yet")\n'


@pytest.fixture
def say(own_desk, capsys):
    """Run a command. Returns: the exit code and what was printed."""

    def said(*words: str) -> tuple[int, str]:
        code = main(list(words))
        return code, capsys.readouterr().out

    return said


def solve(folder: Path, answer: str = ANSWER) -> None:
    path = folder / "ch01_sum.py"
    text = path.read_text()
    assert STUB in text
    path.write_text(text.replace(STUB, answer))


def test_the_list_shows_state_time_and_tries(say, own_desk):
    for words in ((), ("list",)):
        code, out = say(*words)
        assert code == 0
        assert f"Chapter 5: {own_desk}/ch05_four_passes.py, or .ipynb" in out
        assert "  [ ] 5.2  Write pass C (about 15 min, 3 points, implement)" in out
    progress.record("5.2", state="failed", tries=2)
    progress.record("5.3", state="passed", tries=1, hints=3)
    progress.record("5.4", hints=1)
    progress.record("6.1", state="handed in", tries=1)
    out = say()[1]
    assert "[!] 5.2" in out and ", 2 tries)" in out
    assert "[x] 5.3" in out and ", 1 try, 3 hints)" in out
    assert ", 1 hint)" in out and "[x] 6.1" in out


def test_check_one_a_chapter_and_all(say, own_desk):
    assert say("check", "1.1") == (1, "1.1 by_hand: not written yet.\n\n")
    solve(own_desk)
    code, out = say("check", "1.1")
    assert code == 0 and out.startswith("1.1 by_hand: right, on the call.\n  Another way: Pass C")
    code, out = say("check", "1")
    assert code == 1 and out.endswith("1 of 3 are right.\n")
    code, out = say("check", "all")
    assert code == 1 and "5.5 repaired: not yet." in out and out.endswith("1 of 24 are right.\n")
    assert say("check")[1].endswith("1 of 24 are right.\n")
    assert progress.of("1.1") == progress.of("1.1") | {"state": "passed", "tries": 4}


def test_trouble_in_a_file_is_said_once(say, own_desk):
    solve(own_desk, "    return {'pass B': 5\n")
    code, out = say("check", "1")
    assert code == 1
    assert out.count("Python cannot read") == out.count("python -m exercises reset 1.1") == 1
    assert out.count("cannot be checked; ch01_sum.py cannot be read.") == 3


def test_an_exercise_may_be_named_by_its_function(say):
    assert say("check", "by_hand")[1] == say("check", "1.1")[1]
    assert say("hint", "pass_c")[1].startswith("5.2, hint 1 of 3")


def test_hints_come_one_after_the_other_and_the_last_again(say):
    seen = [say("hint", "5.2")[1] for _ in range(4)]
    assert [text.split(":")[0] for text in seen[:3]] == [f"5.2, hint {i} of 3" for i in (1, 2, 3)]
    assert seen[3] == seen[2] and "What I store is what pass B had." not in "".join(seen)
    assert progress.of("5.2")["hints"] == 3
    assert progress.of("5.2")["state"] == "untouched"


def test_after_a_check_that_failed_a_hint_begins_with_what_one_may_see(say):
    progress.record("5.2", state="failed", tries=1)
    first, *_, last = say("hint", "5.2")[1].splitlines()
    assert first == "Do you see one of these?" and last.startswith("5.2, hint 1 of 3")
    assert "What I store is what pass B had." in say("hint", "5.2")[1]


@pytest.mark.parametrize("command", ["check", "hint", "watch", "reset"])
def test_an_unknown_exercise_gets_a_suggestion_and_exit_code_2(command, own_desk, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "5.22"])
    assert left.value.code == 2
    assert "there is no exercise '5.22'; did you mean '5.2'?" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["hint"], ["reset"], ["chek"], ["check", "--seed", "x"]])
def test_what_is_missing_or_wrong_is_said(words, own_desk, capsys):
    before = (own_desk / "ch05_four_passes.py").read_text()
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2 and capsys.readouterr().err
    assert (own_desk / "ch05_four_passes.py").read_text() == before
    assert not (own_desk / "kept").exists()


def test_a_hint_for_a_chapter_is_for_what_is_not_right_yet(say):
    progress.record("5.1", state="passed")
    assert say("hint", "5")[1].startswith("5.2, hint 1 of 3")


def test_all_can_be_reset_and_all_is_kept(say, own_desk):
    solve(own_desk)
    code, out = say("reset", "all")
    assert code == 0 and out.count("the empty function is back") == 24
    assert any(ANSWER in kept.read_text() for kept in (own_desk / "kept").iterdir())
    assert STUB in (own_desk / "ch01_sum.py").read_text()


def test_next_says_what_to_do_now(say):
    assert say("next")[1].startswith("Now begin 1.1 One term of a sum (about 5 min")
    progress.record("1.1", state="passed", tries=1)
    progress.record("1.2", state="failed", tries=1)
    assert say("next")[1].startswith("Now go on with 1.2")
    assert say("next", "1.1")[1] == "All of them are right.\n"


def test_start_makes_copies_and_says_where(say, own_desk):
    (own_desk / "ch05_four_passes.py").unlink()
    code, out = say("start")
    assert code == 0 and "ch05_four_passes.py" in out.splitlines()[0] and "Now begin 1.1" in out
    assert "ch01_sum.py" not in out.splitlines()[0]
    assert "nothing was changed" in say("start")[1]


def test_an_answer_in_the_other_file_is_not_overlooked(say, own_desk):
    book = (ROOT / "exercises" / "ch01_sum.ipynb").read_text()
    line, answer = (json.dumps(text.rstrip())[1:-1] for text in (STUB, ANSWER))
    assert line in book
    (own_desk / "ch01_sum.ipynb").write_text(book.replace(line, answer))
    code, out = say("check", "1.1")
    assert code == 1 and "But ch01_sum.ipynb has an answer: check 1.1 with --notebook." in out
    code, out = say("check", "1.1", "--notebook")
    assert code == 0 and out.startswith("1.1 by_hand: right, on the call.\n")
    assert "ch01_sum.ipynb still has an answer" in say("reset", "1.1")[1]


def test_what_no_longer_passes_is_no_longer_ticked(say, own_desk):
    solve(own_desk)
    say("check", "1.1")
    assert "[x] 1.1" in say("list")[1]
    path = own_desk / "ch01_sum.py"
    path.write_text(path.read_text().replace('"pass C": 8', '"pass C": 9'))
    say("check", "1.1")
    assert "[!] 1.1" in say("list")[1] and "0 of 3, 0 of 7 points" in say("status")[1]


def test_other_cases_can_be_drawn(say, own_desk):
    path = own_desk / "ch01_sum.py"
    stub = '    raise NotImplementedError("1.3 is not written yet")\n'
    path.write_text(path.read_text().replace(stub, "    return {}\n"))
    path.write_text(path.read_text().replace("return {}", 'return orig["a"]'))
    first, again, other = (say("check", "1.3", "--seed", seed)[1] for seed in "778")
    assert first == again and "(seed 7)" in first and "(seed 8)" in other


def test_status_shows_a_bar_for_each_chapter_and_for_all(say):
    progress.record("1.1", state="passed")
    progress.record("1.2", state="failed")
    progress.record("6.1", state="handed in")
    code, out = say("status")
    assert code == 0 and out.splitlines() == [
        "chapter 1  [######..............] 1 of 3, 1 of 7 points",
        "chapter 2  [....................] 0 of 1, 0 of 3 points",
        "chapter 3  [....................] 0 of 5, 0 of 16 points",
        "chapter 4  [....................] 0 of 4, 0 of 13 points",
        "chapter 5  [....................] 0 of 6, 0 of 20 points",
        "chapter 6  [######..............] 1 of 3, 6 of 17 points",
        "chapter 7  [....................] 0 of 2, 0 of 8 points",
        "all        [#...................] 2 of 24, 7 of 84 points",
    ]


def test_reset_says_where_the_file_is_kept(say, own_desk):
    solve(own_desk)
    say("check", "1.1")
    code, out = say("reset", "1.1")
    (kept,) = (own_desk / "kept").iterdir()
    assert code == 0
    assert out == (f"1.1 by_hand: the empty function is back; the file as it was: {kept}\n")
    assert ANSWER in kept.read_text() and STUB in (own_desk / "ch01_sum.py").read_text()
    (own_desk / "ch01_sum.py").unlink()
    assert say("reset", "1.1")[1] == "1.1 by_hand: the empty function is back\n"


def watch(own_desk, monkeypatch, *steps) -> list[str]:
    """What `watch` prints after each of several edits."""
    monkeypatch.setattr(terminal, "PAUSE", 0)
    printed: list[list[str]] = [[]]
    monkeypatch.setattr(terminal, "print_now", lambda text: printed[-1].append(text))
    todo = iter(steps)

    def once() -> bool:
        step = next(todo, None)
        if step is not None:
            printed.append([])
            step()
        return step is None

    asked = terminal.Asked(what=terminal.some("all"), notebook=False, seed=None)
    assert terminal.watch(asked, once) == 0
    return ["\n".join(lines) for lines in printed]


def test_watch_checks_what_changed_and_nothing_else(own_desk, monkeypatch):
    path = own_desk / "ch01_sum.py"
    start, solved, idle, broken, gone = watch(
        own_desk,
        monkeypatch,
        lambda: solve(own_desk),
        lambda: None,
        lambda: path.write_text(path.read_text().replace(ANSWER, "    return {\n")),
        path.unlink,
    )
    assert start.startswith("Watching.") and "5.5 repaired" not in start
    assert "1.1 by_hand: right" in solved and " s)" in solved
    assert "1.2" not in solved and "5.2" not in solved
    assert idle == ""
    assert broken.count("Python cannot read") == 1 and "1.2" not in broken
    assert "ch01_sum.py is not there." in gone


def test_watch_begins_with_what_is_written(own_desk, monkeypatch):
    solve(own_desk)
    (start,) = watch(own_desk, monkeypatch)
    assert "1.1 by_hand: right" in start and "1.2" not in start


def test_control_c_ends_quietly(own_desk, monkeypatch, capsys):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    assert main(["watch", "1.1"]) == 130


@pytest.fixture
def clone(tmp_path) -> Path:
    """A copy of the folder `exercises` alone, without `solutions`, as a class would get it."""
    parts = shutil.ignore_patterns("progress*.json", "work", "__pycache__")
    shutil.copytree(ROOT / "exercises", tmp_path / "exercises", ignore=parts)
    for stem, text in terminal.catalogue.pages().items():
        (tmp_path / "exercises" / f"{stem}.py").write_text(text)
    return tmp_path


def start(clone: Path, *words: str, **more) -> subprocess.Popen:
    path = {"PYTHONPATH": f"{clone}:{ROOT}", "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        [sys.executable, *words], cwd=clone, env=path, stdout=subprocess.PIPE, text=True, **more
    )


def test_the_file_itself_can_be_run(clone):
    start(clone, "-m", "exercises", "start").communicate()
    solve(clone / "exercises" / "work")
    out, _ = start(clone, "exercises/work/ch01_sum.py").communicate()
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "1.1 by_hand: right, on the call.",
        "1.2 r_in_pass_c: not written yet.",
        "1.3 five: not written yet.",
    ]
    assert (clone / "exercises" / "progress.json").exists()


def test_a_list_does_not_wait_for_torch(clone):
    code = "import sys; from exercises.__main__ import main; main(['status']); main(['list'])"
    code += "; main(['hint', '5.2']); sys.exit('torch' in sys.modules)"
    process = start(clone, "-c", code)
    out, _ = process.communicate()
    assert process.returncode == 0 and "5.2, hint 1 of 3" in out


def test_watch_answers_within_seconds(clone):
    start(clone, "-m", "exercises", "start").communicate()
    path = clone / "exercises" / "work" / "ch05_four_passes.py"
    stub = '    raise NotImplementedError("5.3 is not written yet")\n'
    path.write_text(path.read_text().replace(stub, "    return 1\n"))
    process = start(clone, "-m", "exercises", "watch", "5")
    try:
        assert process.stdout.readline().startswith("Watching.")
        while not process.stdout.readline().startswith("("):  # what was written before
            pass
        path.write_text(path.read_text().replace("    return 1\n", "    return stored\n"))
        watching = psutil.Process(process.pid)
        before = sum(watching.cpu_times()[:2])
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[1] == "5.3 pass_d: not yet. (seed 5)\n"
        took = sum(watching.cpu_times()[:2]) - before
        assert took < 10  # seconds of processor time; two of the clock on a quiet machine
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
