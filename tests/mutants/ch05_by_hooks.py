"""Answers to exercise 5.4: path patching with hooks alone."""

import time

import torch

from mutants.answers import right, wrong
from pathpatch import Tokens, run
from pathpatch.paths import passes_c_and_d

X_ORIG = torch.zeros(4, 19, dtype=torch.long)  # left over from another cell


def z(layer):
    return f"blocks.{layer}.attn.hook_z"


def constant(value):
    """A hook that puts in a value."""
    return lambda own, hook: value


def passes(model, x_orig, x_new, sender, receiver, at, **change):
    """The four passes. change: what a wrong answer does differently."""
    (i, j), (layer, head, kind) = sender, receiver
    rows, door = torch.arange(len(at)), f"blocks.{layer}.attn.hook_{kind}"
    rows = change.get("rows", rows)
    _, a = model.run_with_cache(change.get("x_a", x_new))
    _, b = model.run_with_cache(change.get("x_b", x_orig))
    patched = b[z(i)].clone()
    here = change.get("here", (rows, at, j))
    patched[here] = a[z(i)][here]
    freeze = [(z(k), constant(b[z(k)])) for k in change.get("layers", range(model.cfg.n_layers))]
    freeze = [pair for pair in freeze if pair[0] != z(i)] + [(z(i), constant(patched))]
    freeze += [(name, constant(b[name])) for name in change.get("more", [])]
    there, stored = change.get("there", (rows, at, head)), {}

    def store(value, hook):
        stored["R"] = value[there].clone()

    def put(value, hook):
        value = value.clone()
        value[there] = stored["R"]
        return value

    c = model.run_with_hooks(change.get("x_c", x_orig), fwd_hooks=[*freeze, (door, store)])
    if "x_c" not in change and change.get("stop"):
        return c
    last = [(door, put), *change.get("in_d", lambda patched, b: [])(patched, b)]
    return model.run_with_hooks(change.get("x_d", x_orig), fwd_hooks=last)


@right("5.4")
def with_one_general_helper(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_orig, x_new, sender, receiver, at)


@right("5.4")
@torch.no_grad()
def with_masks_and_nested_functions(model, x_orig, x_new, sender, receiver, at):
    """Only the layers between are frozen (the others cannot change), and no index arithmetic."""
    (i, j), (layer, head, kind) = sender, receiver
    here = torch.nn.functional.one_hot(at, x_orig.shape[1]).bool()[:, :, None]  # [batch, pos, 1]
    names = {z(k) for k in range(model.cfg.n_layers)}
    new = model.run_with_cache(x_new, names_filter=lambda name: name in names)[1]
    old = model.run_with_cache(x_orig, names_filter=lambda name: name in names)[1]

    def pass_c():
        found = []

        def patch(value, hook):
            value[:, :, j] = torch.where(here, new[z(i)][:, :, j], value[:, :, j])
            return value

        between = [(z(k), constant(old[z(k)].clone())) for k in range(i + 1, layer)]
        look = (f"blocks.{layer}.attn.hook_{kind}", lambda value, hook: found.append(value.clone()))
        model.run_with_hooks(x_orig, fwd_hooks=[(z(i), patch), *between, look])
        return found[0]

    stored = pass_c()

    def pass_d(value, hook):
        value[:, :, head] = torch.where(here, stored[:, :, head], value[:, :, head])
        return value

    return model.run_with_hooks(x_orig, fwd_hooks=[(f"blocks.{layer}.attn.hook_{kind}", pass_d)])


@right("5.4")
def with_hooks_that_are_taken_off(model, x_orig, x_new, sender, receiver, at):
    try:
        _, a = model.run_with_cache(x_new)
        _, b = model.run_with_cache(x_orig)
        (i, j), (layer, head, kind) = sender, receiver
        at, point, rows = at.tolist(), model.blocks[layer].attn, range(len(at))
        point = {"q": point.hook_q, "k": point.hook_k, "v": point.hook_v}[kind]
        for k, block in enumerate(model.blocks):
            value = b[z(k)].clone()
            for row in rows:
                if k == i:
                    value[row, at[row], j] = a[z(k)][row, at[row], j]
            block.attn.hook_z.add_hook(constant(value))
        stored = []
        point.add_hook(lambda value, hook: stored.append(value.clone()))
        model(x_orig)
        model.reset_hooks()

        def put(value, hook):
            value = value.clone()
            for row in rows:
                value[row, at[row], head] = stored[0][row, at[row], head]
            return value

        point.add_hook(put)
        return model(x_orig)
    finally:
        model.reset_hooks()


