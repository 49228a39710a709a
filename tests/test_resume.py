"""Finished blocks: taken only where every number is certain to be that of the sweep asked for."""

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny
from test_cost import tight

from pathpatch import (
    LOGITS,
    PathPatchError,
    SweepOptions,
    activation_sweep,
    answer_prob,
    logit_diff,
    run,
    tiny_model,
)
from pathpatch.engine import jobs
from pathpatch.engine.identity import config, library, metric_source
from pathpatch.engine.store import Blocks
from pathpatch.models.weights import fingerprint, settings

NODES = ["0.1@END", "1.mlp_out@S2", "embed@S1"]
SCALE = 1.0


def scaled(logits, prompts):
    return SCALE * helper(logits, prompts)


def helper(logits, prompts):
    return logit_diff(logits, prompts)


def with_default(logits, prompts, scale=2.0):
    return scale * logit_diff(logits, prompts)


def with_attribute(logits, prompts):
    return with_attribute.scale * logit_diff(logits, prompts)


with_attribute.scale = 1.0


def of_a_set(logits, prompts):
    return logit_diff(logits, prompts) * (prompts.direction in {"noising", "denoising", "none"})


class Callable_:
    def __call__(self, logits, prompts):
        return logit_diff(logits, prompts)


def closure(scale: float):
    def metric(logits, prompts):
        return scale * logit_diff(logits, prompts)

    return metric


def sweep(tiny: Tiny, folder: Path, metric=logit_diff, model=None, memory: float = 2.0):
    how = SweepOptions(folder=folder, memory=memory)
    return activation_sweep(
        model or tiny.model, tiny.prompts, nodes=NODES, metric=metric, options=how
    ).patched


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """How many senders every block that is computed has."""
    done, compute = [], jobs.compute

    def count(parcel, prompts, spec, tick=int):
        done.append(len(spec.senders))
        return compute(parcel, prompts, spec, tick)

    monkeypatch.setattr(jobs, "compute", count)
    return done


# --------------------------------------------------------------------------------- the metric


@pytest.mark.parametrize(
    "metric",
    [
        lambda logits, prompts: logit_diff(logits, prompts),
        functools.partial(logit_diff),
        closure(2.0),
        with_default,
        Callable_(),
    ],
    ids=["lambda", "partial", "closure", "default", "object"],
)
def test_a_metric_that_cannot_be_told_from_another_is_refused(tiny: Tiny, tmp_path, metric):
    with pytest.raises(PathPatchError, match="what would work: a function written with def at the"):
        sweep(tiny, tmp_path, metric)
    assert not list(tmp_path.rglob("*.npy"))
    activation_sweep(
        tiny.model, tiny.prompts[:1], nodes=NODES[:1], metric=metric
    )  # without a folder it is fine


def test_a_named_metric_goes_on_until_what_it_reads_changes(tiny, tmp_path, monkeypatch, counted):
    first = sweep(tiny, tmp_path, scaled)
    assert len(counted) == 1
    assert np.array_equal(sweep(tiny, tmp_path, scaled), first)
    assert len(counted) == 1, "nothing was computed again"
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    with pytest.raises(PathPatchError, match="another sweep, which differs in metric_source"):
        sweep(tiny, tmp_path, scaled)


def test_a_changed_helper_is_another_metric(monkeypatch):
    before = metric_source(scaled)
    monkeypatch.setitem(globals(), "helper", answer_prob)
    assert metric_source(scaled) != before
    monkeypatch.setitem(globals(), "helper", object())
    with pytest.raises(PathPatchError, match="reads 'helper', a object that cannot be compared"):
        metric_source(scaled)
    monkeypatch.setitem(globals(), "SCALE", {"a": [torch.ones(2), np.zeros(2), (1, None, "x")]})
    monkeypatch.setitem(globals(), "helper", logit_diff)
    there = metric_source(scaled)
    monkeypatch.setitem(globals(), "SCALE", {"a": [torch.ones(2), np.ones(2), (1, None, "x")]})
    assert metric_source(scaled) != there


def test_a_changed_attribute_makes_another_metric(tiny, tmp_path, monkeypatch, counted):
    first = sweep(tiny, tmp_path, with_attribute)
    assert np.array_equal(sweep(tiny, tmp_path, with_attribute), first) and len(counted) == 1
    monkeypatch.setattr(with_attribute, "scale", 4.0)
    with pytest.raises(PathPatchError, match="another sweep, which differs in metric_source"):
        sweep(tiny, tmp_path, with_attribute)
    monkeypatch.setattr(with_attribute, "scale", object())
    with pytest.raises(PathPatchError, match="reads 'scale', a object that cannot be compared"):
        metric_source(with_attribute)


