"""What a user can do wrong without noticing, found by trying: refused, or made right."""

from dataclasses import replace

import pytest
import torch
from conftest import Tiny

from pathpatch import (
    LOGITS,
    Ablation,
    Circuit,
    Edge,
    EdgeKnockout,
    Knockout,
    PathPatchError,
    Tokens,
    activation_patch,
    activation_sweep,
    answer_prob,
    baseline,
    edge_attribution,
    edge_effects,
    embedding_std,
    five_treatments,
    logit_diff,
    node_attribution,
    path_patch,
    path_sweep,
    run,
    tiny_model,
    wrap,
)
from pathpatch.models.tiny import tiny_hf, tiny_tokenizer


@pytest.mark.parametrize("change", ["another token", "no such label", "one label more"])
def test_a_label_is_one_place_on_both_sides(tiny: Tiny, change: str):
    """The literal form read the sender where x_new has it, the fast one where x_orig has it."""
    prompts = tiny.prompts
    there = dict(prompts.new.positions)
    if change == "another token":
        there["S2"] = there["S2"] - 1
    elif change == "no such label":
        del there["S2"]
    else:
        there["more"] = there["S2"]
    with pytest.raises(PathPatchError, match="x_orig and x_new have other positions"):
        replace(prompts, new=Tokens(prompts.new.ids, there))
    kept = replace(prompts, new=Tokens(prompts.new.ids, prompts.new.positions))
    assert len(kept.swapped()[1:3]) == 2


ASKED = {"senders": ["0.1@END"], "receivers": ["1.1.q@END"]}
EDGE = Edge("0.1.z@END", "logits@END", *(0.0,) * 5)
CALLS = {
    "path_patch": lambda model, prompts: path_patch(model, prompts, **ASKED),
    "activation_patch": lambda model, prompts: activation_patch(model, prompts, nodes=["0.1"]),
    "baseline": baseline,
    "five_treatments": lambda model, prompts: five_treatments(model, prompts, **ASKED),
    "node_attribution": lambda model, prompts: node_attribution(model, prompts, ["0.1@END"]),
    "edge_attribution": lambda model, prompts: edge_attribution(model, prompts, **ASKED),
    "edge_effects": lambda model, prompts: edge_effects(model, prompts, Circuit([EDGE])),
    "path_sweep": lambda model, prompts: path_sweep(model, prompts, **ASKED),
    "activation_sweep": lambda model, prompts: activation_sweep(model, prompts, nodes=["0.1"]),
    "Knockout": lambda model, prompts: Knockout(model, prompts),
    "EdgeKnockout": lambda model, prompts: EdgeKnockout(model, prompts),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_refuses_prompts_of_another_tokenizer(gpt2: Tiny, call):
    prompts = gpt2.prompts[:2]
    others = Tokens((prompts.orig.ids + 1) % 158, prompts.orig.positions)
    for odd in (replace(prompts, orig=others), replace(prompts, new=others)):
        with pytest.raises(PathPatchError, match=r"make_prompts\(model\.tokenizer, pairs\)"):
            call(gpt2.model, odd)
    call(gpt2.model, prompts.swapped())
    if call in (CALLS["Knockout"], CALLS["EdgeKnockout"]):
        rules = Ablation(over=replace(prompts, new=others))
        with pytest.raises(PathPatchError, match=r"make_prompts\(model\.tokenizer, pairs\)"):
            Knockout(gpt2.model, prompts, rules)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("token", [-1, 158, 10**6])
@pytest.mark.parametrize("side", ["answer", "foil"])
def test_an_answer_that_is_no_token_of_the_model(gpt2: Tiny, side: str, token: int):
    """-1 would be the last token to some of torch's functions."""
    assert gpt2.model.cfg.d_vocab == 158
    odd = replace(gpt2.prompts, **{side: torch.full_like(gpt2.prompts.answer, token)})
    ways = {"senders": ["0.1@END"], "receivers": ["logits@END"]}
    for metric in (logit_diff, answer_prob):
        with pytest.raises(PathPatchError, match=f"{token} is outside the 158 logits"):
            path_sweep(gpt2.model, odd, **ways, metric=metric)
    with pytest.raises(PathPatchError, match=f"{token} is outside the 158 logits"):
        baseline(gpt2.model, odd)


def test_lower_precision_inside_a_pass_is_refused():
    """float32 gave logits that were off by 0.3."""
    model = tiny_model("llama", dtype=torch.float32)
    tokens = Tokens(torch.arange(1, 9)[None], {"END": torch.tensor([7])})
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(PathPatchError, match=r"torch\.autocast rounds every step; leave it"),
    ):
        run(model, tokens, reads=[LOGITS])
    assert run(model, tokens, reads=[LOGITS])[LOGITS].dtype == torch.float32


def test_a_place_that_was_switched_off_is_named(tiny: Tiny):
    model = tiny_model("gpt2" if tiny.group == 1 else "llama")
    model.set_use_hook_mlp_in(False)
    with pytest.raises(PathPatchError, match=r"switched off: .*Call set_use_hook_mlp_in\(True\)"):
        run(model, tiny.prompts.orig, reads=["1.mlp_in@END"])


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_all_checks_at_load_are_two_passes(kind: str, monkeypatch):
    """One of the untouched model, and one of the wrapped one."""
    hf_model, batches = tiny_hf(kind), []
    real = type(hf_model).forward

    def count(self, *given, **more):
        batches.append(len(given[0] if given else more["input_ids"]))
        return real(self, *given, **more)

    monkeypatch.setattr(type(hf_model), "forward", count)
    wrap(hf_model, tiny_tokenizer(), kind)
    assert len(batches) == 2 and max(batches) <= 20


def test_a_token_before_every_text_is_none_of_the_subject():
    """The spread of embeddings is that of the words alone: worked out from the table by hand."""
    from tokenizers.processors import TemplateProcessing

    tokenizer, hf_model = tiny_tokenizer(), tiny_hf("llama")
    table = hf_model.get_input_embeddings().weight.detach().clone()
    ids = tokenizer(" Mary", add_special_tokens=False)["input_ids"]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="Then $A", special_tokens=[("Then", 7)]
    )
    model = wrap(hf_model, tokenizer, "with BOS")
    assert model.tokenizer(" Mary")["input_ids"] == [7, *ids]
    assert embedding_std(model, [" Mary"]) == pytest.approx(table[ids].std().item(), rel=1e-12)


def test_prompts_that_change_are_looked_at_again(gpt2: Tiny):
    prompts = replace(gpt2.prompts, orig=gpt2.prompts.orig[list(range(len(gpt2.prompts)))])
    ends = {"senders": ["0.1@END"], "receivers": [LOGITS]}
    for _ in range(2):
        path_patch(gpt2.model, prompts, **ends)
    prompts.orig.ids[0, 0] = prompts.orig.ids[0, 1]
    with pytest.raises(PathPatchError, match=r"makes .* of it"):
        path_patch(gpt2.model, prompts, **ends)