@right("5.4")
def without_the_padding(model, x_orig, x_new, sender, receiver, at):
    """One prompt at a time, and only as long as it is; what stands at padding does not count."""
    logits = torch.zeros(*x_orig.shape, model.cfg.d_vocab, dtype=torch.float64)
    for row in range(len(at)):
        own = x_orig[row] != 0
        one, other = x_orig[row : row + 1, own], x_new[row : row + 1, own]
        there = at[row : row + 1]
        logits[row, own] = passes(model, one, other, sender, receiver, there)[0]
    return logits


@wrong("5.4", "nothing is frozen")
def forgot_to_freeze(model, x_orig, x_new, sender, receiver, at):
    (i, j), (layer, head, kind) = sender, receiver
    rows, stored = torch.arange(len(at)), {}
    _, a = model.run_with_cache(x_new)

    def patch(value, hook):
        value = value.clone()
        value[rows, at, j] = a[z(i)][rows, at, j]
        return value

    def store(value, hook):
        stored["R"] = value[rows, at, head].clone()

    def put(value, hook):
        value = value.clone()
        value[rows, at, head] = stored["R"]
        return value

    name = f"blocks.{layer}.attn.hook_{kind}"
    model.run_with_hooks(x_orig, fwd_hooks=[(z(i), patch), (name, store)])
    return model.run_with_hooks(x_orig, fwd_hooks=[(name, put)])


@wrong("5.4", "the MLPs are frozen too")
def froze_the_mlps_too(model, x_orig, x_new, sender, receiver, at):
    more = [f"blocks.{k}.hook_mlp_out" for k in range(model.cfg.n_layers)]
    return passes(model, x_orig, x_new, sender, receiver, at, more=more)


@wrong("5.4", "the scale of the norm before R is frozen")
def froze_the_scale_of_one_norm(model, x_orig, x_new, sender, receiver, at):
    more = [f"blocks.{receiver[0]}.ln1.hook_scale"]
    return passes(model, x_orig, x_new, sender, receiver, at, more=more)


@wrong("5.4", "the scale of the norms is frozen")
def froze_the_scale_of_all_norms(model, x_orig, x_new, sender, receiver, at):
    more = [f"blocks.{k}.{n}.hook_scale" for k in range(model.cfg.n_layers) for n in ("ln1", "ln2")]
    return passes(model, x_orig, x_new, sender, receiver, at, more=more)


@wrong("5.4", "the last layer before R is not frozen")
def stopped_a_layer_too_early(model, x_orig, x_new, sender, receiver, at):
    layers = range(receiver[0] - 1)
    return passes(model, x_orig, x_new, sender, receiver, at, layers=layers)


@wrong("5.4", "only the first three layers are frozen")
def froze_three_layers(model, x_orig, x_new, sender, receiver, at):
    layers = range(min(3, model.cfg.n_layers))
    return passes(model, x_orig, x_new, sender, receiver, at, layers=layers)


@wrong("5.4", "only the first layer after h is frozen")
def froze_the_next_layer(model, x_orig, x_new, sender, receiver, at):
    layers = [sender[0] + 1]
    return passes(model, x_orig, x_new, sender, receiver, at, layers=layers)


@wrong("5.4", "your line")
def counted_on_four_prompts(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_orig, x_new, sender, receiver, at, rows=[0, 1, 2, 3])


@wrong("5.4", "all heads of the sender's layer")
def patched_the_whole_layer(model, x_orig, x_new, sender, receiver, at):
    rows = torch.arange(len(at))
    return passes(model, x_orig, x_new, sender, receiver, at, here=(rows, at))


@wrong("5.4", "all heads of R's layer are stored and set")
def set_the_receiver_in_all_heads(model, x_orig, x_new, sender, receiver, at):
    rows = torch.arange(len(at))
    return passes(model, x_orig, x_new, sender, receiver, at, there=(rows, at))


