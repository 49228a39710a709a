"""Which models the fast engine may do: measured in every layer, not by what a sweep asks."""

from random import Random

import pytest
import torch
from test_trust import HEAD, SIZES, WORDS, asked, random_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from pathpatch import (
    Circuit,
    Edge,
    PathPatchError,
    SweepOptions,
    edge_attribution,
    edge_effects,
    heads,
    ioi_prompts,
    path_sweep,
    tiny_model,
    wrap,
)
from pathpatch.engine import verify
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.nodes import node_set

LITERAL = SweepOptions(engine="literal")
QUIET = SweepOptions(quiet=True)


def made(kind, config, **sizes):
    return wrap(random_model(kind, config), tiny_tokenizer(), kind.__name__)


def windowed():
    """Attention that looks five tokens back, in every layer."""
    return made(MistralForCausalLM, MistralConfig(**SIZES, **HEAD, sliding_window=5))


def mixed():
    """Rotary positions in the first layer only."""
    config = SmolLM3Config(**SIZES | {"pad_token_id": 0}, **HEAD, no_rope_layers=[1, 0])
    return made(SmolLM3ForCausalLM, config)


def both(model, prompts, senders, receivers):
    ends = {"senders": senders, "receivers": receivers}
    fast = path_sweep(model, prompts, **ends, options=QUIET)
    literal = path_sweep(model, prompts, **ends, options=LITERAL)
    return fast, literal


@pytest.mark.parametrize("build", [windowed, mixed])
def test_a_sweep_that_sees_little_of_a_model_says_nothing_about_another(build):
    """The first sweep has a sender that reaches nothing; the second another layer."""
    model, prompts = build(), asked()
    for senders, receivers in (
        (["1.0.z@END"], ["1.0.v@END"]),
        (["0.1.z@S2"], ["1.0.q@S2"]),
        (["0.1.z", "0.0.z"], ["1.1.q@END", "1.0.k"]),
        (["embed@S2"], ["0.1.k@S2"]),
    ):
        fast, literal = both(model, prompts, senders, receivers)
        assert abs(fast.patched - literal.patched).max() < 1e-6
        assert fast.about.engine == "literal"


def test_an_edge_into_the_logits_hides_no_other_edge():
    edges = [Edge("0.1.z", "1.1.q@END", 1.0, 0.0, 2.0, 1.0, 0.01)]
    edges.append(Edge("0.1.z@IO", "logits@END", 1.0, 0.0, 2.0, 1.0, 0.01))
    for some in (edges, edges[:1], edges[::-1]):
        with pytest.raises(PathPatchError, match="the fast engine does not know"):
            edge_effects(windowed(), asked(), Circuit(some))
    model = windowed()
    path_sweep(model, asked(), senders=["1.0.z@END"], receivers=["1.0.v@END"], options=QUIET)
    with pytest.raises(PathPatchError, match="the fast engine does not know"):
        edge_attribution(model, asked(), senders=["0.1.z"], receivers=["1.1.q@END"])


def test_a_module_that_is_changed_is_measured_again():
    model, prompts = tiny_model("llama", seed=3), ioi_prompts(tiny_tokenizer(), 6, Random(2))
    ends = ["0.1.z"], ["2.1.q@END", "1.0.k"]
    fast, _ = both(model, prompts, *ends)
    assert fast.about.engine == "fast"
    inner = model.original_model.model.layers[1].self_attn.o_proj
    inner = getattr(inner, "original_component", inner)
    more, old = torch.nn.Linear(24, 24, dtype=torch.float64).requires_grad_(False), inner.forward
    inner.forward = lambda x: old(x) + more(x.flip(1))  # from other positions: no delta can do that
    fast, literal = both(model, prompts, *ends)
    assert abs(fast.patched - literal.patched).max() < 1e-9
    assert fast.about.engine == "literal"


def test_layers_of_another_scale_are_seen():
    config = GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    config.scale_attn_by_inverse_layer_idx = True
    model = made(GPT2LMHeadModel, config)
    fast, literal = both(model, asked(), ["0.1.z"], ["1.1.q@END"])
    assert abs(fast.patched - literal.patched).max() < 1e-6


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sender_that_cannot_act_changes_nothing_at_all(kind, dtype):
    """Not even the last digit: rounding alone would be a difference with a sign, and get a p."""
    model = tiny_model(kind, 1, dtype)
    prompts = ioi_prompts(tiny_tokenizer(), 12, Random(1))
    senders = [node for at in ("IO", "S2", "END") for node in heads(model, at)]
    fast = path_sweep(model, prompts, senders=senders, receivers=["logits@END"], options=QUIET)
    elsewhere = [i for i, (node,) in enumerate(fast.senders) if node.at != "END"]
    assert fast.about.engine == "fast"
    assert (fast.change[elsewhere] == 0).all()
    assert (fast.p_adjusted()[elsewhere] == 1).all()
    assert (abs(fast.change).max(1) > 0).sum() == len(senders) - len(elsewhere)


def test_both_forms_are_compared_once_for_a_model(monkeypatch):
    model, prompts, counted = tiny_model("gpt2", 4), asked(), []
    real = verify._measure
    monkeypatch.setattr(verify, "_measure", lambda *some: counted.append(1) or real(*some))
    for receivers in (["2.0.q@END"], ["logits@END"], ["1.0.k@S2", "2.1.v"]):
        path_sweep(model, prompts, senders=["0.1", "1.1@END"], receivers=receivers, options=QUIET)
    assert len(counted) == 1


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_padding_beyond_the_longest_prompt_changes_nothing(kind):
    """A part of the prompts keeps the width of all; receivers are at all positions."""
    model, prompts = tiny_model(kind, 4), ioi_prompts(tiny_tokenizer(), 12, Random(3))
    order = sorted(range(len(prompts)), key=lambda i: int(prompts.orig.at("END")[i]))
    short = prompts[order[0] : order[0] + 1]
    assert int(short.orig.at("END").max()) + 1 < short.orig.ids.shape[1]
    fast, literal = both(model, short, ["0.1.z", "embed"], ["1.0.k", "2.1.v", "1.resid_post"])
    assert fast.about.engine == "fast"
    assert abs(fast.patched - literal.patched).max() < 1e-10


def test_prompts_of_one_word_give_no_evidence():
    """With nothing that differs, agreement would say nothing, so the literal form does it."""
    model, prompts = tiny_model("gpt2", 4), asked()
    prompts.orig.ids[:] = prompts.new.ids[:] = 5
    kinds = [["0.0.z"], ["embed"], ["0.mlp_out"]]
    for names in kinds:
        sets = [node_set(name) for name in names]
        assert "no change reaches" in verify.why_not_fast(model, prompts, sets)
