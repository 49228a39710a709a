"""Sweeps over many prompts: both engines, both directions, what they record and refuse."""

import itertools

import numpy as np
import pytest
import torch
from conftest import Tiny

from pathpatch import (
    LOGITS,
    PathPatchError,
    answer_prob,
    baseline,
    heads,
    ioi_walk,
    logit_diff,
    mlps,
    path_patch,
    run,
    strongest,
    sweep,
)
from pathpatch.deltas import work
from pathpatch.nodes import as_nodes

SENDERS = ["0.1@END", "1.mlp_out@END", "0.2@END+1.0@END", "embed@END", "2.0@END"]
RECEIVERS = ["1.0.q@END", "2.1.q@END"]


@pytest.mark.parametrize("engine", ["fast", "literal"])
def test_a_sweep_is_path_patch_for_each_sender(tiny: Tiny, engine: str):
    prompts, model = tiny.prompts.swapped(), tiny.model
    effects = sweep(model, prompts, senders=SENDERS, receivers=RECEIVERS, engine=engine)
    frozen = heads(model)
    base = run(model, prompts.clean, reads=[*frozen, LOGITS])
    source = run(model, prompts.corrupt, reads=[*heads(model, "END"), *mlps(model), "embed"])
    assert effects.base == pytest.approx(logit_diff(base[LOGITS], prompts).numpy(), abs=1e-10)
    for name, values in zip(SENDERS, effects.patched, strict=True):
        logits = path_patch(
            model,
            prompts.clean,
            base,
            source,
            senders=name.split("+"),
            receivers=RECEIVERS,
            frozen=frozen,
        )
        assert values == pytest.approx(logit_diff(logits, prompts).numpy(), abs=1e-10)
    assert effects.senders[:3] == ["0.1.z@END", "1.mlp_out@END", "0.2.z@END+1.0.z@END"]
    about = effects.about
    assert (about.engine, about.direction, about.frozen) == (engine, "denoising", "heads")
    assert (about.at, about.metric) == ("END", "logit_diff")
    assert about.receivers == RECEIVERS


def test_blocks_of_prompts_give_the_same(tiny: Tiny, monkeypatch):
    kwargs = {"senders": SENDERS, "receivers": RECEIVERS, "metric": answer_prob}
    whole = sweep(tiny.model, tiny.prompts, **kwargs)
    monkeypatch.setattr("pathpatch.blocks.BLOCK", 4)
    parts = sweep(tiny.model, tiny.prompts, **kwargs)
    assert np.abs(whole.patched - parts.patched).max() < 1e-10
    assert np.abs(whole.base - parts.base).max() < 1e-10


def test_what_the_fast_engine_cannot_do_goes_to_the_literal_form(tiny: Tiny):
    some = heads(tiny.model)[:-1]
    effects = sweep(tiny.model, tiny.prompts, senders=["0.1"], receivers=["1.0.q"], frozen=some)
    assert effects.about.engine == "literal"
    assert effects.about.frozen.startswith("0.0.z,0.1.z")
    edges = heads(tiny.model) + mlps(tiny.model)
    effects = sweep(tiny.model, tiny.prompts, senders=["0.1"], receivers=["1.0.q"], frozen=edges)
    assert (effects.about.engine, effects.about.frozen) == ("fast", "heads+mlps")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"senders": []}, "the sweep has no senders"),
        ({"receivers": []}, "at least one receiver"),
        ({"senders": ["0.1.q"]}, r"0\.1\.q cannot be a sender"),
        ({"senders": ["0.1@NO"]}, "no position 'NO'"),
        ({"engine": "quick"}, "unknown engine 'quick'"),
    ],
)
def test_refuses_before_any_pass(tiny: Tiny, monkeypatch, change, words):
    for module in ("sweeps", "blocks"):
        monkeypatch.setattr(f"pathpatch.{module}.run", None)  # a pass would be a TypeError
    kwargs = {"senders": SENDERS, "receivers": RECEIVERS, **change}
    with pytest.raises(PathPatchError, match=words):
        sweep(tiny.model, tiny.prompts, **kwargs)


def test_the_cost_is_said_first(tiny: Tiny, monkeypatch, capsys):
    seconds = itertools.count(0.0, 10.0)
    monkeypatch.setattr("pathpatch.blocks.time.perf_counter", lambda: next(seconds))
    sweep(tiny.model, tiny.prompts, senders=SENDERS, receivers=RECEIVERS, engine="literal")
    assert "literal engine: the work of about 13 forward passes" in capsys.readouterr().err


def test_work_counts_what_the_engine_does(gpt2: Tiny):
    model, prompts = gpt2.model, gpt2.prompts

    def cost(*receivers: str, frozen=()):
        senders = [as_nodes(["0.0@END"])]
        return work(model, prompts, senders, as_nodes(receivers), [*heads(model), *frozen])

    assert 0 < cost("1.0.q@END") < cost("1.0.q@S2") < cost("1.0.q")
    assert cost("logits", frozen=mlps(model)) == 0
    assert cost("0.0.q@END") == 0
    block, positions = model.blocks[0], prompts.clean.ids.numel()
    mlp = sum(p.numel() for p in block.mlp.parameters())
    layer = sum(p.numel() for p in block.parameters())
    forward = positions * (3 * layer + model.W_U.numel())
    assert cost("logits") == pytest.approx(len(prompts) * 3 * mlp / forward)


def test_baseline(tiny: Tiny):
    found = baseline(tiny.model, tiny.prompts)
    logits = run(tiny.model, tiny.prompts.clean, reads=[LOGITS])[LOGITS]
    assert found["logit_diff"] == pytest.approx(logit_diff(logits, tiny.prompts).numpy())
    assert found["answer_first"].tolist() == (logit_diff(logits, tiny.prompts) > 0).tolist()
    other = run(tiny.model, tiny.prompts.corrupt, reads=[LOGITS])[LOGITS]
    assert found["logit_diff_corrupt"] == pytest.approx(logit_diff(other, tiny.prompts).numpy())


def test_strongest_asks_for_an_interval_below_zero(tiny: Tiny):
    effects = sweep(
        tiny.model, tiny.prompts, senders=heads(tiny.model, "END"), receivers=["logits"]
    )
    patched = np.tile(effects.base, (len(effects.senders), 1))
    patched[3] -= 1.0
    patched[5] -= 2.0
    patched[7] += 5.0
    patched[8, ::2] -= 9.0  # a large mean, but not on every prompt
    patched[8, 1::2] += 8.0
    found = type(effects)(effects.senders, effects.base, patched, effects.about)
    names = [effects.senders[i].removesuffix(".z@END") for i in (5, 3)]
    assert strongest(found, 3) == names
    assert strongest(found, 1) == names[:1]
    with pytest.raises(PathPatchError, match="no head lowers the metric"):
        strongest(type(effects)(effects.senders, effects.base, -0 * patched, effects.about), 3)


def test_the_walk_hands_on_what_it_finds(tiny: Tiny, monkeypatch):
    monkeypatch.setattr("pathpatch.walk.strongest", lambda effects, n: ["1.0", "2.1"])
    steps = list(ioi_walk(tiny.model, tiny.prompts))
    assert [effects.about.receivers for _, effects in steps] == [
        ["logits@END"],
        ["1.0.q@END", "2.1.q@END"],
        ["1.0.v@S2", "2.1.v@S2"],
        ["1.0.k@S2", "2.1.k@S2"],
    ]
    assert [effects.about.at for _, effects in steps] == ["END", "END", "S2", "S2"]
    assert all(torch.isfinite(torch.tensor(effects.patched)).all() for _, effects in steps)
