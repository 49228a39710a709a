"""The real model: the same numbers as Hugging Face, its baseline, and both engines on it."""

import json
from pathlib import Path
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from pathpatch import (
    LOGITS,
    Pair,
    Prompts,
    SweepOptions,
    baseline,
    heads,
    ioi_prompts,
    logit_diff,
    make_prompts,
    path_sweep,
    run,
    strongest,
)
from pathpatch.engine import suffix, verify
from pathpatch.engine.scene import Scene
from pathpatch.models.smollm2 import smollm2_folder
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import Model
from pathpatch.tasks.ioi import NAMES, single_token_names
from pathpatch.uncertainty import interval

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parent / "golden" / "smollm2_ioi.json"


@pytest.fixture(scope="module")
def prompts(smollm2: Model) -> Prompts:
    return ioi_prompts(smollm2.tokenizer, 240, Random(0))


def test_logits_and_activations_equal_hugging_face(smollm2: Model, prompts: Prompts):
    original = AutoModelForCausalLM.from_pretrained(smollm2_folder()).eval()
    block = prompts[:4]
    reads = [f"{layer}.resid_pre" for layer in range(30)]
    with torch.no_grad():
        expected = original(block.orig.ids, output_hidden_states=True)
    found = run(smollm2, block.orig, reads=[*reads, "logits"])
    for name, hidden in zip(reads, expected.hidden_states, strict=False):
        scale = hidden.abs().max()
        assert (found[name] - hidden).abs().max() < 1e-5 * scale, name
    assert (found["logits"] - expected.logits).abs().max() < 1e-3
    assert expected.logits.abs().max() > 10


def test_every_name_but_a_few_is_one_token(smollm2: Model):
    assert len(single_token_names(smollm2.tokenizer)) == len(NAMES)


def test_no_token_is_added(smollm2: Model, prompts: Prompts):
    for side, texts in (
        (prompts.orig, [pair.clean for pair in prompts.pairs]),
        (prompts.new, [pair.corrupt for pair in prompts.pairs]),
    ):
        for ids, end, text in zip(side.ids, side.at("END"), texts, strict=True):
            assert smollm2.tokenizer.decode(ids[: end + 1]) == text


def test_an_answer_that_lost_its_space_comes_with_a_caution(smollm2: Model):
    text = "When Mary and George went to the store, Mary gave a ring to"
    pair = Pair(text, text.replace("Mary gave", "Paul gave"), "George", " Mary")
    words = r"the answer runs into the word before it in 1 pair.* 'George'; a word"
    with pytest.warns(UserWarning, match=words):
        make_prompts(smollm2.tokenizer, [pair])


def test_the_baseline_is_the_recorded_one(smollm2: Model, prompts: Prompts):
    golden = json.loads(GOLDEN.read_text())
    assert fingerprint(smollm2) == golden["model_sha256"]
    found = baseline(smollm2, prompts)
    for name, values in found.items():
        low, high = interval(values, np.random.default_rng(0))
        record = [values.mean(), low, high]
        assert record == pytest.approx(golden[name], abs=golden["tolerance"]), name
    assert len(prompts) == golden["prompts"] == 240


def test_the_fast_engine_gives_the_literal_numbers(smollm2: Model, prompts: Prompts):
    some = prompts[:4]
    senders = heads(smollm2, "END")[5::50]
    kwargs = {"senders": senders, "receivers": ["logits@END"]}
    fast = path_sweep(smollm2, some, **kwargs)
    literal = path_sweep(smollm2, some, **kwargs, options=SweepOptions("literal"))
    assert np.abs(fast.patched - literal.patched).max() < 1e-4
    assert np.abs(fast.change).max() > 0.01
    kwargs = {"senders": ["17.4@S2", "8.1@S2"], "receivers": ["20.0.v@S2", "20.kv0.k@S2"]}
    fast = path_sweep(smollm2, some, **kwargs)
    literal = path_sweep(smollm2, some, **kwargs, options=SweepOptions("literal"))
    assert np.abs(fast.patched - literal.patched).max() < 1e-4
    assert np.abs(fast.change).max() > 0.01


@pytest.mark.parametrize("seed", [0, 1])
def test_rounding_in_30_layers_is_no_reason_against_the_fast_engine(
    smollm2: Model, seed: int, monkeypatch: pytest.MonkeyPatch
):
    """On seed 0 it is 1.2e-4 of the largest value. One percent of one layer's MLP is a reason."""
    drawn, senders = ioi_prompts(smollm2.tokenizer, 8, Random(seed)), [[n] for n in heads(smollm2)]

    def measured() -> str:
        monkeypatch.setattr(verify, "_known", WeakKeyDictionary())
        return verify.why_not_fast(smollm2, drawn, senders)

    assert measured() == ""
    mlp = suffix._mlp
    for layer in (0, 15, 29):

        def off(scene: Scene, at: int, *x: Any, layer: int = layer) -> torch.Tensor:
            return mlp(scene, at, *x) * (1.01 if at == layer else 1)

        monkeypatch.setattr(suffix, "_mlp", off)
        assert "the logits differs by" in measured()


def test_the_first_step_of_the_walk_finds_the_recorded_heads(smollm2: Model, prompts: Prompts):
    golden = json.loads(GOLDEN.read_text())
    effects = path_sweep(smollm2, prompts[:30], senders=heads(smollm2, "END"), receivers=[LOGITS])
    assert strongest(effects, 3) == golden["strongest_to_the_logits"]
    assert effects.base == pytest.approx(
        logit_diff(run(smollm2, prompts[:30].orig, reads=[LOGITS])[LOGITS], prompts[:30]).numpy(),
        abs=1e-3,
    )
