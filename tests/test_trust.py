"""What a wrapped model may be trusted with. The truth is an untouched Hugging Face model."""

import copy
from dataclasses import replace
from random import Random

import pytest
import torch
from conftest import Tiny, ends
from transformers import (
    AutoModelForCausalLM,
    CodeGenConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    MptConfig,
    Olmo2Config,
    Olmo2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pathpatch import (
    LOGITS,
    Node,
    PathPatchError,
    Tokens,
    activation_sweep,
    embedding_std,
    heads,
    ioi_prompts,
    path_sweep,
    run,
    wrap,
)
from pathpatch.models.tiny import tiny_hf, tiny_tokenizer, word_tokenizer

WORDS = len(tiny_tokenizer())
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
HEAD = {"head_dim": 8}


def random_model(kind, config, dtype: torch.dtype = torch.float64):
    torch.manual_seed(0)
    model = kind(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.4 * torch.randn(weight.shape, generator=generator, dtype=dtype))
    return model


def gemma2(**changes):
    return random_model(Gemma2ForCausalLM, Gemma2Config(**SIZES, **HEAD, **changes))


def asked():
    return ioi_prompts(tiny_tokenizer(), 6, Random(2))


def truth(hf_model, tokens: Tokens) -> torch.Tensor:
    with torch.no_grad():
        return ends(hf_model(tokens.ids).logits, tokens)


def test_logits_are_what_the_model_returns():
    """Gemma 2 caps the logits after the unembedding: here to a tenth of what they were."""
    original, prompts = gemma2(final_logit_softcapping=0.5), asked()
    model = wrap(copy.deepcopy(original), tiny_tokenizer(), "gemma2")
    expected = truth(original, prompts.orig)
    assert expected.abs().max() <= 0.5
    assert (run(model, prompts.orig, reads=[LOGITS])[LOGITS] - expected).abs().max() < 1e-5
    whole = run(model, prompts.orig, reads=["logits"])["logits"]
    assert (ends(whole, prompts.orig) - expected).abs().max() < 1e-5


def test_the_fast_engine_steps_back_where_something_follows_the_unembedding(capsys):
    model, prompts = wrap(gemma2(final_logit_softcapping=0.5), tiny_tokenizer(), "capped"), asked()
    effects = path_sweep(model, prompts, senders=heads(model, "END"), receivers=[LOGITS])
    assert effects.about.engine == "literal"
    assert "the fast engine does not know capped" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "config"), [(GemmaForCausalLM, GemmaConfig)])
def test_a_norm_that_scales_by_one_plus_its_weight_stays(kind, config):
    original, prompts = random_model(kind, config(**SIZES, **HEAD)), asked()
    model = wrap(copy.deepcopy(original), tiny_tokenizer(), "gemma")
    found = run(model, prompts.orig, reads=[LOGITS])[LOGITS]
    assert (found - truth(original, prompts.orig)).abs().max() < 1e-4


def test_attention_that_is_not_scaled_is_refused():
    config = GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    config.scale_attn_weights = False
    with pytest.raises(PathPatchError, match="the wrapped GPT2LMHeadModel is not the original"):
        wrap(random_model(GPT2LMHeadModel, config), tiny_tokenizer(), "unscaled")


