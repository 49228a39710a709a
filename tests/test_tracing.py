"""Causal tracing: the oracle per draw and prompt, identities, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import oracle
import pytest
import torch
from conftest import Tiny

from pathpatch import (
    Node,
    PathPatchError,
    Prompts,
    SweepOptions,
    Trace,
    activation_sweep,
    answer_prob,
    causal_trace,
    embedding_std,
    gaussian_noise,
    grid,
    logit_diff,
    windows,
)
from pathpatch.engine.cost import GIB, _bytes
from pathpatch.engine.scene import Layout
from pathpatch.nodes import names, node_set
from pathpatch.prompts import FIRST, LAST
from pathpatch.tracing import CODE

EXACT = 1e-10
STATES = ["0.resid_post@S2", "1.resid_post@subject_last", "2.resid_post@END", "embed@subject_first"]
MLPS = ["0.mlp_out@S2+1.mlp_out@S2", "1.mlp_out@subject_last+2.mlp_out@subject_last"]
ATTENTION = ["0.attn_out@subject_last+1.attn_out@subject_last", "1.attn_out@END+2.attn_out@END"]
BOTH = ["1.mlp_out@S2+1.attn_out@END"]


def subjects(prompts: Prompts) -> Prompts:
    """The same prompts with a subject of one, two or three tokens, at different places."""
    first = prompts.orig.at("S1")
    last = first + torch.arange(len(prompts)) % 3
    sides = [
        replace(side, positions={**side.positions, FIRST: first, LAST: last})
        for side in (prompts.orig, prompts.new)
    ]
    return replace(prompts, orig=sides[0], new=sides[1])


def some_noise(tiny: Tiny, draws: int = 3, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return gaussian_noise(tiny.model, tiny.prompts.orig, 1.5, generator, draws)


def by_oracle(tiny: Tiny, prompts: Prompts, noise, entry: str, severed=(), metric=answer_prob):
    """[draw, batch], one prompt without padding at a time."""
    values = torch.empty(noise.shape[:2])
    for draw, row in np.ndindex(*values.shape):
        tokens = prompts.orig
        end, first, last = (int(tokens.at(label)[row]) for label in ("END", FIRST, LAST))
        nodes = node_set(entry) if entry else []
        states = [(n.kind, n.layer, int(tokens.at(n.at)[row])) for n in nodes]
        logits = oracle.causal_trace(
            tiny.weights,
            tokens.ids[row, : end + 1],
            noise[draw, row, first : last + 1],
            range(first, last + 1),
            states,
            severed,
        )
        values[draw, row] = metric(logits[None], prompts[row : row + 1])[0]
    return values.numpy()


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.sample(5)
@pytest.mark.parametrize("metric", [answer_prob, logit_diff])
@pytest.mark.parametrize(
    ("severed", "entries"),
    [
        ((), [*STATES, *MLPS, *ATTENTION, *BOTH]),
        (("mlp_out",), [*STATES, *ATTENTION, *MLPS, *BOTH]),
        (("attn_out",), [*STATES, *MLPS]),
        (("mlp_out", "attn_out"), STATES),
    ],
)
def test_every_draw_equals_the_oracle(tiny: Tiny, severed, entries, metric):
    prompts, noise = subjects(tiny.prompts), some_noise(tiny)
    trace = causal_trace(tiny.model, prompts, entries, noise=noise, severed=severed, metric=metric)
    assert trace.restored.shape == (len(entries), *noise.shape[:2])
    assert np.abs(trace.corrupted - by_oracle(tiny, prompts, noise, "", (), metric)).max() < EXACT
    for entry, values in zip(entries, trace.restored, strict=True):
        expected = by_oracle(tiny, prompts, noise, entry, severed, metric)
        assert np.abs(values - expected).max() < EXACT, entry
    assert np.abs(trace.restored - trace.corrupted).max() > 1e-3
    assert trace.corrupted.std(0).min() > 0  # the draws differ


def test_severing_matters(tiny: Tiny):
    prompts, noise = subjects(tiny.prompts), some_noise(tiny)
    entries = [f"0.resid_post@{LAST}"]
    found = [
        causal_trace(tiny.model, prompts, entries, noise=noise, severed=severed).restored
        for severed in ((), ("mlp_out",), ("attn_out",), ("mlp_out", "attn_out"))
    ]
    gaps = [np.abs(a - b).max() for i, a in enumerate(found) for b in found[:i]]
    assert min(gaps) > 1e-6


def test_zero_noise_changes_nothing(tiny: Tiny):
    prompts = subjects(tiny.prompts)
    entries = [*STATES, *MLPS]
    trace = causal_trace(
        tiny.model, prompts, entries, noise=0 * some_noise(tiny), severed=["mlp_out"]
    )
    assert np.abs(trace.restored - trace.clean).max() < EXACT
    assert np.abs(trace.total_effect()).max() < EXACT


def test_what_restores_everything(tiny: Tiny):
    """All embeddings, the subject's alone, and the last state at END."""
    prompts = subjects(tiny.prompts)
    places = prompts.orig.positions
    short, other = (
        replace(side, positions={**places, LAST: places[FIRST]})
        for side in (prompts.orig, prompts.new)
    )
    alone = replace(prompts, orig=short, new=other)
    last = f"{tiny.model.cfg.n_layers - 1}.resid_post@END"
    noise = some_noise(tiny)
    trace = causal_trace(tiny.model, alone, ["embed", f"embed@{FIRST}", last], noise=noise)
    assert np.abs(trace.restored - trace.clean).max() < EXACT
    assert np.abs(trace.total_effect()).max() > 1e-3