@wrong("5.4", "at all positions, not only at their own")
def patched_all_positions(model, x_orig, x_new, sender, receiver, at):
    every = slice(None)
    return passes(
        model,
        x_orig,
        x_new,
        sender,
        receiver,
        at,
        here=(every, every, sender[1]),
        there=(every, every, receiver[1]),
    )


@wrong("5.4", "index with `[rows, at]`, not `[:, at]`")
def used_the_positions_of_all_prompts(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_orig, x_new, sender, receiver, at, rows=slice(None))


@wrong("5.4", "the position of the first prompt is used for all prompts")
def used_the_position_of_the_first_prompt(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_orig, x_new, sender, receiver, at[:1].expand(len(at)))


@wrong("5.4", "x_orig and x_new have changed places")
def swapped_x_orig_and_x_new(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_new, x_orig, sender, receiver, at)


@wrong("5.4", "the freeze is taken from A and the patch from B")
def mixed_up_the_caches(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_orig, x_new, sender, receiver, at, x_a=x_orig, x_b=x_new)


@wrong("5.4", "pass D is run on x_new")
def ran_d_on_x_new(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_orig, x_new, sender, receiver, at, x_d=x_new)


@wrong("5.4", "the logits of pass C are returned")
def stopped_after_pass_c(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_orig, x_new, sender, receiver, at, stop=True)


@wrong("5.4", "h is patched again in pass D")
def patched_h_in_d(model, x_orig, x_new, sender, receiver, at):
    rows, (i, j) = torch.arange(len(at)), sender

    def again(patched, b):
        def patch(value, hook):
            value = value.clone()
            value[rows, at, j] = patched[rows, at, j]
            return value

        return [(z(i), patch)]

    return passes(model, x_orig, x_new, sender, receiver, at, in_d=again)


@wrong("5.4", "its head is frozen there")
def froze_in_d(model, x_orig, x_new, sender, receiver, at):
    def freeze(patched, b):
        return [(z(k), constant(b[z(k)])) for k in range(model.cfg.n_layers)]

    return passes(model, x_orig, x_new, sender, receiver, at, in_d=freeze)


@wrong("5.4", "that is activation patching")
def patched_h_and_let_all_react(model, x_orig, x_new, sender, receiver, at):
    _, a = model.run_with_cache(x_new)
    rows, (i, j) = torch.arange(len(at)), sender

    def patch(value, hook):
        value = value.clone()
        value[rows, at, j] = a[z(i)][rows, at, j]
        return value

    return model.run_with_hooks(x_orig, fwd_hooks=[(z(i), patch)])


@wrong("5.4", "R is read in pass A, where everything is new")
def took_the_receiver_from_x_new(model, x_orig, x_new, sender, receiver, at):
    _, a = model.run_with_cache(x_new)
    layer, head, kind = receiver
    rows, name = torch.arange(len(at)), f"blocks.{layer}.attn.hook_{kind}"

    def put(value, hook):
        value = value.clone()
        value[rows, at, head] = a[name][rows, at, head]
        return value

    return model.run_with_hooks(x_orig, fwd_hooks=[(name, put)])


@wrong("5.4", "it is kept as a view that changes later")
def kept_a_view(model, x_orig, x_new, sender, receiver, at):
    """Pass C puts R back to its old value, so that nothing uses the new one: in place."""
    (i, j), (layer, head, kind) = sender, receiver
    rows, name = torch.arange(len(at)), f"blocks.{layer}.attn.hook_{kind}"
    _, a = model.run_with_cache(x_new)
    _, b = model.run_with_cache(x_orig)
    old = {k: b[z(k)].clone() for k in range(model.cfg.n_layers)}
    old[i][rows, at, j] = a[z(i)][rows, at, j]
    own, stored = b[name].clone(), {}

    def store_and_put_back(value, hook):
        stored["R"] = value[:, :, head]
        value[:, :, head] = own[:, :, head]
        return value

    def put(value, hook):
        value = value.clone()
        value[rows, at, head] = stored["R"][rows, at]
        return value

    freeze = [(z(k), constant(old[k])) for k in old]
    model.run_with_hooks(x_orig, fwd_hooks=[*freeze, (name, store_and_put_back)])
    return model.run_with_hooks(x_orig, fwd_hooks=[(name, put)])