def test_the_same_function_elsewhere_is_the_same(tmp_path):
    text = Path(__file__).read_text(encoding="utf-8")
    there: dict = {"__name__": "another"}
    exec(compile("\n\n" + text.split("@pytest.fixture")[0], "other.py", "exec"), there)
    assert metric_source(there["scaled"]) == metric_source(scaled)
    assert metric_source(there["of_a_set"]) == metric_source(of_a_set) != metric_source(scaled)
    assert metric_source(logit_diff) == "logit_diff"


# ----------------------------------------------------------------------- the model, the library


def test_the_same_weights_with_another_configuration_are_another_model(llama: Tiny, tmp_path):
    sweep(llama, tmp_path)
    rope = llama.model.original_model.config.rope_parameters
    theta = rope["rope_theta"]
    try:
        rope["rope_theta"] = 2 * theta
        with pytest.raises(PathPatchError, match="another sweep, which differs in config"):
            sweep(llama, tmp_path)
    finally:
        rope["rope_theta"] = theta


def angles(model):
    model.model.rotary_emb.inv_freq.mul_(0.1)


def norm(model):
    model.model.norm.eps = 2.0


def activation(model):
    for module in [m for m in model.modules() if "act_fn" in m._modules]:
        module.act_fn = torch.nn.ReLU()


def flag(model):
    model.model.layers[0].self_attn.scaling *= 3


def another_forward(model):
    model.lm_head.forward = lambda x: 2 * x


def listed(model):
    model.model.layers[1].factors = {"low": [1.0, 2.0]}


CHANGES = (angles, norm, activation, flag, another_forward, listed)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_neither_weight_nor_configuration_makes_another_model(llama, tmp_path, change):
    model = tiny_model("llama", 2)
    first = sweep(llama, tmp_path, model=model)
    assert np.array_equal(sweep(llama, tmp_path, model=tiny_model("llama", 2)), first)
    weights = fingerprint(model, again=True)
    change(model.original_model)
    assert fingerprint(model, again=True) == weights
    with pytest.raises(PathPatchError, match="another sweep, which differs in config"):
        sweep(llama, tmp_path, model=model)


def test_a_pass_changes_nothing_of_what_a_model_is(tiny: Tiny):
    before = list(settings(tiny.model))
    run(tiny.model, tiny.prompts.orig, reads=[LOGITS, "1.2.pattern@END", "0.0.z"])
    assert list(settings(tiny.model)) == before


def test_another_version_is_another_sweep(gpt2: Tiny, tmp_path, monkeypatch):
    sweep(gpt2, tmp_path)
    assert "torch" in library() and "pathpatch" in library()
    monkeypatch.setattr("pathpatch.engine.identity.library", lambda: "torch 1.0")
    with pytest.raises(PathPatchError, match="another sweep, which differs in library"):
        sweep(gpt2, tmp_path)


def test_a_configuration_is_the_same_text_every_time(tiny: Tiny):
    assert "0x" not in config(tiny.model) and config(tiny.model) == config(tiny.model)


# ------------------------------------------------------------------------------- the files


def damage(file: Path, how: str) -> None:
    values = np.load(file)
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-40])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "one bit":
        content = bytearray(file.read_bytes())
        content[-50] ^= 1
        file.write_bytes(bytes(content))
    else:
        changed = {"not a number": values * np.nan, "another shape": values[:2], "old": values}
        with file.open("wb") as out:
            np.save(out, changed[how])


DAMAGE = ("truncated", "empty", "one bit", "not a number", "another shape", "old")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_block_is_computed_again_and_said(gpt2: Tiny, tmp_path, capsys, counted, how):
    asked = {"senders": NODES, "receivers": ["2.0.q@END"]}
    memory = tight(gpt2, **asked).memory
    first = sweep(gpt2, tmp_path, memory=memory)
    files = sorted((tmp_path / "blocks").glob("*.npy"))
    assert len(files) >= 2 and len(counted) == len(files)
    damage(files[1], how)
    capsys.readouterr()
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)
    assert len(counted) == len(files) + 1
    said = capsys.readouterr().err
    assert f"block(s) {files[1].stem} of {len(files)} are damaged or of another sweep" in said
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)
    assert len(counted) == len(files) + 1


def blocks_of(gpt2: Tiny, folder: Path) -> tuple[np.ndarray, list[Path], float]:
    """A finished sweep of several blocks: its numbers, its files, and the memory it was allowed."""
    memory = tight(gpt2, senders=NODES, receivers=["2.0.q@END"]).memory
    first = sweep(gpt2, folder, memory=memory)
    return first, sorted((folder / "blocks").glob("*.npy")), memory