def test_noise_reaches_the_subject_and_nothing_before_it(tiny: Tiny):
    """What lies before the subject is clean already; restoring it changes nothing."""
    prompts, noise = subjects(tiny.prompts), some_noise(tiny)
    before = [f"{layer}.resid_post@0" for layer in range(3)]
    assert (prompts.orig.at(FIRST) > 0).all()
    trace = causal_trace(tiny.model, prompts, before, noise=noise)
    assert np.abs(trace.restored - trace.corrupted).max() < EXACT
    outside = noise.clone()
    pos = torch.arange(noise.shape[2])
    for row in range(len(prompts)):
        first, last = (int(prompts.orig.at(label)[row]) for label in (FIRST, LAST))
        outside[:, row, (pos < first) | (pos > last)] = 1e6
    again = causal_trace(tiny.model, prompts, before, noise=outside)
    assert np.array_equal(trace.corrupted, again.corrupted)


def test_replaced_tokens_are_denoising_activation_patching(tiny: Tiny):
    prompts = subjects(tiny.prompts)
    entries = [*STATES, *MLPS, *ATTENTION]
    trace = causal_trace(tiny.model, prompts, entries, noise=None, metric=logit_diff)
    effects = activation_sweep(tiny.model, prompts.swapped(), nodes=entries)
    assert np.abs(trace.effects().patched - effects.patched).max() < EXACT
    assert np.abs(trace.effects().base - effects.base).max() < EXACT
    assert trace.effects().senders == effects.senders
    assert trace.about.engine == "causal tracing, replaced tokens, fast"


def test_blocks_of_prompts_give_the_same(tiny: Tiny, monkeypatch, tmp_path):
    """A block holds prompts and draws."""
    prompts, noise = subjects(tiny.prompts), some_noise(tiny)
    whole = causal_trace(tiny.model, prompts, STATES, noise=noise)
    monkeypatch.setattr("pathpatch.engine.blocks.BLOCK", 4)
    layout = Layout(tiny.model, prompts.orig, [], False)
    pass_b, row = _bytes(layout)
    each = max(pass_b, prompts.orig.ids.shape[1] * row)
    how = SweepOptions(memory=2 * 4.5 * each / GIB, folder=tmp_path)
    parts = causal_trace(tiny.model, prompts, STATES, noise=noise, options=how)
    assert len(list((tmp_path / "blocks").glob("*.npy"))) == 5  # of 3 draws of 6 prompts
    for key in ("clean", "corrupted", "restored"):
        assert np.abs(getattr(whole, key) - getattr(parts, key)).max() < EXACT


