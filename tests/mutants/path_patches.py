"""Path patching with one mistake each. The name says which."""

from dataclasses import replace

import torch

from pathpatch import LOGITS, heads, mlps, run
from pathpatch.nodes import as_nodes


def _pass_c(model, prompts, senders, receivers, frozen, a=None):
    """Passes A (unless it is given), B and C."""
    a = run(model, prompts.new, reads=senders) if a is None else a
    b = run(model, prompts.orig, reads=frozen)
    writes = {node: b[node] for node in frozen}
    writes |= {node: a[node] for node in as_nodes(senders)}
    return run(model, prompts.orig, reads=receivers, writes=writes)


def _pass_d(model, prompts, stored):
    if LOGITS in stored:
        return stored[LOGITS]
    return run(model, prompts.orig, reads=[LOGITS], writes=stored)[LOGITS]


def forgot_to_freeze(model, prompts, *, senders, receivers, frozen):
    stored = _pass_c(model, prompts, senders, receivers, [])
    return _pass_d(model, prompts, stored)


def froze_the_mlps_too(model, prompts, *, senders, receivers, frozen):
    stored = _pass_c(model, prompts, senders, receivers, [*frozen, *mlps(model)])
    return _pass_d(model, prompts, stored)


def forgot_to_freeze_the_mlps(model, prompts, *, senders, receivers, frozen):
    stored = _pass_c(model, prompts, senders, receivers, heads(model))
    return _pass_d(model, prompts, stored)


def patched_all_positions(model, prompts, *, senders, receivers, frozen):
    senders, receivers = ([n.everywhere() for n in as_nodes(x)] for x in (senders, receivers))
    stored = _pass_c(model, prompts, senders, receivers, frozen)
    return _pass_d(model, prompts, stored | {LOGITS: stored[LOGITS]} if _logits(stored) else stored)


def _logits(stored):
    return any(node.kind == "logits" for node in stored)


def patched_the_residual_stream_instead_of_one_input(model, prompts, *, senders, receivers, frozen):
    wide = [
        replace(n, kind="resid_pre", head=None, shared=False) if n.kind in "qkv" else n
        for n in as_nodes(receivers)
    ]
    stored = _pass_c(model, prompts, senders, dict.fromkeys(wide), frozen)
    return _pass_d(model, prompts, stored)


def stored_the_receiver_after_the_freeze(model, prompts, *, senders, receivers, frozen):
    stored = _pass_c(model, prompts, senders, receivers, frozen)
    own = run(model, prompts.orig, reads=receivers)
    late = {n: own[n] if n.kind in "qkv" else value for n, value in stored.items()}
    return _pass_d(model, prompts, late)


def swapped_x_orig_and_x_new(model, prompts, *, senders, receivers, frozen):
    stored = _pass_c(model, prompts.swapped(), senders, receivers, frozen)
    return _pass_d(model, prompts.swapped(), stored)


def took_the_sender_from_x_orig(model, prompts, *, senders, receivers, frozen):
    own = run(model, prompts.orig, reads=senders)
    stored = _pass_c(model, prompts, senders, receivers, frozen, own)
    return _pass_d(model, prompts, stored)


def patched_the_sender_again_in_pass_d(model, prompts, *, senders, receivers, frozen):
    stored = _pass_c(model, prompts, senders, receivers, frozen)
    if LOGITS in stored:
        return stored[LOGITS]
    sent = run(model, prompts.new, reads=senders)
    return run(model, prompts.orig, reads=[LOGITS], writes=stored | sent)[LOGITS]


def froze_the_heads_in_pass_d_too(model, prompts, *, senders, receivers, frozen):
    stored = _pass_c(model, prompts, senders, receivers, frozen)
    if LOGITS in stored:
        return stored[LOGITS]
    kept = run(model, prompts.orig, reads=frozen)
    return run(model, prompts.orig, reads=[LOGITS], writes=kept | stored)[LOGITS]


def left_one_layer_unfrozen(model, prompts, *, senders, receivers, frozen):
    last = max(node.layer for node in as_nodes(frozen))
    short = [node for node in as_nodes(frozen) if 0 < node.layer <= last]
    stored = _pass_c(model, prompts, senders, receivers, short)
    return _pass_d(model, prompts, stored)


