"""TransformerLens as a second opinion, and the traps in it that the library must step around."""

import pytest
import torch
from conftest import Tiny
from transformer_lens import patching

from pathpatch import (
    Node,
    PathPatchError,
    activation_patch,
    heads,
    logit_diff,
    mlps,
    path_patch,
    run,
)

EXACT = 1e-10


@pytest.fixture(autouse=True)
def double():
    """Their result tables have the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs(tiny: Tiny, name: str, **kwargs) -> torch.Tensor:
    """One of their sweeps, which denoise: clean values, corrupt prompt. Mean logit difference."""
    _, clean = tiny.model.run_with_cache(tiny.prompts.orig.ids)
    if "direct_path" in name:
        _, kwargs["corrupted_cache"] = tiny.model.run_with_cache(tiny.prompts.new.ids)
        kwargs |= {"verbose": False}
    rows, end = torch.arange(len(tiny.prompts)), tiny.prompts.orig.at("END")

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return logit_diff(logits[rows, end], tiny.prompts).mean()

    function = getattr(patching, name)
    arguments = {"clean_cache": clean, "patching_metric": metric, **kwargs}
    return function(tiny.model, tiny.prompts.new.ids, **arguments)


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_direct_paths(tiny: Tiny, kind: str):
    """One head to one later head's input, all positions, MLPs frozen, clean into corrupt."""
    table = theirs(tiny, "get_act_patch_direct_path", src_layer=0, src_head=1, component=kind)
    prompts, frozen = tiny.prompts.swapped(), heads(tiny.model) + mlps(tiny.model)
    spread = []
    for layer, head in ((1, 0), (1, 3), (2, 1), (2, 2)):
        ends = {"senders": ["0.1"], "receivers": [Node(kind, layer, head)]}
        logits = path_patch(tiny.model, prompts, **ends, frozen=frozen)
        ours = logit_diff(logits, prompts).mean()
        assert (ours - table[layer, head]).abs() < EXACT
        spread.append(ours)
    assert max(spread) - min(spread) > 1e-3


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("get_act_patch_resid_pre", "1.resid_pre@4"),
        ("get_act_patch_attn_out", "1.attn_out@4"),
        ("get_act_patch_mlp_out", "1.mlp_out@4"),
        ("get_act_patch_attn_head_out_by_pos", "1.2.z@4"),
        ("get_act_patch_attn_head_q_by_pos", "1.2.q@4"),
        ("get_act_patch_attn_head_k_by_pos", "1.2.k@4"),
        ("get_act_patch_attn_head_v_by_pos", "1.2.v@4"),
        ("get_act_patch_attn_head_pattern_by_pos", "1.2.pattern@4"),
        ("get_act_patch_attn_head_out_all_pos", "1.2.z"),
    ],
)
def test_activation_patching(gpt2: Tiny, llama: Tiny, name: str, node: str):
    for tiny in (gpt2, llama):
        address = Node.parse(node)
        index = [address.layer]
        if "by_pos" in name and "pattern" in name:
            index = [address.layer, address.head, address.at]
        elif "head" in name:
            index += [address.head] if address.at is None else [address.at, address.head]
        else:
            index += [address.at]
        prompts = tiny.prompts.swapped()
        logits = activation_patch(tiny.model, prompts, nodes=[node])
        ours = logit_diff(logits, prompts).mean()
        assert (ours - theirs(tiny, name)[tuple(index)]).abs() < EXACT


def test_trap_a_new_tensor_at_resid_mid_misses_the_skip_connection(tiny: Tiny):
    """Why there is no resid_mid node: patch attn_out instead, which is exact."""
    ids, mid = tiny.prompts.orig.ids, "blocks.1.hook_resid_mid"
    _, cache = tiny.model.run_with_cache(tiny.prompts.new.ids)
    wanted = cache[mid]

    def replaced(activation, hook):
        return wanted.clone()

    resid_pre = run(tiny.model, tiny.prompts.orig, reads=["1.resid_pre"])["1.resid_pre"]
    exact = {Node("attn_out", 1): wanted - resid_pre}
    reads = ["1.resid_post@END"]
    expected = run(tiny.model, tiny.prompts.orig, reads=reads, writes=exact)[reads[0]]
    rows, end = torch.arange(len(ids)), tiny.prompts.orig.at("END")
    found = []

    def keep(activation, hook):
        found.append(activation[rows, end].clone())

    hooks = [(mid, replaced), ("blocks.1.hook_resid_post", keep)]
    tiny.model.run_with_hooks(ids, fwd_hooks=hooks)
    assert (found[0] - expected).abs().max() > 1e-3, "fixed upstream: resid_mid may become a node"
    with pytest.raises(PathPatchError, match="unknown kind 'resid_mid'"):
        Node.parse("1.resid_mid")


def test_trap_a_captured_view_changes_under_a_later_write(tiny: Tiny):
    """What `run` read must stay when the same pass writes there."""
    node = Node.parse("1.2.q")
    plain = run(tiny.model, tiny.prompts.orig, reads=[node])[node]
    at_s2 = {Node.parse("1.2.q@S2"): plain[:, 0] + 1.0}
    both = run(tiny.model, tiny.prompts.orig, reads=[node], writes=at_s2)[node]
    assert torch.equal(both, plain)


def test_trap_their_key_and_value_paths_refuse_grouped_queries(llama: Tiny):
    """The library writes shared keys and values out as copies, so that nothing is refused."""
    assert llama.model.cfg.query_heads_per_kv == 3
    assert llama.model.cfg.n_key_value_heads in (None, llama.model.cfg.n_heads)