@wrong("5.4", "R is read where nothing is patched")
def stored_the_receiver_of_pass_b(model, x_orig, x_new, sender, receiver, at):
    _, b = model.run_with_cache(x_orig)
    layer, head, kind = receiver
    rows, name = torch.arange(len(at)), f"blocks.{layer}.attn.hook_{kind}"

    def put(value, hook):
        value = value.clone()
        value[rows, at, head] = b[name][rows, at, head]
        return value

    return model.run_with_hooks(x_orig, fwd_hooks=[(name, put)])


@wrong("5.4", "the residual stream before R is stored")
def stored_the_whole_stream(model, x_orig, x_new, sender, receiver, at):
    (i, j), (layer, _, _) = sender, receiver
    rows, name, stored = torch.arange(len(at)), f"blocks.{layer}.hook_resid_pre", {}
    _, a = model.run_with_cache(x_new)
    _, b = model.run_with_cache(x_orig)
    old = {k: b[z(k)].clone() for k in range(model.cfg.n_layers)}
    old[i][rows, at, j] = a[z(i)][rows, at, j]

    def store(value, hook):
        stored["R"] = value[rows, at].clone()

    def put(value, hook):
        value = value.clone()
        value[rows, at] = stored["R"]
        return value

    freeze = [(z(k), constant(old[k])) for k in old]
    model.run_with_hooks(x_orig, fwd_hooks=[*freeze, (name, store)])
    return model.run_with_hooks(x_orig, fwd_hooks=[(name, put)])


@wrong("5.4", "hooks are left behind on the model")
def left_a_hook_behind(model, x_orig, x_new, sender, receiver, at):
    model.blocks[0].attn.hook_z.add_hook(lambda value, hook: value * 2)
    return passes(model, x_orig, x_new, sender, receiver, at)


@wrong("5.4", "the weights of the model are changed")
def removed_a_head_for_good(model, x_orig, x_new, sender, receiver, at):
    with torch.no_grad():
        model.unembed.weight *= 1.5
    return passes(model, x_orig, x_new, sender, receiver, at)


@wrong("5.4", "changed its argument x_orig in place")
def changed_the_tokens(model, x_orig, x_new, sender, receiver, at):
    logits = passes(model, x_orig, x_new, sender, receiver, at)
    x_orig[:] = x_new
    return logits


@wrong("5.4", "The function calls pathpatch")
def called_the_library(model, x_orig, x_new, sender, receiver, at):
    (i, j), (layer, head, kind) = sender, receiver
    places = {"END": torch.full_like(at, x_orig.shape[1] - 1), "here": at}
    frozen = [f"{k}.{n}.z" for k in range(model.cfg.n_layers) for n in range(model.cfg.n_heads)]
    b = run(model, Tokens(x_orig, places), reads=frozen)
    a = run(model, Tokens(x_new, places), reads=[f"{i}.{j}.z@here"])
    ends = {"senders": [f"{i}.{j}.z@here"], "receivers": [f"{layer}.{head}.{kind}@here"]}
    return passes_c_and_d(model, a, b, **ends, frozen=frozen)


@wrong("5.4", "only the logits at the position of R are returned")
def returned_one_position(model, x_orig, x_new, sender, receiver, at):
    return passes(model, x_orig, x_new, sender, receiver, at)[torch.arange(len(at)), at]


@wrong("5.4", "That is a tuple of 2")
def returned_the_cache_too(model, x_orig, x_new, sender, receiver, at):
    return model.run_with_cache(x_orig)


@wrong("5.4", "Is there a `return`?")
def forgot_the_return(model, x_orig, x_new, sender, receiver, at):
    passes(model, x_orig, x_new, sender, receiver, at)


@wrong("5.4", "Is there a loop that never ends?")
def never_came_back(model, x_orig, x_new, sender, receiver, at):
    k = 0
    while k < model.cfg.n_layers:
        time.sleep(0.01)


@wrong("5.4", "your line")
def asked_for_a_hook_that_is_not_there(model, x_orig, x_new, sender, receiver, at):
    _, cache = model.run_with_cache(x_orig)
    return cache[f"blocks.{sender[0]}.hook_z"]


@wrong("5.4", "That is a tensor of shape [4, 19, ")
def took_the_prompts_of_the_cell_above(model, x_orig, x_new, sender, receiver, at):
    return passes(model, X_ORIG, x_new, sender, receiver, at)
