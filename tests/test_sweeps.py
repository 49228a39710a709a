"""Sweeps over many prompts: both engines, both directions, what they record and refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Tiny
from test_cost import tight
from tqdm import tqdm

from pathpatch import (
    LOGITS,
    Effects,
    Node,
    PathPatchError,
    Rule,
    SweepOptions,
    activation_sweep,
    answer_prob,
    baseline,
    discover,
    heads,
    ioi_walk,
    logit_diff,
    mlps,
    path_patch,
    path_sweep,
    plan,
    run,
    strongest,
    tiny_model,
)
from pathpatch.effects import About

SENDERS = ["0.1@END", "1.mlp_out@END", "0.2@END+1.0@END", "embed@END", "2.0@END"]
RECEIVERS = ["1.0.q@END", "2.1.q@END"]


@pytest.mark.parametrize("engine", ["fast", "literal"])
def test_a_sweep_is_path_patch_for_each_sender(tiny: Tiny, engine: str):
    prompts, model = tiny.prompts.swapped(), tiny.model
    effects = path_sweep(
        model, prompts, senders=SENDERS, receivers=RECEIVERS, options=SweepOptions(engine)
    )
    b = run(model, prompts.orig, reads=[LOGITS])
    assert effects.base == pytest.approx(logit_diff(b[LOGITS], prompts).numpy(), abs=1e-10)
    for name, values in zip(SENDERS, effects.patched, strict=True):
        logits = path_patch(model, prompts, senders=name.split("+"), receivers=RECEIVERS)
        assert values == pytest.approx(logit_diff(logits, prompts).numpy(), abs=1e-10)
    assert effects.names[:3] == ["0.1.z@END", "1.mlp_out@END", "0.2.z@END+1.0.z@END"]
    about = effects.about
    assert (about.engine, about.direction, about.frozen) == (engine, "denoising", "heads")
    assert (about.at, about.metric) == ("END", "logit_diff")
    assert about.receivers == RECEIVERS
    assert effects.templates == ["1", "1", "2", "2", "3", "3"]


def test_blocks_of_prompts_give_the_same(tiny: Tiny):
    kwargs = {"senders": SENDERS, "receivers": RECEIVERS, "metric": answer_prob}
    whole = path_sweep(tiny.model, tiny.prompts, **kwargs)
    parts = path_sweep(tiny.model, tiny.prompts, **kwargs, options=tight(tiny, **kwargs))
    assert np.abs(whole.patched - parts.patched).max() < 1e-10
    assert np.abs(whole.base - parts.base).max() < 1e-10


def test_what_the_fast_engine_cannot_do_goes_to_the_literal_form(tiny: Tiny):
    some = heads(tiny.model)[:-1]
    effects = path_sweep(
        tiny.model, tiny.prompts, senders=["0.1"], receivers=["1.0.q"], frozen=some
    )
    assert effects.about.engine == "literal"
    assert effects.about.frozen.startswith("0.0.z,0.1.z")
    edges = heads(tiny.model) + mlps(tiny.model)
    effects = path_sweep(
        tiny.model, tiny.prompts, senders=["0.1"], receivers=["1.0.q"], frozen=edges
    )
    assert (effects.about.engine, effects.about.frozen) == ("fast", "heads+mlps")


def test_a_quiet_sweep_says_nothing(tiny: Tiny, monkeypatch, capsys):
    """Neither the cost, though it is over two seconds, nor the bar, though it is shown at once."""
    monkeypatch.setattr("pathpatch.engine.cost.seconds_each", lambda model, prompts: 1.0)
    monkeypatch.setattr(
        "pathpatch.engine.progress.tqdm", lambda *a, **k: tqdm(*a, **{**k, "delay": 0})
    )
    asked = {"senders": SENDERS, "receivers": RECEIVERS}
    loud = path_sweep(tiny.model, tiny.prompts, **asked)
    said = capsys.readouterr().err
    assert "fast engine, 5 senders on 6 prompts" in said and "30/30" in said
    quiet = SweepOptions(quiet=True)
    found = path_sweep(tiny.model, tiny.prompts, **asked, options=quiet)
    activation_sweep(tiny.model, tiny.prompts, nodes=SENDERS, options=quiet)
    discover(tiny.model, tiny.prompts, np.random.default_rng(0), options=quiet, rule=Rule(rounds=1))
    assert capsys.readouterr().err == ""
    assert np.array_equal(found.patched, loud.patched)


def test_the_seed_of_the_options_is_that_of_the_table(tiny: Tiny):
    options = SweepOptions(seed=7)
    asked = {"senders": SENDERS, "receivers": RECEIVERS, "options": options}
    assert path_sweep(tiny.model, tiny.prompts, **asked).seed == 7
    assert activation_sweep(tiny.model, tiny.prompts, nodes=["0.1"], options=options).seed == 7


@pytest.mark.parametrize("seed", [-1, None, 1.5, "0", True])
@pytest.mark.usefixtures("as_users_run")
def test_a_seed_is_a_whole_number_before_anything_runs(tiny: Tiny, seed):
    effects = activation_sweep(tiny.model, tiny.prompts, nodes=["0.1"])
    for ask in (SweepOptions, lambda seed: replace(effects, seed=seed)):
        with pytest.raises(PathPatchError, match="the seed must be a whole number from 0 on, got"):
            ask(seed=seed)
        with pytest.raises(PathPatchError, match="the seed must be a whole number"):
            tiny_model("gpt2", seed=seed)


@pytest.mark.usefixtures("as_users_run")
def test_a_seed_of_numpy_is_saved_as_any_other(tiny: Tiny, tmp_path):
    effects = activation_sweep(
        tiny.model, tiny.prompts, nodes=["0.1"], options=SweepOptions(seed=np.int64(3))
    )
    effects.save(tmp_path / "a" / "new" / "folder")
    assert Effects.load(tmp_path / "a" / "new" / "folder").seed == 3
    assert type(replace(effects, seed=np.int32(4)).seed) is int


@pytest.mark.usefixtures("as_users_run")
def test_options_that_are_none_are_named(tiny: Tiny, monkeypatch, tmp_path):
    for engine in (None, 3):
        with pytest.raises(PathPatchError, match=f"unknown engine {engine}; known: fast, literal"):
            SweepOptions(engine=engine)
    for folder in (3, b"out", "", "a\0b"):
        with pytest.raises(PathPatchError, match="expected a path, such as 'out/sweep', got"):
            SweepOptions(folder=folder)
    for ask in (path_sweep, plan):
        with pytest.raises(PathPatchError, match=r"options must be SweepOptions.* got 'fast'"):
            ask(tiny.model, tiny.prompts, senders=SENDERS, receivers=RECEIVERS, options="fast")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SweepOptions(folder="~/kept").folder == tmp_path / "kept"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"senders": []}, "the sweep has no senders"),
        ({"receivers": []}, "at least one receiver"),
        ({"senders": ["0.1.q"]}, r"0\.1\.q cannot be a sender"),
        ({"senders": ["0.1@NO"]}, "no position 'NO'"),
    ],
)
def test_refuses_before_any_pass(tiny: Tiny, monkeypatch, change, words):
    for module in ("engine.cost", "engine.sweeps", "engine.scene"):
        monkeypatch.setattr(f"pathpatch.{module}.run", None)  # a pass would be a TypeError
    kwargs = {"senders": SENDERS, "receivers": RECEIVERS, **change}
    with pytest.raises(PathPatchError, match=words):
        path_sweep(tiny.model, tiny.prompts, **kwargs)


def test_baseline(tiny: Tiny):
    found = baseline(tiny.model, tiny.prompts)
    logits = run(tiny.model, tiny.prompts.orig, reads=[LOGITS])[LOGITS]
    assert found["logit_diff"] == pytest.approx(logit_diff(logits, tiny.prompts).numpy())
    assert found["answer_first"].tolist() == (logit_diff(logits, tiny.prompts) > 0).tolist()
    other = run(tiny.model, tiny.prompts.new, reads=[LOGITS])[LOGITS]
    assert found["logit_diff_new"] == pytest.approx(logit_diff(other, tiny.prompts).numpy())


def test_strongest_asks_for_a_corrected_p():
    names = [f"{layer}.{head}" for layer in range(3) for head in range(6)]
    base = np.ones(30)
    patched = base + np.random.default_rng(0).normal(0, 0.1, (18, 30))
    patched[3] -= 1.0
    patched[5] -= 2.0
    patched[7] += 5.0
    patched[8, ::2] -= 9.0  # a large mean, but not on every prompt
    patched[8, 1::2] += 8.0
    patched[9, :6] -= 3.0  # the interval excludes zero, as that of one head in twenty would
    about = About("tiny", "", ["logits@END"], "END", "heads", "noising", "logit_diff", "fast")
    nodes = [[Node.parse(f"{name}.z@END")] for name in names]
    found = Effects(nodes, base, patched, about)
    assert found.interval()[9, 1] < 0
    assert strongest(found, 9) == [names[5], names[3]]
    assert strongest(found, 1) == [names[5]]
    for useless in ({"patched": 0 * patched + 1}, {"templates": [f"{i % 5}" for i in range(30)]}):
        with pytest.raises(PathPatchError, match="no head lowers the metric"):
            strongest(replace(found, **useless), 3)


def test_the_walk_hands_on_what_it_finds(tiny: Tiny, monkeypatch):
    monkeypatch.setattr("pathpatch.circuits.walk.strongest", lambda effects, n: ["1.0", "2.1"])
    steps = list(ioi_walk(tiny.model, tiny.prompts))
    assert [effects.about.receivers for _, effects in steps] == [
        ["logits@END"],
        ["1.0.q@END", "2.1.q@END"],
        ["1.0.v@S2", "2.1.v@S2"],
        ["1.0.k@S2", "2.1.k@S2"],
    ]
    assert [effects.about.at for _, effects in steps] == ["END", "END", "S2", "S2"]
    assert all(torch.isfinite(torch.tensor(effects.patched)).all() for _, effects in steps)