def test_rope_that_changes_with_the_longest_prompt_seen_is_refused_beyond_its_length():
    """The original itself gives a short prompt other logits after a long one."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    config = LlamaConfig(**{**SIZES, "max_position_embeddings": 12}, rope_parameters=rope)
    original = random_model(LlamaForCausalLM, config)
    long, ids = torch.arange(1, 31)[None], torch.arange(1, 15)[None]
    with torch.no_grad():
        before, _, after = (original(tokens).logits for tokens in (ids, long, ids))
    assert (before - after).abs().max() > 1e-3
    model = wrap(random_model(LlamaForCausalLM, config), tiny_tokenizer(), "dynamic")
    with pytest.raises(PathPatchError, match="has 14 tokens; dynamic knows 12 positions"):
        run(model, Tokens(ids, {"END": torch.tensor([13])}), reads=[LOGITS])


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_fast_engine_knows_its_own(tiny: Tiny, kind: str):
    ways = {"senders": heads(tiny.model, "END"), "receivers": ["2.1.q@END"]}
    assert path_sweep(tiny.model, tiny.prompts, **ways).about.engine == "fast"


def test_a_pattern_that_nobody_reads_cannot_be_written():
    from transformers import GPTJForCausalLM

    config = GPTJConfig(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, rotary_dim=4)
    model = wrap(random_model(GPTJForCausalLM, config), tiny_tokenizer(), "gptj")
    with pytest.raises(PathPatchError, match=r"gptj ignores what is written at 0\.1\.pattern"):
        activation_sweep(model, asked(), nodes=["0.1.pattern"])
    assert abs(activation_sweep(model, asked(), nodes=["0.1.z"]).change).max() > 1e-3


def test_a_model_is_wrapped_once():
    hf_model = tiny_hf("llama")
    wrap(hf_model, tiny_tokenizer(), "once")
    with pytest.raises(PathPatchError, match="LlamaForCausalLM was given to wrap before"):
        wrap(hf_model, tiny_tokenizer(), "twice")


def test_one_tokenizer_may_serve_two_models():
    tokenizer, before = tiny_tokenizer(), len(tiny_tokenizer())
    for _ in range(2):
        wrap(tiny_hf("gpt2"), tokenizer, "same")
    assert len(tokenizer) == before and tokenizer.bos_token is None


def test_every_module_must_be_in_evaluation_mode():
    hf_model = tiny_hf("gpt2")
    model = wrap(hf_model, tiny_tokenizer(), "train")
    hf_model.transformer.drop.train()
    with pytest.raises(PathPatchError, match="training mode"):
        run(model, asked().orig, reads=[LOGITS])


@pytest.mark.parametrize("place", ["before", "inside", "bridge"])
def test_hooks_of_somebody_else_are_refused(place: str):
    hf_model = tiny_hf("gpt2")
    if place == "before":
        hf_model.transformer.h[0].register_forward_hook(lambda *_: None)
        with pytest.raises(PathPatchError, match="there are hooks on this GPT2LMHeadModel"):
            wrap(hf_model, tiny_tokenizer(), "hooked")
        return
    model = wrap(hf_model, tiny_tokenizer(), "hooked")
    run(model, asked().orig, reads=[LOGITS])
    if place == "inside":
        model.original_model.transformer.wte.register_forward_hook(lambda *_: None)
    else:
        model.add_hook("blocks.0.hook_mlp_out", lambda x, hook: 2 * x)
    with pytest.raises(PathPatchError, match="somebody else's hook"):
        run(model, asked().orig, reads=[LOGITS])


def test_the_spread_of_embeddings_is_measured_where_the_noise_goes():
    model, words = wrap(gemma2(), tiny_tokenizer(), "gemma2"), [" Mary", " John went"]
    ids = [i for text in words for i in model.tokenizer(text)["input_ids"]]
    tokens = Tokens(torch.tensor([ids]), {"END": torch.tensor([len(ids) - 1])})
    there = run(model, tokens, reads=["embed"])["embed"]
    assert embedding_std(model, words) == pytest.approx(there.std().item(), rel=1e-9)
    with pytest.raises(PathPatchError, match="at least one text"):
        embedding_std(model, [""])


def test_prompts_of_another_tokenizer_are_refused(gpt2: Tiny):
    words = sorted({w for p in gpt2.prompts.pairs for w in p.clean.split(" ")}, reverse=True)
    other = word_tokenizer([*[f" {word}" for word in words], *words, ".", ","])
    prompts = gpt2.prompts
    texts = [other(pair.clean)["input_ids"] for pair in prompts.pairs]
    assert texts[0] != prompts.orig.ids[0, : len(texts[0])].tolist()
    foreign = replace(prompts, orig=replace(prompts.orig, ids=(prompts.orig.ids + 1) % WORDS))
    for sweep in (
        lambda: path_sweep(gpt2.model, foreign, senders=["0.1@END"], receivers=[LOGITS]),
        lambda: activation_sweep(gpt2.model, foreign, nodes=["0.1@END"]),
    ):
        with pytest.raises(PathPatchError, match="make the prompts with the model's own tokenizer"):
            sweep()


def test_a_tokenizer_that_ends_every_text_is_refused():
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer()
    core = tokenizer.backend_tokenizer
    core.post_processor = TemplateProcessing(single="$A and", special_tokens=[("and", 7)])
    with pytest.raises(PathPatchError, match=r"puts .* after every text"):
        wrap(tiny_hf("gpt2"), tokenizer, "eos")


def test_tokens_and_positions_that_the_model_lacks(gpt2: Tiny):
    long = Tokens(torch.ones(1, 65, dtype=torch.long), {"END": torch.tensor([64])})
    with pytest.raises(PathPatchError, match="has 65 tokens; tiny-gpt2 knows 64 positions"):
        run(gpt2.model, long, reads=[LOGITS])
    odd = Tokens(torch.tensor([[WORDS]]), {"END": torch.tensor([0])})
    with pytest.raises(PathPatchError, match=f"token {WORDS} is outside the {WORDS} tokens"):
        run(gpt2.model, odd, reads=[LOGITS])


def test_the_logits_cannot_be_written(gpt2: Tiny):
    logits = run(gpt2.model, gpt2.prompts.orig, reads=["logits"])["logits"]
    with pytest.raises(PathPatchError, match="logits cannot be written"):
        run(gpt2.model, gpt2.prompts.orig, writes={Node("logits"): logits})


def test_fused_keys_and_values_that_are_shared_are_refused_in_a_sentence():
    hf_model = random_model(Phi3ForCausalLM, Phi3Config(**SIZES))
    with pytest.raises(PathPatchError, match="not in separate layers k_proj and v_proj"):
        wrap(hf_model, tiny_tokenizer(), "phi3")


@pytest.mark.parametrize("shared", [2, 1])
@pytest.mark.parametrize(
    ("kind", "config", "more"),
    [
        (Olmo2ForCausalLM, Olmo2Config, {}),  # one norm of all keys together
        (Qwen3ForCausalLM, Qwen3Config, HEAD),  # a norm for each head
        (Gemma3ForCausalLM, Gemma3TextConfig, HEAD),  # its 1B has one key and value for all heads
    ],
)
def test_norms_of_keys_are_written_out_where_they_are_of_all_keys(kind, config, more, shared: int):
    sizes = {**SIZES, **more, "num_key_value_heads": shared}
    original, prompts = random_model(kind, config(**sizes)), asked()
    model = wrap(copy.deepcopy(original), tiny_tokenizer(), "normed")
    assert model.cfg.query_heads_per_kv == 4 // shared
    found = run(model, prompts.orig, reads=[LOGITS])[LOGITS]
    assert (found - truth(original, prompts.orig)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["mamba", "t5", "bert"])
def test_other_kinds_of_models_are_refused_in_a_sentence(name: str):
    import transformers

    small = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 1}
    sizes = {"num_attention_heads": 4, "intermediate_size": 40}
    kinds = {
        "mamba": ("Mamba", "ForCausalLM", {**small, "state_size": 4}, "cannot be wrapped"),
        "t5": (
            "T5",
            "ForConditionalGeneration",
            {"vocab_size": WORDS, "d_model": 32, "num_layers": 1, "num_heads": 4, "d_kv": 8},
            "has an encoder",
        ),
        "bert": ("Bert", "ForMaskedLM", {**small, **sizes}, "is not causal"),
    }
    stem, end, fields, words = kinds[name]
    config = getattr(transformers, f"{stem}Config")(**fields)
    hf_model = random_model(getattr(transformers, f"{stem}{end}"), config)
    with pytest.raises(PathPatchError, match=words):
        wrap(hf_model, tiny_tokenizer(), name)


def test_a_deep_model_listens_at_every_node():
    """The noise of the check must not grow from layer to layer until nothing is a number."""
    config = LlamaConfig(**{**SIZES, "num_hidden_layers": 40})
    model = wrap(random_model(LlamaForCausalLM, config, torch.float32), tiny_tokenizer(), "deep")
    assert model.cfg.deaf == frozenset()


@pytest.mark.slow
def test_smollm2_listens_at_every_node(smollm2):
    assert smollm2.cfg.deaf == frozenset() and smollm2.cfg.longest is None


SHORT = [
    GPTJConfig(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=16),
    CodeGenConfig(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, n_positions=16),
    MptConfig(vocab_size=WORDS, d_model=32, n_layers=2, n_heads=4, max_seq_len=16),
]


@pytest.mark.parametrize("config", SHORT, ids=lambda config: config.model_type)
def test_a_prompt_longer_than_a_table_of_positions_is_refused(config):
    config.n_ctx = 16
    torch.manual_seed(0)
    model = wrap(AutoModelForCausalLM.from_config(config), tiny_tokenizer(), "short")
    prompts = asked()
    assert prompts.orig.ids.shape[1] > 16
    with pytest.raises(PathPatchError, match=r"has \d+ tokens; short knows 16 positions"):
        path_sweep(model, prompts, senders=["0.1"], receivers=[LOGITS])
    some = Tokens(prompts.orig.ids[:, :16], {"END": torch.full((len(prompts),), 15)})
    assert run(model, some, reads=[LOGITS])[LOGITS].isfinite().all()


def test_a_model_that_fails_by_itself_is_said_to_and_that_float32_works():
    config = MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    with pytest.raises(PathPatchError) as caught:
        wrap(random_model(MixtralForCausalLM, config), tiny_tokenizer(), "mixtral")
    said = str(caught.value)
    assert "MixtralForCausalLM fails itself, before it is wrapped" in said
    assert "in torch.float64 (in float32 it works" in said and "got Double" in said
    wrap(random_model(MixtralForCausalLM, config, torch.float32), tiny_tokenizer(), "mixtral")


def test_a_model_that_fails_in_every_dtype_is_not_sent_to_float32():
    class Broken(GPT2LMHeadModel):
        def forward(self, *_, **__):
            raise KeyError("no such part")

    config = GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4)
    with pytest.raises(PathPatchError, match=r"in torch\.float32\. KeyError: 'no such part'"):
        wrap(random_model(Broken, config, torch.float32), tiny_tokenizer(), "broken")