def used_the_positions_of_the_first_prompt(model, prompts, *, senders, receivers, frozen):
    positions = prompts.orig.positions
    first = {k: v[:1].expand(len(prompts)).clone() for k, v in positions.items()}
    first["END"] = positions["END"]
    orig, new = (replace(x, positions=first) for x in (prompts.orig, prompts.new))
    prompts = replace(prompts, orig=orig, new=new)
    stored = _pass_c(model, prompts, senders, receivers, frozen)
    return _pass_d(model, prompts, stored)


def patched_every_head_of_the_layer(model, prompts, *, senders, receivers, frozen):
    layers = {node.layer for node in as_nodes(senders) if node.kind == "z"}
    wide = [n for n in heads(model) if n.layer in layers]
    more = {replace(n, at=s.at) for n in wide for s in as_nodes(senders) if s.layer == n.layer}
    stored = _pass_c(model, prompts, [*as_nodes(senders), *more], receivers, frozen)
    return _pass_d(model, prompts, stored)


def let_receivers_influence_one_another(model, prompts, *, senders, receivers, frozen):
    own = {(n.layer, n.head) for n in as_nodes(receivers)}
    loose = [n for n in as_nodes(frozen) if (n.layer, n.head) not in own]
    stored = _pass_c(model, prompts, senders, receivers, loose)
    return _pass_d(model, prompts, stored)


def averaged_the_sender_over_prompts(model, prompts, *, senders, receivers, frozen):
    a = run(model, prompts.new, reads=senders)
    mean = {node: a[node].mean(0, keepdim=True).expand_as(a[node]) for node in a}
    stored = _pass_c(model, prompts, senders, receivers, frozen, mean)
    return _pass_d(model, prompts, stored)


def took_the_shared_vector_for_one_copy(model, prompts, *, senders, receivers, frozen):
    group = model.cfg.query_heads_per_kv
    wide = [
        replace(n, head=n.head // group, shared=True) if n.kind in "kv" and not n.shared else n
        for n in as_nodes(receivers)
    ]
    stored = _pass_c(model, prompts, senders, wide, frozen)
    return _pass_d(model, prompts, stored)


def froze_the_scale_of_the_norm(model, prompts, *, senders, receivers, frozen):
    nodes = [f"{n.layer}.resid_pre" for n in as_nodes(receivers) if n.kind == "q"]
    stored = _pass_c(model, prompts, senders, receivers, frozen)
    moved = _pass_c(model, prompts, senders, nodes, frozen)
    own = run(model, prompts.orig, reads=nodes)
    rows = torch.arange(len(prompts))
    for node in [n for n in as_nodes(receivers) if n.kind == "q"]:
        block, name = model.blocks[node.layer], f"{node.layer}.resid_pre"
        scale = block.ln1(own[name]).norm(dim=-1) / own[name].norm(dim=-1)
        free = block.ln1(moved[name]).norm(dim=-1) / moved[name].norm(dim=-1)
        at = slice(None) if node.at is None else (rows, prompts.orig.at(node.at))
        ratio = (scale / free)[at] if node.at is not None else scale / free
        stored[node] = stored[node] * ratio.unsqueeze(-1)
    return _pass_d(model, prompts, stored)


def left_its_hooks_behind(model, prompts, *, senders, receivers, frozen):
    stored = _pass_c(model, prompts, senders, receivers, frozen)
    model.blocks[0].attn.hook_pattern.add_hook(lambda activation, hook: activation)
    return _pass_d(model, prompts, stored)


ALL = [
    forgot_to_freeze,
    froze_the_mlps_too,
    forgot_to_freeze_the_mlps,
    patched_all_positions,
    patched_the_residual_stream_instead_of_one_input,
    stored_the_receiver_after_the_freeze,
    swapped_x_orig_and_x_new,
    took_the_sender_from_x_orig,
    patched_the_sender_again_in_pass_d,
    froze_the_heads_in_pass_d_too,
    left_one_layer_unfrozen,
    used_the_positions_of_the_first_prompt,
    patched_every_head_of_the_layer,
    let_receivers_influence_one_another,
    averaged_the_sender_over_prompts,
    took_the_shared_vector_for_one_copy,
    froze_the_scale_of_the_norm,
    left_its_hooks_behind,
]
