"""Small random models of both families, with a word tokenizer, for tests and exercises."""

from collections.abc import Sequence
from typing import Any

import torch

from pathpatch.errors import PathPatchError, check_number
from pathpatch.tasks.ioi import NAMES, PLACES, TEMPLATES, THINGS


def tiny_hf(kind: str, seed: int = 0, dtype: torch.dtype = torch.float64, layers: int = 3) -> Any:
    """The Hugging Face model inside `tiny_model`, before its keys and values are ungrouped."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    common = {"vocab_size": len(tiny_tokenizer()), "bos_token_id": None, "eos_token_id": None}
    if kind == "gpt2":
        shape = {"n_embd": 24, "n_layer": layers, "n_head": 4, "n_positions": 64}
        hf_model = GPT2LMHeadModel(GPT2Config(**common, **shape))
    elif kind == "llama":
        shape = {"num_hidden_layers": layers, "num_attention_heads": 6, "num_key_value_heads": 2}
        sizes = {"hidden_size": 24, "intermediate_size": 40, "max_position_embeddings": 64}
        hf_model = LlamaForCausalLM(LlamaConfig(**common, **shape, **sizes))
    else:
        raise PathPatchError(f"there is no tiny model {kind!r}; known: gpt2, llama")
    generator = torch.Generator().manual_seed(check_number("the seed", seed, 0, whole=True))
    hf_model = hf_model.to(dtype)
    with torch.no_grad():
        for key, weight in hf_model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            norm_scale = "norm" in key or "ln_" in key
            weight.copy_(norm_scale * key.endswith("weight") + 0.5 * noise)
    return hf_model.eval()


def tiny_tokenizer() -> Any:
    """A word tokenizer that knows the words of the IOI task."""
    texts = [t.format(" ", " ", " ", place=" ", thing=" ") for t in TEMPLATES]
    words = {word for text in texts for word, _ in _split().pre_tokenize_str(text)}
    words |= {f" {word}" for word in (*NAMES, *PLACES, *THINGS)}
    return word_tokenizer(sorted(words - {" "}))


def word_tokenizer(words: Sequence[str]) -> Any:
    """A tokenizer with one token for each word; " Mary" is one, as in GPT-2. Token 0 is <unk>."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<unk>", *words])}
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer, core.decoder = _split(), Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def _split() -> Any:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    return Split(Regex(r" ?[^\s.,]+|[.,]"), behavior="isolated")
