"""What is changed in a Hugging Face model before it is wrapped; its function stays the same."""

from typing import Any

import torch

from pathpatch.errors import PathPatchError


@torch.no_grad()
def ungroup(hf_model: Any) -> int:
    """Give every query head its own copy of the key and value weights that it shares.

    Returns: how many query heads shared one key/value head (1: plain multi-head attention).
    Raises: PathPatchError when keys and values have no weights of their own.
    """
    config = hf_model.config
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    if getattr(config, "multi_query", False):
        kv_heads = 1
    group = config.num_attention_heads // kv_heads
    if group == 1:
        return 1
    found = [m for m in hf_model.modules() if hasattr(m, "num_key_value_groups")]
    if not found or not all(hasattr(m, "k_proj") and hasattr(m, "v_proj") for m in found):
        raise PathPatchError(
            f"the {config.num_attention_heads} heads of this {type(hf_model).__name__} share "
            f"{kv_heads} keys and values, which are not in separate layers k_proj and v_proj, so "
            f"they cannot be written out as copies; models with those layers can be wrapped"
        )
    for module in found:
        module.num_key_value_groups = 1
        parts = [module.k_proj, module.v_proj]
        of_queries = getattr(module, "q_norm", None)
        if of_queries is not None and len(of_queries.weight) == len(module.q_proj.weight):
            parts.append(module.k_norm)  # of all keys together: their mean square stays
        for part in parts:
            for key, weight in list(part.named_parameters()):
                heads = weight.unflatten(0, (kv_heads, -1)).repeat_interleave(group, 0)
                part.register_parameter(key, torch.nn.Parameter(heads.flatten(0, 1)))
            part.out_features = len(part.weight)
    config.num_key_value_heads = config.num_attention_heads
    return group


def exact_rms_norms(hf_model: Any) -> None:
    """Replace RMSNorm modules, which compute in float32, by torch's own, which does not.

    Only where both give the same on a random vector: some scale by 1 + weight, or by nothing.
    """
    for module in list(hf_model.modules()):
        for key, child in list(module.named_children()):
            epsilon = getattr(child, "eps", getattr(child, "variance_epsilon", None))
            plain = type(child).__name__.endswith("RMSNorm") and hasattr(child, "weight")
            if not plain or epsilon is None:
                continue
            norm = torch.nn.RMSNorm(len(child.weight), epsilon)
            norm.weight = child.weight
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(len(child.weight), generator=generator, device="cpu").to(child.weight)
            with torch.no_grad():
                same = torch.allclose(norm(x), child(x), atol=1e-5, rtol=1e-5)
            if same:
                setattr(module, key, norm)
