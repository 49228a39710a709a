"""The command line, as a person would use it: files, words, exit codes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from random import Random

import numpy as np
import pytest
from test_prompts import GOOD

from pathpatch import Effects, PathPatchError, ioi_prompts
from pathpatch.circuits.circuit import Circuit, Edge
from pathpatch.cli.commands import main
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.tasks.ioi import TEMPLATES

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


def test_the_seed_is_that_of_everything_that_is_written(tmp_path, file, capsys):
    for command in ("sweep", "patch"):
        out = tmp_path / command
        options = ["--model", "tiny-llama", "--prompts", file, "--out", str(out), "--seed", "5"]
        assert main([command, *options]) == 0
        effects = Effects.load(out)
        assert effects.seed == 5
        assert repr(effects) in capsys.readouterr().out


def test_senders_by_name_alone_and_together(tmp_path, file):
    out = tmp_path / "out"
    senders = "0.1,1.mlp_out,embed@S2,0.1+0.2"
    assert sweep(file, out, "--senders", senders, "--receivers", "logits,2.1.q") == 0
    data = json.loads((out / "effects.json").read_text())
    expected = ["0.1.z@END", "1.mlp_out@END", "embed@S2", "0.1.z@END+0.2.z@END"]
    assert data["senders"] == expected
    assert data["receivers"] == ["logits@END", "2.1.q@END"]
    assert not (out / "effects.png").exists()
    out = tmp_path / "other"
    assert sweep(file, out, "--senders", "mlps", "--receivers", "2.resid_post") == 0
    assert json.loads((out / "effects.json").read_text())["senders"][0] == "0.mlp_out@END"


def test_mlps_receive(tmp_path, file):
    out, receivers = tmp_path / "out", "1.mlp_in,2.0.q@S2,2.resid_pre@S2"
    assert sweep(file, out, "--senders", "0.1,1.0", "--receivers", receivers) == 0
    found = Effects.load(out)
    assert found.about.receivers == ["1.mlp_in@END", "2.0.q@S2", "2.resid_pre@S2"]
    assert found.about.engine == "fast" and (abs(found.change).max(1) > 0).all()


def test_a_number_of_prompts_is_so_many_of_ioi_for_every_command(tmp_path):
    for command in ("sweep", "patch"):
        out = tmp_path / command
        options = ["--model", "tiny-llama", "--prompts", "4", "--out", str(out)]
        assert main([command, *options]) == 0
        assert len(json.loads((out / "effects.json").read_text())["base"]) == 4


def test_ioi_walks_and_writes_each_step(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pathpatch.circuits.walk.strongest", lambda effects, n: ["1.0", "2.1"])
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
        assert names == ["blocks", "effects.csv", "effects.json", "effects.png"]
    summary = json.loads((tmp_path / "baseline.json").read_text())
    assert summary["logit_diff"]["low_95"] < summary["logit_diff"]["mean"]
    printed = capsys.readouterr().out
    assert "heads to the queries of 1.0, 2.1\n" in printed
    assert printed.count("(6 prompts, change of logit_diff from") == 4
    tables = [repr(Effects.load(tmp_path / step)) for step in steps]
    assert all(table in printed for table in tables), "what is printed is what is in the file"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--receivers", "9.0.q"], "layer 9 of node 9.0.q@END is out of range"),
        (["--receivers", "0.0.x"], "unknown kind 'x'"),
        (["--senders", "0.9"], "head 9 of node 0.9.z@END is out of range"),
        (["--at", "S3"], "no position 'S3'"),
        (["--at", "14"], "position 14 is outside a prompt"),
        (["--model", "tiny-bert"], "no model 'tiny-bert' here"),
        (["--model", __file__], "What would work: smollm2"),
        (["--prompts", "\u00b2"], "'\u00b2' is neither a file that is here nor a number of IOI"),
        (["--prompts", "9" * 5000], "n, the number of prompts, must be a whole number from 1 to"),
        (["--senders", ""], "a list of nodes has an empty part: ''; what would work: heads, mlps"),
        (["--senders", ","], "a list of nodes has an empty part: ','"),
        (["--receivers", "logits,"], "a list of nodes has an empty part: 'logits,'"),
        (["--at", ""], "--at has an empty part: ''; what would work: positions such as END"),
    ],
)
def test_errors_are_one_line_and_write_nothing(tmp_path, file, more, words, capsys):
    out = tmp_path / "out"
    assert sweep(file, out, *more) == 2
    *before, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert all("asking" in line or "hub" in line for line in before), (
        "no more than that the hub is asked"
    )
    assert list(out.iterdir()) == []


def test_kinds_of_nodes_can_be_listed_and_no_folder_is_none(tmp_path, file, capsys):
    out = tmp_path / "out"
    assert sweep(file, out, "--senders", "heads, mlps,embed@S2") == 0
    rows = json.loads((out / "effects.json").read_text())["senders"]
    assert rows[0] == "0.0.z@END" and rows[18:] == [
        *(f"{i}.mlp_out@END" for i in range(3)),
        "embed@S2",
    ]
    assert main(["sweep", "--model", "tiny-llama", "--prompts", "4", "--out", ""]) == 2
    assert "expected a path, such as 'out/sweep', got ''" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", '["edges"]', '{"edges": 1}', '{"edges": [{"a": 1}]}'])
def test_a_file_that_is_no_circuit_is_named(tmp_path, text):
    path = tmp_path / "effects.json"
    path.write_text(text)
    with pytest.raises(PathPatchError, match=r"effects.json.*edges"):
        Circuit.load(path)
    with pytest.raises(
        PathPatchError, match=r"effects.json does not hold effects, which is a JSON"
    ):
        Effects.load(tmp_path)


def test_stopped_before_the_first_block_it_promises_nothing(tmp_path, file, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathpatch.cli.commands.path_sweep", stop)
    assert sweep(file, tmp_path) == 130
    assert capsys.readouterr().err == "stopped\n"
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "0.npy").touch()
    assert sweep(file, tmp_path) == 130
    assert "goes on from the last finished block" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("discover", option) for option in ("--rounds 0", "--rounds 1.5", "--error 2")),
        *(
            ("discover", option)
            for option in ("--error nan", "--least -1", "--least-attention 1.1")
        ),
        *(("circuit", option) for option in ("--random-sets -1", "--runs 0", "--steps 0")),
        *(("trace", option) for option in ("--draws -1", "--draws 0", "--sigmas nan")),
        *(("trace", option) for option in ("--seed -1", "--reach -1 2", "--sigmas inf")),
        *(("ioi", option) for option in ("--memory nan", "--memory 0", "--memory -1", "--seed x")),
        *(("trace", f"{option} {'9' * 40}") for option in ("--seed", "--draws", "--reach 1")),
    ],
)
def test_numbers_out_of_range_are_mistakes_of_use(tmp_path, name, option, capsys):
    needed = ["--prompts", "4", "--nodes", "0.1"] if name == "circuit" else []
    with pytest.raises(SystemExit) as stop:
        command(name, tmp_path / "out", *needed, *option.split())
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument {option.split()[0]}: it must be a " in said
    assert not (tmp_path / "out").exists()


def test_what_ends_the_options_is_no_value(tmp_path, capsys):
    """argparse makes an empty list of it."""
    for name, option in (("sweep", "--at"), ("trace", "--sigmas"), ("check-prompts", "--model")):
        with pytest.raises(SystemExit) as stop:
            main([name, f"{option}=--"])
        assert stop.value.code == 2
        assert f"error: '{option}=--': -- is no value" in capsys.readouterr().err


def test_a_bad_file_or_folder(tmp_path, file, capsys):
    assert sweep(str(tmp_path / "none.json"), tmp_path / "out") == 2
    assert "is neither a file that is here nor a number" in capsys.readouterr().err
    assert sweep(file, Path(file) / "below") == 2
    assert "cannot write into the folder" in capsys.readouterr().err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_failed_sweep_keeps_the_results_of_the_last(tmp_path, file, capsys):
    out = tmp_path / "out"
    assert sweep(file, out) == 0
    before = contents(out)
    assert sweep(file, out, "--receivers", "9.0.q") == 2
    assert sweep(file, out, "--receivers", "2.0.q") == 2
    assert "holds blocks of another sweep, which differs in receivers" in capsys.readouterr().err
    assert contents(out) == before
    assert sweep(file, out) == 0, "the same sweep again is welcome"
    assert contents(out) == before


class Long:
    """A sweep that takes many seconds, in many blocks; to be stopped, in another process."""

    def __init__(self, folder: Path, prompts: int = 160) -> None:
        rows = [dict(pair) for pair in PAIRS for _ in range(prompts // 2)]
        (folder / "many.json").write_text(json.dumps(rows))
        self.folder = folder

    def words(self, out: str) -> list[str]:
        options = f"--model tiny-llama --prompts {self.folder / 'many.json'} --receivers 2.0.q"
        return f"sweep {options} --engine literal --out {self.folder / out}".split()

    def start(self, out: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "pathpatch", *self.words(out)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def blocks(self, out: str) -> dict[str, int]:
        """The finished blocks, with the time each was written."""
        files = (self.folder / out / "blocks").glob("*.npy")
        return {path.name: path.stat().st_mtime_ns for path in files}

    def interrupt(self, out: str, number: int) -> tuple[subprocess.Popen, bytes]:
        """Start, wait for two blocks, send a signal."""
        process = self.start(out)
        while process.poll() is None and len(self.blocks(out)) < 2:
            time.sleep(0.02)
        process.send_signal(number)
        return process, process.communicate(timeout=600)[1]


def test_a_sweep_that_was_killed_goes_on_where_it_stopped(tmp_path):
    long = Long(tmp_path)
    process, _ = long.interrupt("killed", signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    early = long.blocks("killed")
    assert not (tmp_path / "killed" / "effects.json").exists()
    for out in ("killed", "whole"):
        assert main(long.words(out)) == 0
    late = long.blocks("killed")
    assert 2 <= len(early) < len(late)
    assert {name: late[name] for name in early} == early, "finished blocks are not done again"
    killed, whole = ((tmp_path / out / "effects.json").read_bytes() for out in ("killed", "whole"))
    assert killed == whole


def test_ctrl_c_ends_a_sweep_and_keeps_whole_blocks(tmp_path):
    long = Long(tmp_path, 1200)  # many seconds, so that it cannot end before it is stopped
    process, error = long.interrupt("out", signal.SIGINT)
    assert process.returncode == 130, error
    assert b"literal engine, 18 senders on 1200 prompts" in error, "the cost comes first"
    assert b"stopped; the same command goes on from the last finished block" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["blocks"]
    kept = [path.name for path in (tmp_path / "out" / "blocks").iterdir()]
    assert not [name for name in kept if name.startswith(".writing")]


def test_check_model(capsys):
    assert main(["check-model"]) == 0
    assert "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" in (
        capsys.readouterr().out
    )


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("ioi", "sweep", "patch", "trace", "circuit"))


FACTS = [
    ["Then, {} gave a ring to", "Mary and John", " Anna", "Paul and Lucy", " Susan"],
    ["Then, {} said to", "Mary", " Anna", "John", " Paul"],
]


@pytest.fixture
def facts(tmp_path) -> str:
    path = tmp_path / "facts.json"
    keys = ("template", "subject", "answer", "other", "foil")
    path.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in FACTS]))
    return str(path)


def command(name: str, out: Path, *more: str) -> int:
    return main([name, "--model", "tiny-llama", "--out", str(out), *more])


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_patch_writes_what_it_did(tmp_path, file, direction, capsys):
    out = tmp_path / "out"
    more = ["--prompts", file, "--at", "S2,END", "--direction", direction]
    assert command("patch", out, *more, "--nodes", "resid_pre") == 0
    data = json.loads((out / "effects.json").read_text())
    names = [f"{layer}.resid_pre@{at}" for layer in range(3) for at in ("S2", "END")]
    assert data["senders"] == names
    assert (data["engine"], data["receivers"]) == ("activation patching, fast", [])
    assert (data["direction"], data["metric"]) == (direction, "logit_diff")
    assert "2 prompts, change of logit_diff" in capsys.readouterr().out
    out = tmp_path / "other"
    assert command("patch", out, *more[:2], "--metric", "answer_prob") == 0
    assert (out / "effects.png").stat().st_size > 5000
    out = tmp_path / "third"
    assert command("patch", out, *more, "--nodes", "0.1.q,1.2@3+0.mlp_out") == 0
    data = json.loads((out / "effects.json").read_text())
    assert data["senders"] == [
        "0.1.q@S2",
        "0.1.q@END",
        "1.2.z@3+0.mlp_out@S2",
        "1.2.z@3+0.mlp_out@END",
    ]


def test_trace_writes_every_draw(tmp_path, facts, capsys):
    out = tmp_path / "out"
    more = ["--facts", facts, "--draws", "3", "--restore", "mlp_out", "--reach", "1", "0"]
    assert command("trace", out, *more, "--sever", "attn_out") == 0
    data = json.loads((out / "effects.json").read_text())
    assert data["senders"][3:5] == [
        "0.mlp_out@subject_first+1.mlp_out@subject_first",
        "0.mlp_out@subject_last+1.mlp_out@subject_last",
    ]
    assert (data["engine"], data["frozen"]) == ("causal tracing, noise, fast", "attn_out")
    assert (data["direction"], data["metric"]) == ("denoising", "answer_prob")
    draws = json.loads((out / "trace.json").read_text())
    assert [len(draws["restored"]), len(draws["restored"][0])] == [9, 3]
    assert "3 draw(s)" in capsys.readouterr().out
    out = tmp_path / "other"
    assert command("trace", out, "--facts", facts, "--corruption", "replace") == 0
    data = json.loads((out / "effects.json").read_text())
    assert data["engine"] == "causal tracing, replaced tokens, fast"
    assert data["senders"][-1] == "2.resid_post@END"
    draws = json.loads((out / "trace.json").read_text())
    assert draws["restored"][-1] == [pytest.approx(draws["clean"], abs=1e-9)]


def test_the_seed_of_the_noise(tmp_path, facts):
    found = []
    for i, seed in enumerate(("0", "0", "1")):
        more = ["--facts", facts, "--draws", "2", "--seed", seed]
        assert command("trace", tmp_path / str(i), *more) == 0
        found.append((tmp_path / str(i) / "trace.json").read_text())
    assert found[0] == found[1] != found[2]
    assert Effects.load(tmp_path / "2").seed == 1


def test_trace_says_what_a_larger_run_would_add(tmp_path, facts, capsys):
    more = ["--facts", facts, "--draws", "1", "--at", "END"]
    assert command("trace", tmp_path / "out", *more, "--prompts", "1") == 0
    said = "1 of 2 facts. A larger run: --prompts 2 asks about all, in 2 times the time"
    assert said in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "blocks").glob("*.npy"))) == 1
    assert command("trace", tmp_path / "all", *more) == 0
    assert "A larger run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("patch", ["--nodes", "0.9"], "head 9 of node 0.9.z@END is out of range"),
        ("patch", ["--nodes", "resid_mid"], "unknown kind 'resid_mid'"),
        ("patch", ["--nodes", "logits"], "the logits cannot be patched"),
        ("patch", ["--at", "S3"], "no position 'S3'"),
        ("trace", ["--at", "S2"], "no position 'S2'"),
    ],
)
def test_errors_of_patch_and_trace(tmp_path, file, facts, name, more, words, capsys):
    out = tmp_path / "out"
    given = ["--prompts", file] if name == "patch" else ["--facts", facts]
    assert command(name, out, *given, *more) == 2
    *before, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert all("asking" in line or "hub" in line for line in before), (
        "no more than that the hub is asked"
    )
    assert list(out.iterdir()) == []


def test_a_bad_file_of_facts(tmp_path, file, capsys):
    assert command("trace", tmp_path / "out", "--facts", str(tmp_path / "none.json")) == 2
    assert "cannot read facts" in capsys.readouterr().err
    assert command("trace", tmp_path / "out", "--facts", file) == 2
    assert "unknown key 'clean'" in capsys.readouterr().err


CIRCUIT = "0.1@S2,1.2@END,2.0"
FEW = ["--random-sets", "3", "--runs", "2", "--steps", "2"]


@pytest.fixture
def grouped(tmp_path) -> str:
    pairs = ioi_prompts(tiny_tokenizer(), 8, Random(1), TEMPLATES[:2]).pairs
    path = tmp_path / "grouped.json"
    path.write_text(json.dumps([vars(pair) for pair in pairs]))
    return str(path)


def test_circuit_writes_what_it_did(tmp_path, grouped, capsys):
    out = tmp_path / "out"
    assert command("circuit", out, "--prompts", grouped, "--nodes", CIRCUIT, *FEW) == 0
    printed = capsys.readouterr().out
    assert "3 parts on 8 prompts; knocked out: mean" in printed
    assert "(a mean is over 2 or more x_new prompts of a template)" in printed
    assert sorted(path.name for path in out.iterdir()) == ["choices.csv", "evaluation.json"]
    data = json.loads((out / "evaluation.json").read_text())
    assert data["circuit"] == ["0.1.z@S2", "1.2.z@END", "2.0.z"]
    assert (data["reference"], data["positions"]) == ("mean", "labelled")
    assert (data["candidates"], data["metric"]) == ("heads", "logit_diff")
    assert data["prompts_sha256"] == data["over_sha256"]
    assert list(data["faithfulness"]) == ["model", "circuit", "nothing"]
    assert list(data["completeness"]) == ["greedy", "random 1", "random 2", "random 3"]
    assert list(data["minimality"]) == data["circuit"]
    gaps = [*data["completeness"].values(), *data["minimality"].values()]
    assert all(len(gap["one"]) == len(gap["other"]) == 8 for gap in gaps)
    assert all(set(gap["removed"]) <= set(data["circuit"]) for gap in gaps)
    for gap in gaps:
        one, other = sum(gap["one"]) / 8, sum(gap["other"]) / 8
        assert f" {one:8.3f} {other:8.3f} {other - one:+8.3f}   [" in printed
    rows = list(csv.DictReader((out / "choices.csv").read_text().splitlines()))
    assert len(rows) == 16
    circuit = sum(data["faithfulness"]["circuit"]) / 8
    assert float(rows[0]["circuit"]) == pytest.approx(circuit, abs=1e-9)
    assert f"  F of circuit         {circuit:8.3f}" in printed
    again = tmp_path / "again"
    assert command("circuit", again, "--prompts", grouped, "--nodes", CIRCUIT, *FEW) == 0
    for name in ("choices.csv", "evaluation.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_circuit_takes_edges(tmp_path, grouped, capsys):
    asked, edges = ["--prompts", grouped, *FEW], "0.1.z@S2 -> 2.0.k@S2,2.0.z@END -> logits@END"
    assert command("circuit", tmp_path / "typed", *asked, "--edges", edges) == 0
    typed = json.loads((tmp_path / "typed" / "evaluation.json").read_text())
    assert typed["circuit"] == edges.split(",") == list(typed["minimality"])
    assert "2 parts on 8 prompts" in capsys.readouterr().out
    saved = tmp_path / "circuit.json"
    nothing = (0.0,) * 5
    Circuit([Edge(*edge.split(" -> "), *nothing) for edge in edges.split(",")]).save(saved)
    given = ["--circuit", str(saved), "--keep", "edges"]
    assert command("circuit", tmp_path / "saved", *asked, *given) == 0
    read = json.loads((tmp_path / "saved" / "evaluation.json").read_text())
    assert read == typed
    assert command("circuit", tmp_path / "none", *asked, "--edges", "0.1.z@S2 -> 2.0.z") == 2
    assert "2.0.z does not receive" in capsys.readouterr().err


def test_every_choice_of_circuit_is_an_option(tmp_path, file, grouped, capsys):
    out, saved = tmp_path / "out", tmp_path / "circuit.json"
    edges = [("1.2.z@END", "logits@END"), ("embed@S2", "1.2.v@S2"), ("0.1.z@S2", "1.2.q@END")]
    Circuit(
        [Edge(*edge, 1.0, 0.0, 2.0, 50.0, 0.01) for edge in edges], {"model": "tiny-llama"}
    ).save(saved)
    more = ["--reference", "resample", "--positions", "all", "--candidates", "heads+mlps"]
    more += ["--metric", "answer_prob", "--over", grouped, "--seed", "3", "--nodes-per-step", "1"]
    given = ["--prompts", grouped, "--circuit", str(saved)]
    assert command("circuit", out, *given, *FEW, *more) == 0
    data = json.loads((out / "evaluation.json").read_text())
    assert data["circuit"] == ["0.1.z@S2", "1.2.z@END"]
    assert [data[key] for key in ("reference", "positions", "candidates", "metric")] == [
        "resample",
        "all",
        "heads+mlps",
        "answer_prob",
    ]
    # prompts without a group stand alone: a mean over one prompt, which is said
    nodes = ["--prompts", file, "--nodes", "0.1@S2"]
    assert command("circuit", out, *nodes, *FEW) == 0
    assert "(a mean is over 1 or more x_new prompts of a template)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--nodes", "9.0"], "layer 9 of node 9.0.z is out of range"),
        (["--nodes", "0.0.x"], "unknown kind 'x'"),
        (["--nodes", ""], "unknown kind '' in node"),
        (["--nodes", "0.1.q@END"], "0.1.q@END cannot be kept or knocked out"),
        (["--nodes", "0.mlp_out@END"], "(choices: heads, heads+mlps)"),
        (["--nodes", "0.1@S3"], "no position 'S3'"),
        (["--nodes", "0.1", "--over", "none.json"], "cannot read prompts from none.json"),
        (["--nodes", "0.1", "--over", ""], "expected a path, such as 'out/sweep', got ''"),
        (["--nodes", "0.1", "--over", "{file}"], "find no prompt of their template in `over`"),
        (["--nodes", "0.1", "--prompts", "none.json"], "'none.json' is neither a file"),
        (["--circuit", "none.json"], "cannot read a circuit from none.json"),
        (["--circuit", "{file}"], "does not hold a circuit"),
        (["--circuit", "{empty}"], "the circuit has no heads that send"),
    ],
)
def test_errors_of_circuit(tmp_path, file, grouped, more, words, capsys):
    empty, out = tmp_path / "empty.json", tmp_path / "out"
    Circuit([]).save(empty)
    more = [word.format(file=file, empty=empty) for word in more]
    assert command("circuit", out, "--prompts", grouped, *more) == 2
    *before, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert all("asking" in line or "hub" in line for line in before), (
        "no more than that the hub is asked"
    )
    assert list(out.iterdir()) == []


def test_a_circuit_of_another_model_is_said_to_be(tmp_path, grouped, capsys):
    """Its heads are numbers, which the other model has too."""
    edge = Edge("0.1.z@S2", "1.0.q@END", *(0.0,) * 5)
    for there, said in (("gpt2", True), ("tiny-llama", False)):
        Circuit([edge], {"model": there}).save(tmp_path / "circuit.json")
        asked = ["--prompts", grouped, "--circuit", str(tmp_path / "circuit.json")]
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert command("circuit", tmp_path / "out", *asked, *FEW) == 0
        words = "the circuit is of gpt2, not of tiny-llama"
        assert (words in capsys.readouterr().err) == said


def test_circuit_needs_one_circuit(tmp_path, grouped, capsys):
    for more in ([], ["--nodes", "0.1", "--circuit", "x.json"]):
        with pytest.raises(SystemExit):
            command("circuit", tmp_path / "out", "--prompts", grouped, *more)
    assert "not allowed with argument" in capsys.readouterr().err


def test_only_sweeps_go_on_after_ctrl_c(tmp_path, grouped, monkeypatch, capsys):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pathpatch.cli.commands.report_circuit", stop)
    assert command("circuit", tmp_path, "--prompts", grouped, "--nodes", "0.1") == 130
    assert capsys.readouterr().err == "stopped\n"


def discover(out: Path, *more: str) -> int:
    return main(["discover", "--model", "tiny-llama", "--out", str(out), *more])


def test_discover_writes_the_circuit(tmp_path, capsys, monkeypatch):
    # On a random model nothing stands out; let everything pass the test.
    passes = "pathpatch.circuits.discovery.sign_flip_test"
    monkeypatch.setattr(passes, lambda changes, *_: np.zeros(len(changes)))
    more = [
        "--prompts",
        "4",
        "--error",
        "1",
        "--rounds",
        "2",
        "--least",
        "5",
        "--least-attention",
        "0.2",
    ]
    assert discover(tmp_path / "a", *more) == 0
    said = capsys.readouterr().out
    circuit = Circuit.load(tmp_path / "a" / "circuit.json")
    receivers = {edge.receiver for edge in circuit.edges}
    assert "logits@END" in receivers and len(receivers) > 1
    for edge in circuit.edges:
        assert abs(edge.percent) >= 5
        assert f"{edge.sender:14} -> {edge.receiver:14} {edge.change:+8.3f}" in said
    assert circuit.about["rule"] == {
        "error": 1.0,
        "least": 5.0,
        "least_attention": 0.2,
        "rounds": 2,
    }
    assert (circuit.about["model"], circuit.about["prompts"]) == ("tiny-llama", 4)
    paths = sum(step["paths"] for step in circuit.about["rounds"])
    assert f"{len(circuit.edges)} of {paths} paths, in 2 rounds" in said
    assert (tmp_path / "a" / "circuit.png").stat().st_size > 10_000
    assert discover(tmp_path / "b", *more) == 0
    assert Circuit.load(tmp_path / "b" / "circuit.json") == circuit, "same seed, same circuit"


def test_discover_finds_nothing_in_a_random_model_and_says_so(tmp_path, file, capsys):
    assert discover(tmp_path, "--prompts", file) == 0
    assert "0 of " in capsys.readouterr().out
    assert Circuit.load(tmp_path / "circuit.json").edges == []
    assert not (tmp_path / "circuit.png").exists()


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ("0", "must be a whole number from 1 to 100000, got 0"),
        ("nowhere.json", "nowhere.json"),
        ("-3", "-3"),
    ],
)
def test_errors_of_discover(tmp_path, prompts, words, capsys):
    assert discover(tmp_path, f"--prompts={prompts}") == 2
    assert words in capsys.readouterr().err