def test_a_block_in_the_place_of_another_is_computed_again(gpt2: Tiny, tmp_path, capsys, counted):
    first, files, memory = blocks_of(gpt2, tmp_path)
    one, other = (file.read_bytes() for file in files[:2])
    assert one[-32:] != other[-32:]
    files[0].write_bytes(other)
    files[1].write_bytes(one)
    counted.clear()
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)
    assert len(counted) == 2 and "block(s) 0, 1 of" in capsys.readouterr().err
    files[1].write_bytes(files[0].read_bytes())
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)


@pytest.mark.parametrize("text", ["[]", "null", "1", '"x"', "{ half of", "[" * 100_000, "\x00"])
def test_a_sweep_json_that_says_nothing_is_written_again(gpt2: Tiny, tmp_path, counted, text):
    first, _, memory = blocks_of(gpt2, tmp_path)
    file, computed = tmp_path / "blocks" / "sweep.json", len(counted)
    said = file.read_text()
    file.write_text(text)
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)
    assert len(counted) == computed and file.read_text() == said


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["sweep.json", "1.npy"])
def test_what_is_no_file_is_named_in_a_sentence(gpt2: Tiny, tmp_path, make, name):
    _, _, memory = blocks_of(gpt2, tmp_path)
    (tmp_path / "blocks" / name).unlink()
    make(tmp_path / "blocks" / name)
    with pytest.raises(PathPatchError, match=f"cannot read .*{name}: it is not a file; delete it"):
        sweep(gpt2, tmp_path, memory=memory)


def test_a_sweep_goes_on_with_more_memory_and_says_when_there_is_less(
    gpt2: Tiny, tmp_path, counted
):
    first, files, memory = blocks_of(gpt2, tmp_path)
    files[1].unlink()
    counted.clear()
    assert np.array_equal(sweep(gpt2, tmp_path, memory=2.0), first)
    assert len(counted) == 1
    sweep(gpt2, tmp_path / "other", memory=2.0)
    with pytest.raises(
        PathPatchError, match=r"started with more memory .6 prompts in a block, now"
    ):
        sweep(gpt2, tmp_path / "other", memory=memory)


def test_without_sweep_json_foreign_blocks_are_not_taken(gpt2: Tiny, tmp_path, capsys, counted):
    sweep(gpt2, tmp_path)
    (tmp_path / "blocks" / "sweep.json").unlink()
    found = sweep(gpt2, tmp_path, answer_prob)
    assert "of another sweep" in capsys.readouterr().err
    expected = activation_sweep(gpt2.model, gpt2.prompts, nodes=NODES, metric=answer_prob).patched
    assert np.array_equal(found, expected)
    (tmp_path / "blocks" / "sweep.json").write_text("{ half of")
    computed = len(counted)
    assert np.array_equal(sweep(gpt2, tmp_path, answer_prob), expected)
    assert len(counted) == computed, "the blocks say whose they are"
    assert json.loads((tmp_path / "blocks" / "sweep.json").read_text())["metric"] == "answer_prob"


def test_two_sweeps_that_write_at_once_do_not_mix(tmp_path, capsys):
    mine = Blocks(tmp_path, {"metric": "mine"}, [(1, 2), (1, 2)])
    (tmp_path / "blocks" / "sweep.json").unlink()  # the other one looked before it was written
    theirs = Blocks(tmp_path, {"metric": "theirs"}, [(1, 2), (1, 2)])
    mine[0], theirs[0] = np.zeros((1, 2)), np.ones((1, 2))
    theirs[1], mine[1] = np.ones((1, 2)), np.zeros((1, 2))
    assert all((values == 0).all() for values in mine.values())
    again = Blocks(tmp_path, {"metric": "theirs"}, [(1, 2), (1, 2)])
    assert list(again) == [0] and (again[0] == 1).all()
    assert "block(s) 1 of 2" in capsys.readouterr().err


def test_stopped_while_a_block_is_written(gpt2: Tiny, tmp_path, monkeypatch, counted):
    def stop(*_):
        raise KeyboardInterrupt

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "replace", lambda a, b: stop() if str(b).endswith(".npy") else replace(a, b)
        )
        with pytest.raises(KeyboardInterrupt):
            sweep(gpt2, tmp_path)
    assert [path.name for path in (tmp_path / "blocks").iterdir()] == ["sweep.json"]
    found = sweep(gpt2, tmp_path)
    assert np.array_equal(found, activation_sweep(gpt2.model, gpt2.prompts, nodes=NODES).patched)
