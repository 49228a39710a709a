"""Answers to the exercises of chapter 3."""

import numpy as np
import torch

from mutants.answers import right, wrong
from pathpatch import LOGITS, Node, Tokens, activation_patch, logit_diff, run

# ---- 3.1 shares of the answer ----


def attributed(written, gain, unembed, answer, foil, size=None):
    """One logit difference for each part, after a division by `size` [batch]."""
    if size is None:
        size = (written.sum(0) ** 2).mean(-1) ** 0.5
    logits = written / size[..., None] * gain @ unembed  # [part, batch, vocab]
    rows = torch.arange(len(answer))
    return logits[:, rows, answer] - logits[:, rows, foil]


@right("3.1")
def with_all_logits(written, gain, unembed, answer, foil):
    return attributed(written, gain, unembed, answer, foil)


@right("3.1")
def with_loops(written, gain, unembed, answer, foil):
    rows = []
    for part in written:
        row = []
        for i, (good, bad) in enumerate(zip(answer.tolist(), foil.tolist(), strict=True)):
            state = written[:, i].sum(0)
            apart = (unembed[:, good] - unembed[:, bad]) * gain
            row.append(float(part[i] @ apart / (state @ state / len(state)).sqrt()))
        rows.append(row)
    return np.array(rows)


@wrong("3.1", "each part is divided by its own size")
def normed_each_part(written, gain, unembed, answer, foil):
    size = (written**2).mean(-1) ** 0.5
    return attributed(written, gain, unembed, answer, foil, size)


@wrong("3.1", "the squares are summed up under the root")
def divided_by_the_norm(written, gain, unembed, answer, foil):
    return attributed(written, gain, unembed, answer, foil, written.sum(0).norm(dim=-1))


@wrong("3.1", "nothing is divided by the size")
def forgot_the_size(written, gain, unembed, answer, foil):
    return attributed(written, gain, unembed, answer, foil, torch.ones(len(answer)))


@wrong("3.1", "the gain is left out")
def forgot_the_gain(written, gain, unembed, answer, foil):
    return attributed(written, torch.ones_like(gain), unembed, answer, foil)


@wrong("3.1", "without that of the foil")
def only_the_answer(written, gain, unembed, answer, foil):
    logits = written / (written.sum(0) ** 2).mean(-1)[:, None] ** 0.5 * gain @ unembed
    return logits[:, torch.arange(len(answer)), answer]


@wrong("3.1", "answer and foil have changed places")
def the_other_sign(written, gain, unembed, answer, foil):
    return attributed(written, gain, unembed, foil, answer)


@wrong("3.1", "all prompts are divided by one size")
def one_size(written, gain, unembed, answer, foil):
    size = (written.sum(0) ** 2).mean() ** 0.5
    return attributed(written, gain, unembed, answer, foil, size[None])


@wrong("3.1", "parts and prompts have changed places")
def the_other_way_round(written, gain, unembed, answer, foil):
    return attributed(written, gain, unembed, answer, foil).T


@wrong("3.1", "That is a tensor of shape")
def all_pairs_of_prompts(written, gain, unembed, answer, foil):
    size = (written.sum(0) ** 2).mean(-1) ** 0.5
    return (written / size[:, None] * gain) @ (unembed[:, answer] - unembed[:, foil])


@wrong("3.1", "the mean over d_model is subtracted")
def as_in_gpt2(written, gain, unembed, answer, foil):
    written = written - written.mean(-1, keepdim=True)
    return attributed(written, gain, unembed, answer, foil)


@wrong("3.1", "changed its argument written in place")
def divided_in_place(written, gain, unembed, answer, foil):
    written /= (written.sum(0) ** 2).mean(-1)[:, None] ** 0.5
    return attributed(written, gain, unembed, answer, foil, torch.ones(len(answer)))


# ---- 3.2 one patch, for many prompts ----


