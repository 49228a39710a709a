"""The command line, as a person would use it: files, words, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_prompts import GOOD

from pathpatch.__main__ import main

ROOT = Path(__file__).parent.parent
PAIRS = [
    GOOD,
    {
        "clean": "Then, Anna and Paul had a long argument. Afterwards Paul said to",
        "corrupt": "Then, Lucy and Mary had a long argument. Afterwards John said to",
        "answer": " Anna",
        "foil": " Paul",
        "positions": {"S2": 11},
    },
]


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(PAIRS))
    return str(path)


def sweep(file: str, out: Path, *more: str) -> int:
    return main(["sweep", "--model", "tiny-llama", "--prompts", file, "--out", str(out), *more])


@pytest.mark.parametrize("engine", ["fast", "literal"])
@pytest.mark.parametrize("frozen", ["heads", "heads+mlps"])
@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_a_sweep_writes_what_it_did(tmp_path, file, engine, frozen, direction, capsys):
    out = tmp_path / "out"
    choices = ["--frozen", frozen, "--direction", direction, "--engine", engine]
    assert sweep(file, out, "--receivers", "2.0.v,2.kv1.k", "--at", "S2", *choices) == 0
    data = json.loads((out / "effects.json").read_text())
    assert data["model"] == "tiny-llama"
    assert data["receivers"] == ["2.0.v@S2", "2.kv1.k@S2"]
    assert (data["at"], data["frozen"]) == ("S2", frozen)
    assert (data["direction"], data["engine"]) == (direction, engine)
    assert data["metric"] == "logit_diff"
    assert len(data["base"]) == 2
    assert [len(row) for row in data["patched"]] == [2] * 18
    assert data["senders"][7] == "1.1.z@S2"
    assert data["patched"][17] == pytest.approx(data["base"], abs=1e-9)
    assert (out / "effects.png").stat().st_size > 5000
    assert "0.0.z@S2" in (out / "effects.csv").read_text()
    assert "2 prompts, change of logit_diff" in capsys.readouterr().out


def test_senders_by_name_alone_and_together(tmp_path, file):
    out = tmp_path / "out"
    senders = "0.1,1.mlp_out,embed@S2,0.1+0.2"
    assert sweep(file, out, "--senders", senders, "--receivers", "logits,2.1.q") == 0
    data = json.loads((out / "effects.json").read_text())
    expected = ["0.1.z@END", "1.mlp_out@END", "embed@S2", "0.1.z@END+0.2.z@END"]
    assert data["senders"] == expected
    assert data["receivers"] == ["logits@END", "2.1.q@END"]
    assert not (out / "effects.png").exists()
    assert sweep(file, out, "--senders", "mlps", "--receivers", "2.resid_post") == 0
    assert json.loads((out / "effects.json").read_text())["senders"][0] == "0.mlp_out@END"


def test_ioi_walks_and_writes_each_step(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pathpatch.walk.strongest", lambda effects, n: ["1.0", "2.1"])
    options = ["--model", "tiny-gpt2", "--prompts", "6", "--out", str(tmp_path)]
    assert main(["ioi", *options]) == 0
    steps = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert steps == [
        "1-heads-to-logits",
        "2-heads-to-queries",
        "3-heads-to-values",
        "4-heads-to-keys",
    ]
    for step in steps:
        names = sorted(path.name for path in (tmp_path / step).iterdir())
        assert names == ["effects.csv", "effects.json", "effects.png"]
    summary = json.loads((tmp_path / "baseline.json").read_text())
    assert summary["logit_diff"]["low_95"] < summary["logit_diff"]["mean"]
    printed = capsys.readouterr().out
    assert "heads to the queries of 1.0, 2.1 (6 prompts, change of logit_diff)" in printed
    assert printed.count("%") >= 40


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--receivers", "9.0.q"], "layer 9 of node 9.0.q@END is out of range"),
        (["--receivers", "0.0.x"], "unknown kind 'x'"),
        (["--senders", "0.9"], "head 9 of node 0.9.z@END is out of range"),
        (["--at", "S3"], "no position 'S3'"),
        (["--at", "14"], "position 14 is outside a prompt"),
        (["--model", "tiny-bert"], "no model 'tiny-bert' here"),
    ],
)
def test_errors_are_one_line_and_write_nothing(tmp_path, file, more, words, capsys):
    out = tmp_path / "out"
    assert sweep(file, out, *more) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert list(out.iterdir()) == []


def test_a_bad_file_or_folder(tmp_path, file, capsys):
    assert sweep(str(tmp_path / "none.json"), tmp_path / "out") == 1
    assert "cannot read prompts" in capsys.readouterr().err
    assert sweep(file, Path(file) / "below") == 1
    assert "cannot write into the folder" in capsys.readouterr().err


def test_a_failed_sweep_keeps_the_results_of_the_last(tmp_path, file):
    out = tmp_path / "out"
    assert sweep(file, out) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert sweep(file, out, "--receivers", "9.0.q") == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_ctrl_c_ends_a_sweep_and_leaves_nothing(tmp_path):
    rows = [dict(pair) for pair in PAIRS for _ in range(400)]
    path = tmp_path / "many.json"
    path.write_text(json.dumps(rows))
    out = tmp_path / "out"
    command = f"sweep --model tiny-llama --prompts {path} --engine literal --receivers 2.0.q"
    process = subprocess.Popen(
        [sys.executable, "-m", "pathpatch", *command.split(), "--out", str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    line = process.stderr.readline()  # the cost, said before the first pass
    assert b"literal engine" in line
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped: nothing of the unfinished step was written" in error
    assert list(out.iterdir()) == []


def test_check_model(capsys):
    assert main(["check-model"]) == 0
    assert "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" in (
        capsys.readouterr().out
    )


def test_help_names_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "pathpatch", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("ioi", "sweep", "check-model"))
