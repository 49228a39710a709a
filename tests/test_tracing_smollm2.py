"""The traces of chapter 4: the file holds what the model does."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny

from pathpatch import Prompts, SweepOptions, causal_trace

BOOK = Path(__file__).parent.parent / "book"
spec = importlib.util.spec_from_file_location("traces", BOOK / "tracing_smollm2.py")
traces = importlib.util.module_from_spec(spec)
spec.loader.exec_module(traces)

STATES = ["0.resid_post@subject_last", "2.resid_post@END", "1.resid_post@subject_first"]


def with_subject(prompts: Prompts) -> Prompts:
    """The same prompts, with a subject of one or two tokens at different places."""
    first = prompts.orig.at("S1")
    at = {"subject_first": first, "subject_last": first + torch.arange(len(prompts)) % 2}
    orig, new = (
        replace(side, positions={**side.positions, **at}) for side in (prompts.orig, prompts.new)
    )
    return replace(prompts, orig=orig, new=new)


def test_a_saved_trace_comes_back(llama: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(traces, "FILE", tmp_path / "traces.npz")
    assert traces.load() == {}
    prompts = with_subject(llama.prompts)
    made = causal_trace(llama.model, prompts, STATES, noise=None)
    traces.save({"some": made})
    (again,) = traces.load().values()
    assert (again.nodes, again.about, again.templates) == (made.nodes, made.about, made.templates)
    assert np.abs(again.restored - made.restored).max() <= 0.5e-4


def test_the_file_is_whole():
    found = traces.load()
    assert len(found) == 11
    for name, trace in found.items():
        draws, prompts = trace.corrupted.shape
        assert prompts == (16 if name.startswith("facts") else 1)
        assert draws == (1 if "other subject" in name else 2 if prompts == 16 else 5)
        assert len(trace.nodes) % 15 == 0
        assert (trace.restored >= 0).all() and (trace.restored <= 1).all()
        assert trace.total_effect().mean() > 0.5


@pytest.mark.slow
def test_the_file_holds_what_the_model_does():
    """The strongest row of each table and the last, on one prompt and for one draw."""
    model = traces.load_model("smollm2")
    found = traces.load()
    assert found.keys() == traces.questions(model).keys()
    for name, (prompts, entries, noisy, severed) in traces.questions(model).items():
        assert found[name].about.prompts_sha256 == prompts.sha256()
        assert traces.names(found[name].nodes) == traces.names(
            [traces.node_set(entry) for entry in entries]
        )
        chosen = [int(found[name].restored.mean((1, 2)).argmax()), len(entries) - 1]
        again = causal_trace(
            model,
            prompts[:1],
            [entries[i] for i in chosen],
            noise=traces.the_noise(model, prompts)[:1, :1] if noisy else None,
            severed=severed,
            options=SweepOptions("literal", quiet=True),
        )
        assert np.abs(again.restored[:, 0, 0] - found[name].restored[chosen, 0, 0]).max() < 2e-3