def by_two_hooks(model, name, x_orig, x_new, where, change=None, source=None, output=False):
    """Keep a part of what a module takes (or gives) on x_new, and put it in on x_orig."""
    network, kept = model.original_model, {}
    module = network.get_submodule(name)

    def keep(module, inputs, *outputs):
        kept["z"] = (outputs[0] if output else inputs[0])[source or where].clone()

    def put(module, inputs, *outputs):
        changed = (outputs[0] if output else inputs[0]).clone()
        changed[where] = kept["z"] if change is None else change(kept["z"], changed[where])
        return changed

    add = module.register_forward_hook if output else module.register_forward_pre_hook
    for hook, ids in ((keep, x_new), (put, x_orig)):
        handle = add(hook)
        logits = network(ids).logits
        handle.remove()
    return logits


def columns(model, head):
    return slice(head * model.cfg.d_head, (head + 1) * model.cfg.d_head)


@right("3.2")
def with_a_head_axis_and_in_place(model, name, head, x_orig, x_new, at):
    """Views and in-place writes: nobody else reads the input of this module."""
    network = model.original_model
    module, kept = network.get_submodule(name), []

    def of_heads(inputs):
        return inputs[0].unflatten(-1, (-1, model.cfg.d_head))

    handle = module.register_forward_pre_hook(lambda m, x: kept.append(of_heads(x).clone()))
    network(input_ids=x_new)
    handle.remove()

    def put(module, inputs):
        for row, place in enumerate(at.tolist()):
            of_heads(inputs)[row, place, head] = kept[0][row, place, head]

    with_hook = module.register_forward_pre_hook(put)
    logits = network(input_ids=x_orig)[0]
    with_hook.remove()
    return logits


@right("3.2")
def with_the_hooks_of_transformer_lens(model, name, head, x_orig, x_new, at):
    layer = next(int(part) for part in name.split(".") if part.isdigit())
    point = f"blocks.{layer}.attn.hook_z"
    mask = torch.nn.functional.one_hot(at, x_orig.shape[1]).bool()[..., None]
    _, cache = model.run_with_cache(x_new)

    def put(z, hook):
        z = z.clone()
        z[:, :, head] = torch.where(mask, cache[point][:, :, head], z[:, :, head])
        return z

    return model.run_with_hooks(x_orig, fwd_hooks=[(point, put)])


@wrong("3.2", "index with `[rows, at]`, not `[:, at]`")
def mixed_up_the_prompts(model, name, head, x_orig, x_new, at):
    where = slice(None), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "at the position of the first prompt")
def frozen_at_one_position(model, name, head, x_orig, x_new, at):
    where = slice(None), int(at[0]), columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "the last position is patched")
def as_on_the_page(model, name, head, x_orig, x_new, at):
    where = slice(None), -1, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "at all positions, and not at one")
def at_every_position(model, name, head, x_orig, x_new, at):
    where = slice(None), slice(None), columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "nothing is patched")
def heads_of_64_numbers(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, slice(head * 64, (head + 1) * 64)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "all heads of the layer are patched")
def the_whole_layer(model, name, head, x_orig, x_new, at):
    return by_two_hooks(model, name, x_orig, x_new, (torch.arange(len(at)), at))


