"""Tiny random models of every architecture that the installed TransformerBridge knows.

`families()` lists the architectures; `build` makes one, with plain or grouped keys and values.
"""

from typing import Any

import torch
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

LAYERS, HEADS, WIDTH, WORDS = 3, 4, 32, 101
LARGEST = 3_000_000  # weights

# By whatever name a configuration knows these; what it does not know is left out.
SMALL: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "head_dim": WIDTH // HEADS,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "n_positions": 64,
    "n_ctx": 64,
    "ffn_dim": 40,
    "word_embed_proj_dim": WIDTH,
    "moe_intermediate_size": 24,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "rotary_dim": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "sliding_window": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    "attention_dropout": 0.0,
    "mlp_only_layers": [],
    "layer_types": None,
    "no_rope_layers": None,
    "attention_types": [[["global"], LAYERS]],
    "num_layers": LAYERS,
    "d_model": WIDTH,
    "d_ff": 40,
    "d_kv": WIDTH // HEADS,
    "num_heads": HEADS,
    "attention_heads": HEADS,
    "state_size": 8,
    "time_step_rank": 4,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": WORDS,
    "query_pre_attn_scalar": WIDTH // HEADS,
}


def families() -> dict[str, str | None]:
    """Architecture -> the type of its configuration, or None where transformers has no such."""
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    mappings = (MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    known = {name: kind for mapping in mappings for kind, name in mapping.items()}
    return {name: known.get(name) for name in sorted(SUPPORTED_ARCHITECTURES)}


def build(name: str, kv_heads: int = HEADS, seed: int = 0, **changes: Any) -> Any:
    """A random model in float64, not yet wrapped."""
    import transformers

    model_class = getattr(transformers, name)
    kind = model_class.config_class
    known = kind()
    fields = {**SMALL, "num_key_value_heads": kv_heads, **changes}
    config = kind(**{key: value for key, value in fields.items() if hasattr(known, key)})
    config.architectures, config._experts_implementation = [name], "eager"
    with torch.device("meta"):
        size = sum(weight.numel() for weight in model_class(config).parameters())
    if size > LARGEST:
        raise ValueError(f"a small configuration still has {size:,} weights")
    torch.manual_seed(seed)
    model = model_class(config).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.add_(0.3 * noise)
    return model.eval()


def groups(name: str) -> bool:
    """Whether heads of this family can share keys and values."""
    import transformers

    return hasattr(getattr(transformers, name).config_class(), "num_key_value_heads")
