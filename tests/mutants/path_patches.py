"""Path patching with one mistake each. The name says which."""

from dataclasses import replace

import torch

from pathpatch import LOGITS, heads, mlps, run
from pathpatch.nodes import as_nodes


def _pass_c(model, tokens, base, source, senders, receivers, frozen):
    writes = {node: base[node] for node in frozen}
    writes |= {node: source[node] for node in as_nodes(senders)}
    return run(model, tokens, reads=receivers, writes=writes)


def _pass_d(model, tokens, stored):
    if LOGITS in stored:
        return stored[LOGITS]
    return run(model, tokens, reads=[LOGITS], writes=stored)[LOGITS]


def forgot_to_freeze(model, tokens, base, source, *, senders, receivers, frozen):
    stored = _pass_c(model, tokens, base, source, senders, receivers, [])
    return _pass_d(model, tokens, stored)


def froze_the_mlps_too(model, tokens, base, source, *, senders, receivers, frozen):
    everything = run(model, tokens, reads=[*frozen, *mlps(model)])
    frozen = [*frozen, *mlps(model)]
    stored = _pass_c(model, tokens, everything, source, senders, receivers, frozen)
    return _pass_d(model, tokens, stored)


def forgot_to_freeze_the_mlps(model, tokens, base, source, *, senders, receivers, frozen):
    stored = _pass_c(model, tokens, base, source, senders, receivers, heads(model))
    return _pass_d(model, tokens, stored)


def patched_all_positions(model, tokens, base, source, *, senders, receivers, frozen):
    source = run(model, source.tokens, reads=[n.everywhere() for n in as_nodes(senders)])
    senders, receivers = ([n.everywhere() for n in as_nodes(x)] for x in (senders, receivers))
    stored = _pass_c(model, tokens, base, source, senders, receivers, frozen)
    return _pass_d(model, tokens, stored | {LOGITS: stored[LOGITS]} if _logits(stored) else stored)


def _logits(stored):
    return any(node.kind == "logits" for node in stored)


def patched_the_residual_stream_instead_of_one_input(
    model, tokens, base, source, *, senders, receivers, frozen
):
    wide = [
        replace(n, kind="resid_pre", head=None, shared=False) if n.kind in "qkv" else n
        for n in as_nodes(receivers)
    ]
    stored = _pass_c(model, tokens, base, source, senders, dict.fromkeys(wide), frozen)
    return _pass_d(model, tokens, stored)


def stored_the_receiver_after_the_freeze(
    model, tokens, base, source, *, senders, receivers, frozen
):
    stored = _pass_c(model, tokens, base, source, senders, receivers, frozen)
    own = run(model, tokens, reads=receivers)
    late = {n: own[n] if n.kind in "qkv" else value for n, value in stored.items()}
    return _pass_d(model, tokens, late)


def swapped_x_orig_and_x_new(model, tokens, base, source, *, senders, receivers, frozen):
    a = run(model, source.tokens, reads=frozen)
    b = run(model, tokens, reads=senders)
    stored = _pass_c(model, source.tokens, a, b, senders, receivers, frozen)
    return _pass_d(model, source.tokens, stored)


def took_the_sender_from_x_orig(model, tokens, base, source, *, senders, receivers, frozen):
    own = run(model, tokens, reads=senders)
    stored = _pass_c(model, tokens, base, own, senders, receivers, frozen)
    return _pass_d(model, tokens, stored)


def patched_the_sender_again_in_pass_d(model, tokens, base, source, *, senders, receivers, frozen):
    stored = _pass_c(model, tokens, base, source, senders, receivers, frozen)
    if LOGITS in stored:
        return stored[LOGITS]
    sent = {node: source[node] for node in as_nodes(senders)}
    return run(model, tokens, reads=[LOGITS], writes=stored | sent)[LOGITS]


def froze_the_heads_in_pass_d_too(model, tokens, base, source, *, senders, receivers, frozen):
    stored = _pass_c(model, tokens, base, source, senders, receivers, frozen)
    if LOGITS in stored:
        return stored[LOGITS]
    kept = {node: base[node] for node in frozen}
    return run(model, tokens, reads=[LOGITS], writes=kept | stored)[LOGITS]