@wrong("3.2", "every n-th number is taken for the head")
def every_nth_column(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, slice(head, None, model.cfg.n_heads)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "the head is taken to begin at its own number")
def forgot_to_multiply(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, slice(head, head + model.cfg.d_head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "the output of the module is patched")
def what_the_module_gives(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where, output=True)


@wrong("3.2", "the value is averaged over the prompts")
def the_mean_over_the_batch(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    mean = lambda new, old: new.mean(0)  # noqa: E731
    return by_two_hooks(model, name, x_orig, x_new, where, change=mean)


@wrong("3.2", "the new value is added to the old one")
def added_it(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where, change=lambda new, old: new + old)


@wrong("3.2", "x_orig and x_new have changed places")
def the_other_direction(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    return by_two_hooks(model, name, x_new, x_orig, where)


@wrong("3.2", "hooks are left behind on the model")
def left_the_hook(model, name, head, x_orig, x_new, at):
    module = model.original_model.get_submodule(name)
    module.register_forward_pre_hook(lambda module, inputs: None)
    where = torch.arange(len(at)), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "which does the patch for you")
def called_run(model, name, head, x_orig, x_new, at):
    layer = next(int(part) for part in name.split(".") if part.isdigit())
    places = {"END": (x_orig != 0).sum(1) - 1, "here": at}
    h = Node("z", layer, head, at="here")
    a = run(model, Tokens(x_new, places), reads=[h])
    return run(model, Tokens(x_orig, places), reads=["logits"], writes=a)["logits"]


@wrong("3.2", "only the logits at END")
def only_the_end(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    logits = by_two_hooks(model, name, x_orig, x_new, where)
    return logits[torch.arange(len(at)), (x_orig != 0).sum(1) - 1]


@wrong("3.2", "your line")
def four_prompts_always(model, name, head, x_orig, x_new, at):
    where = torch.arange(4), at, columns(model, head)
    return by_two_hooks(model, name, x_orig, x_new, where)


@wrong("3.2", "nothing is patched")
def put_it_into_another_run(model, name, head, x_orig, x_new, at):
    where = torch.arange(len(at)), at, columns(model, head)
    by_two_hooks(model, name, x_orig, x_new, where)
    return model.original_model(x_orig).logits


# ---- 3.3 a mask that mixes prompts ----


@right("3.3")
def with_one_mask(old, new, at):
    here = torch.arange(old.shape[1])[None] == at[:, None]
    return torch.where(here.reshape(here.shape + (1,) * (old.ndim - 2)), new, old)


@right("3.3")
def one_prompt_after_another(old, new, at):
    rows = []
    for one, other, place in zip(old, new, at.tolist(), strict=True):
        rows.append(
            one if place < 0 else torch.cat([one[:place], other[place, None], one[place + 1 :]])
        )
    return torch.stack(rows)


@wrong("3.3", "-1 means that in Python")
def forgot_who_lacks_it(old, new, at):
    rows, found = torch.arange(len(at)), old.clone()
    found[rows, at] = new[rows, at]
    return found


@wrong("3.3", "every prompt that has the word is patched at the positions of all prompts")
def only_the_rows_that_have_it(old, new, at):
    found = old.clone()
    for row in range(len(at)):
        if at[row] >= 0:
            found[row, at[at >= 0]] = new[row, at[at >= 0]]
    return found


@wrong("3.3", "every prompt is patched at the positions of all prompts")
def left_out_those_that_lack_it(old, new, at):
    found, places = old.clone(), at[at >= 0]
    found[:, places] = new[:, places]
    return found


@wrong("3.3", "a word at position 0 counts as missing")
def more_than_zero(old, new, at):
    found, rows = old.clone(), (at > 0).nonzero()[:, 0]
    found[rows, at[rows]] = new[rows, at[rows]]
    return found


@wrong("3.3", "a prompt without the word is patched at position 0")
def clamped(old, new, at):
    rows, found = torch.arange(len(at)), old.clone()
    found[rows, at.clamp(min=0)] = new[rows, at.clamp(min=0)]
    return found


@wrong("3.3", "at the position of the first prompt")
def took_the_first_position(old, new, at):
    found = old.clone()
    if at[0] >= 0:
        found[:, at[0]] = new[:, at[0]]
    return found


@wrong("3.3", "changed its argument old in place")
def wrote_into_old(old, new, at):
    rows = torch.arange(len(at))[at >= 0]
    old[rows, at[rows]] = new[rows, at[rows]]
    return old


@wrong("3.3", "changed its argument at in place")
def wrote_into_the_positions(old, new, at):
    found = with_one_mask(old, new, at)
    at[at < 0] = 0
    return found


@wrong("3.3", "your line")
def counted_on_three_axes(old, new, at):
    here = torch.arange(old.shape[1])[None, :, None] == at[:, None, None]
    assert old.ndim == 3
    return torch.where(here, new, old)


@wrong("3.3", "only the prompts that have the word are returned")
def dropped_the_others(old, new, at):
    return with_one_mask(old, new, at)[at >= 0]


# ---- 3.4 how many heads must be patched ----


def tried(gate, base, other, goal, least=1):
    """Size -> the sets of that size that reach the goal."""
    n, found = len(base), {}
    for bits in range(2**n):
        chosen = [i for i in range(n) if bits >> i & 1]
        mixed = tuple(other[i] if i in chosen else base[i] for i in range(n))
        if gate[mixed] == goal and len(chosen) >= least:
            found.setdefault(len(chosen), []).append(chosen)
    return found


def both_ways(gate, clean, corrupt, pick=min):
    down, up = tried(gate, clean, corrupt, 0), tried(gate, corrupt, clean, 1)
    return {"noising": down[pick(down)], "denoising": up[pick(up)]}


@right("3.4")
def from_one_table_of_mixed_runs(gate, clean, corrupt):
    """What is noised is what is not denoised."""
    n, runs = len(clean), []
    for bits in range(2**n):
        kept = {i for i in range(n) if bits >> i & 1}
        runs.append((kept, tuple(clean[i] if i in kept else corrupt[i] for i in range(n))))
    up = [tuple(sorted(kept)) for kept, mixed in runs if gate[mixed]]
    down = [tuple(sorted(set(range(n)) - kept)) for kept, mixed in runs if not gate[mixed]]
    found = {}
    for way, sets in (("noising", down), ("denoising", up)):
        found[way] = tuple(one for one in sets if len(one) == min(map(len, sets)))
    return found


@wrong("3.4", "a patched head is flipped")
def flipped_them(gate, clean, corrupt):
    found = {}
    for way, base, goal in (("noising", clean, 0), ("denoising", corrupt, 1)):
        found[way] = min(tried(gate, base, [1 - bit for bit in base], goal).items())[1]
    return found


@wrong("3.4", "only single heads are tried")
def one_head_at_a_time(gate, clean, corrupt):
    down, up = tried(gate, clean, corrupt, 0), tried(gate, corrupt, clean, 1)
    return {"noising": down.get(1, []), "denoising": up.get(1, [])}


@wrong("3.4", "noising and denoising have changed places")
def mixed_up_the_directions(gate, clean, corrupt):
    found = both_ways(gate, clean, corrupt)
    return {"noising": found["denoising"], "denoising": found["noising"]}


@wrong("3.4", "both directions start from the clean run")
def always_from_the_clean_run(gate, clean, corrupt):
    return dict.fromkeys(("noising", "denoising"), both_ways(gate, clean, corrupt)["noising"])


@wrong("3.4", "sets of all sizes are returned")
def returned_all_that_work(gate, clean, corrupt):
    down, up = tried(gate, clean, corrupt, 0), tried(gate, corrupt, clean, 1)
    ways = {"noising": down, "denoising": up}
    return {way: [one for sets in of.values() for one in sets] for way, of in ways.items()}


@wrong("3.4", "that needs all its heads")
def sets_without_smaller_ones_in_them(gate, clean, corrupt):
    found = {}
    for way, sets in returned_all_that_work(gate, clean, corrupt).items():
        found[way] = [s for s in sets if not any(set(t) < set(s) for t in sets)]
    return found


@wrong("3.4", "only the first of the smallest sets")
def returned_the_first(gate, clean, corrupt):
    return {way: [min(sets)] for way, sets in both_ways(gate, clean, corrupt).items()}


@wrong("3.4", "a patched head is set to 0")
def removed_the_heads(gate, clean, corrupt):
    zero = [0] * len(clean)
    found = {}
    for way, base, goal in (("noising", clean, 0), ("denoising", corrupt, 1)):
        sets = tried(gate, base, zero, goal)
        found[way] = sets[min(sets)] if sets else []
    return found


@wrong("3.4", "sets of three heads and more are not tried")
def at_most_pairs(gate, clean, corrupt):
    found = {}
    for way, sets in both_ways(gate, clean, corrupt).items():
        found[way] = sets if len(sets[0]) < 3 else []
    return found


@wrong("3.4", "heads are counted from 1")
def counted_from_one(gate, clean, corrupt):
    found = both_ways(gate, clean, corrupt)
    return {way: [[i + 1 for i in one] for one in sets] for way, sets in found.items()}


@wrong("3.4", "expected")
def knows_only_and_and_or(gate, clean, corrupt):
    n = range(len(clean))
    single, every = [[i] for i in n], [list(n)]
    if sum(gate.values()) == 1:
        return {"noising": single, "denoising": every}
    return {"noising": every, "denoising": single}


# ---- 3.5 layers by positions ----


def mapped(model, prompts, labels, **other):
    """The map; other: what a wrong answer does differently."""
    orig, new = other.get("sides", (prompts.orig, prompts.new))
    kind, layers = other.get("kind", "resid_post"), other.get("layers", range(model.cfg.n_layers))
    before = logit_diff(run(model, orig, reads=[LOGITS])[LOGITS], prompts)
    found = torch.zeros(len(layers), len(labels), len(prompts), dtype=torch.float64)
    for i, layer in enumerate(layers):
        for k, label in enumerate(labels):
            node = f"{layer}.{kind}{other.get('at', f'@{label}')}"
            writes = dict(run(model, new, reads=[node]))
            logits = run(model, orig, reads=[LOGITS], writes=writes)[LOGITS]
            found[i, k] = logit_diff(logits, prompts) - before * other.get("minus", 1)
    return found


@right("3.5")
def cell_by_cell(model, prompts, labels):
    return mapped(model, prompts, labels)


@right("3.5")
def with_activation_patch_and_the_streams_before(model, prompts, labels):
    """After layer i is before layer i + 1; the last state is patched by itself."""
    before = logit_diff(run(model, prompts.orig, reads=["logits@END"])["logits@END"], prompts)
    rows, top = [], model.cfg.n_layers - 1
    for layer in range(top + 1):
        kind = f"{layer}.resid_post" if layer == top else f"{layer + 1}.resid_pre"
        patched = [activation_patch(model, prompts, nodes=[f"{kind}@{one}"]) for one in labels]
        rows.append(np.stack([(logit_diff(x, prompts) - before).numpy() for x in patched]))
    return np.stack(rows)


@wrong("3.5", "the state before each layer")
def one_layer_off(model, prompts, labels):
    return mapped(model, prompts, labels, kind="resid_pre")


@wrong("3.5", "x_orig and x_new have changed places")
def patched_the_other_run(model, prompts, labels):
    return mapped(model, prompts, labels, sides=(prompts.new, prompts.orig))


@wrong("3.5", "the clean prompt is run")
def always_noising(model, prompts, labels):
    sides = prompts.orig, prompts.new
    return mapped(
        model, prompts, labels, sides=sides[:: -1 if prompts.direction == "denoising" else 1]
    )


@wrong("3.5", "there are three layers")
def three_layers(model, prompts, labels):
    return mapped(model, prompts, labels, layers=range(min(3, model.cfg.n_layers)))


@wrong("3.5", "after the patch, and not their change")
def forgot_the_base(model, prompts, labels):
    return mapped(model, prompts, labels, minus=0)


@wrong("3.5", "the sign is turned round")
def unpatched_minus_patched(model, prompts, labels):
    return -mapped(model, prompts, labels)


@wrong("3.5", "the state is patched at all positions")
def at_every_word(model, prompts, labels):
    return mapped(model, prompts, labels, at="")


@wrong("3.5", "the mean over the prompts is taken")
def took_the_mean(model, prompts, labels):
    return mapped(model, prompts, labels).mean(-1)


@wrong("3.5", "the labels are sorted")
def sorted_the_labels(model, prompts, labels):
    return mapped(model, prompts, sorted(labels))


@wrong("3.5", "the batch comes first")
def batch_first(model, prompts, labels):
    return mapped(model, prompts, labels).permute(2, 0, 1)


@wrong("3.5", "the layers that were patched before stay patched")
def kept_the_writes(model, prompts, labels):
    before = logit_diff(run(model, prompts.orig, reads=[LOGITS])[LOGITS], prompts)
    found = torch.zeros(model.cfg.n_layers, len(labels), len(prompts), dtype=torch.float64)
    for k, label in enumerate(labels):
        writes = {}
        for layer in range(model.cfg.n_layers):
            writes |= run(model, prompts.new, reads=[f"{layer}.resid_post@{label}"])
            logits = run(model, prompts.orig, reads=[LOGITS], writes=writes)[LOGITS]
            found[layer, k] = logit_diff(logits, prompts) - before
    return found


@wrong("3.5", "changed its argument labels in place")
def sorted_in_place(model, prompts, labels):
    found = mapped(model, prompts, labels)
    labels.reverse()
    return found