def test_effects_and_files(tiny: Tiny, tmp_path):
    prompts, noise = subjects(tiny.prompts), some_noise(tiny)
    trace = causal_trace(tiny.model, prompts, STATES, noise=noise, severed=["mlp_out"])
    effects = trace.effects()
    assert effects.change == pytest.approx((trace.restored - trace.corrupted).mean(1))
    assert trace.total_effect() == pytest.approx(trace.clean - trace.corrupted.mean(0))
    about = effects.about
    assert (about.engine, about.direction) == ("causal tracing, noise, fast", "denoising")
    assert (about.frozen, about.metric, about.receivers) == ("mlp_out", "answer_prob", [])
    trace.save(tmp_path)
    data = json.loads((tmp_path / "trace.json").read_text())
    assert data["restored"] == trace.restored.tolist()
    assert set(data) == {"nodes", "clean", "corrupted", "restored"}
    assert (tmp_path / "effects.csv").exists()
    assert isinstance(trace, Trace)


def test_windows_of_the_paper_and_of_its_code():
    class Model:
        class cfg:
            n_layers, places = 30, ()

    paper, code = (windows(Model, "mlp_out", ["END"], *r) for r in ((), (CODE,)))
    layers = [[Node.parse(n).layer for n in entry.split("+")] for entry in (paper[15], code[15])]
    assert layers == [list(range(11, 21)), list(range(10, 20))]
    assert [len(entry.split("+")) for entry in (paper[0], code[0])] == [6, 5]
    assert [len(entry.split("+")) for entry in (paper[29], code[29])] == [5, 6]
    assert windows(Model, "attn_out", ["a", "b"], (0, 0))[:3] == [
        "0.attn_out@a",
        "0.attn_out@b",
        "1.attn_out@a",
    ]


def test_noise_and_its_scale(tiny: Tiny):
    words = ["Mary", " John went", " Mary"]
    ids = [tiny.model.tokenizer(text)["input_ids"] for text in words]
    assert [len(row) for row in ids] == [1, 2, 1]
    expected = tiny.weights.W_E[torch.tensor([i for row in ids for i in row])].numpy().std(ddof=1)
    assert embedding_std(tiny.model, words) == pytest.approx(expected, abs=1e-12)
    one, other = some_noise(tiny, 40), some_noise(tiny, 40)
    assert torch.equal(one, other)
    assert one.std() == pytest.approx(1.5, rel=0.02)
    assert not torch.equal(one, some_noise(tiny, 40, seed=6))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nodes": []}, "the list of nodes to patch is empty"),
        ({"nodes": ["0.resid_post@NO"]}, "no position 'NO'"),
        ({"severed": ["z"]}, r"cannot sever \['z'\]; these can be: mlp_out, attn_out"),
        ({"noise": torch.zeros(2, 6, 3, 24)}, r"noise has shape \[2, 6, 3, 24\], expected \[draws"),
        ({"noise": torch.zeros(0, 6, 20, 24)}, "noise has shape"),
    ],
)
def test_refuses_before_any_pass(tiny: Tiny, monkeypatch, change, words):
    for module in ("engine.cost", "engine.traces", "engine.total", "tracing"):
        monkeypatch.setattr(f"pathpatch.{module}.run", None)
    options = {"nodes": STATES, "noise": some_noise(tiny), **change}
    with pytest.raises(PathPatchError, match=words):
        causal_trace(tiny.model, subjects(tiny.prompts), **options)


def test_noise_of_one_number_is_not_spread_over_the_width(tiny: Tiny):
    thin = some_noise(tiny)[..., :1]
    with pytest.raises(PathPatchError, match=r"has shape .*, 1\], expected \[draws, 6, \d+, 24\]"):
        causal_trace(tiny.model, subjects(tiny.prompts), STATES, noise=thin)


def test_refuses_noise_without_a_subject(tiny: Tiny):
    with pytest.raises(PathPatchError, match="no position 'subject_first'"):
        causal_trace(tiny.model, tiny.prompts, ["embed@END"], noise=some_noise(tiny))


def test_grid_of_states(tiny: Tiny):
    entries = grid(tiny.model, "resid_post", [FIRST, LAST, "END"])
    trace = causal_trace(tiny.model, subjects(tiny.prompts), entries, noise=some_noise(tiny, 1))
    assert names(trace.nodes) == [str(node) for node in entries]