def left_one_layer_unfrozen(model, tokens, base, source, *, senders, receivers, frozen):
    last = max(node.layer for node in as_nodes(frozen))
    short = [node for node in as_nodes(frozen) if 0 < node.layer <= last]
    stored = _pass_c(model, tokens, base, source, senders, receivers, short)
    return _pass_d(model, tokens, stored)


def used_the_positions_of_the_first_prompt(
    model, tokens, base, source, *, senders, receivers, frozen
):
    first = {k: v[:1].expand(len(tokens)).clone() for k, v in tokens.positions.items()}
    first["END"] = tokens.positions["END"]
    tokens = type(tokens)(tokens.ids, first)
    source = run(model, type(tokens)(source.tokens.ids, first), reads=senders)
    stored = _pass_c(model, tokens, base, source, senders, receivers, frozen)
    return _pass_d(model, tokens, stored)


def patched_every_head_of_the_layer(model, tokens, base, source, *, senders, receivers, frozen):
    layers = {node.layer for node in as_nodes(senders) if node.kind == "z"}
    wide = [n for n in heads(model) if n.layer in layers]
    more = {replace(n, at=s.at) for n in wide for s in as_nodes(senders) if s.layer == n.layer}
    a = run(model, source.tokens, reads=[*as_nodes(senders), *more])
    stored = _pass_c(model, tokens, base, a, [*as_nodes(senders), *more], receivers, frozen)
    return _pass_d(model, tokens, stored)


def let_receivers_influence_one_another(model, tokens, base, source, *, senders, receivers, frozen):
    own = {(n.layer, n.head) for n in as_nodes(receivers)}
    loose = [n for n in as_nodes(frozen) if (n.layer, n.head) not in own]
    stored = _pass_c(model, tokens, base, source, senders, receivers, loose)
    return _pass_d(model, tokens, stored)


def averaged_the_sender_over_prompts(model, tokens, base, source, *, senders, receivers, frozen):
    mean = type(source)(source.tokens)
    for node in as_nodes(senders):
        mean[node] = source[node].mean(0, keepdim=True).expand_as(source[node])
    stored = _pass_c(model, tokens, base, mean, senders, receivers, frozen)
    return _pass_d(model, tokens, stored)


def took_the_shared_vector_for_one_copy(model, tokens, base, source, *, senders, receivers, frozen):
    group = model.cfg.query_heads_per_kv
    wide = [
        replace(n, head=n.head // group, shared=True) if n.kind in "kv" and not n.shared else n
        for n in as_nodes(receivers)
    ]
    stored = _pass_c(model, tokens, base, source, senders, wide, frozen)
    return _pass_d(model, tokens, stored)


def froze_the_scale_of_the_norm(model, tokens, base, source, *, senders, receivers, frozen):
    nodes = [f"{n.layer}.resid_pre" for n in as_nodes(receivers) if n.kind == "q"]
    stored = _pass_c(model, tokens, base, source, senders, receivers, frozen)
    moved = _pass_c(model, tokens, base, source, senders, nodes, frozen)
    own = run(model, tokens, reads=nodes)
    rows = torch.arange(len(tokens))
    for node in [n for n in as_nodes(receivers) if n.kind == "q"]:
        block, name = model.blocks[node.layer], f"{node.layer}.resid_pre"
        scale = block.ln1(own[name]).norm(dim=-1) / own[name].norm(dim=-1)
        free = block.ln1(moved[name]).norm(dim=-1) / moved[name].norm(dim=-1)
        at = slice(None) if node.at is None else (rows, tokens.at(node.at))
        ratio = (scale / free)[at] if node.at is not None else scale / free
        stored[node] = stored[node] * ratio.unsqueeze(-1)
    return _pass_d(model, tokens, stored)


def left_its_hooks_behind(model, tokens, base, source, *, senders, receivers, frozen):
    stored = _pass_c(model, tokens, base, source, senders, receivers, frozen)
    model.blocks[0].attn.hook_pattern.add_hook(lambda activation, hook: activation)
    return _pass_d(model, tokens, stored)


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
