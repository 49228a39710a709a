"""Answers to the exercises of chapter 4."""

import torch

from mutants.answers import right, wrong
from pathpatch import LOGITS, Tokens, activation_patch, logit_diff, run

# ---- 4.1 noise on the subject ----


def inside(tokens, first=0, last=0):
    """Where the subject is, [batch, pos]; its ends may be moved."""
    pos = torch.arange(tokens.ids.shape[1])
    after = pos >= tokens.at("subject_first")[:, None] + first
    return after & (pos <= tokens.at("subject_last")[:, None] + last)


def runs(model, tokens, noise, where=None, put=torch.add):
    clean = run(model, tokens, reads=["embed"])["embed"]
    where = inside(tokens) if where is None else where
    noisy = [torch.where(where[..., None], put(clean, one), clean) for one in noise]
    return torch.stack(
        [run(model, tokens, reads=[LOGITS], writes={"embed": x})[LOGITS] for x in noisy]
    )


@right("4.1")
def word_by_word(model, tokens, noise):
    clean, rows = run(model, tokens, reads=["embed"])["embed"], []
    for draw in noise:
        noisy = clean.clone()
        ends = zip(tokens.at("subject_first"), tokens.at("subject_last"), strict=True)
        for row, (first, last) in enumerate(ends):
            noisy[row, first : last + 1] += draw[row, first : last + 1]
        rows.append(run(model, tokens, reads=["logits@END"], writes={"embed": noisy})["logits@END"])
    return torch.stack(rows)


@right("4.1")
def into_the_stream_and_all_draws_at_once(model, tokens, noise):
    """Below layer 0 there is nothing but the embeddings; and draws may be prompts of one batch."""
    draws = len(noise)
    places = {label: at.repeat(draws) for label, at in tokens.positions.items()}
    many = Tokens(tokens.ids.repeat(draws, 1), places)
    stream = run(model, many, reads=["0.resid_pre"])["0.resid_pre"]
    stream = stream + (noise * inside(tokens)[..., None]).flatten(0, 1)
    found = run(model, many, reads=[LOGITS], writes={"0.resid_pre": stream})[LOGITS]
    return found.unflatten(0, (draws, -1))


@wrong("4.1", "on all tokens, and not only on the subject")
def noise_everywhere(model, tokens, noise):
    return runs(model, tokens, noise, torch.ones_like(tokens.ids, dtype=torch.bool))


@wrong("4.1", "the last token of the subject is left out")
def stopped_before_the_last(model, tokens, noise):
    return runs(model, tokens, noise, inside(tokens, last=-1))


@wrong("4.1", "the token after the subject gets noise too")
def went_one_too_far(model, tokens, noise):
    return runs(model, tokens, noise, inside(tokens, last=1))


@wrong("4.1", "on the last token of the subject only")
def only_the_last_word(model, tokens, noise):
    only = torch.arange(tokens.ids.shape[1]) == tokens.at("subject_last")[:, None]
    return runs(model, tokens, noise, only)


@wrong("4.1", "where any of the prompts has its subject")
def one_mask_for_all(model, tokens, noise):
    return runs(model, tokens, noise, inside(tokens).any(0).expand_as(tokens.ids))


@wrong("4.1", "where the first one has its subject")
def slices_of_the_first(model, tokens, noise):
    return runs(model, tokens, noise, inside(tokens)[:1].expand_as(tokens.ids))


@wrong("4.1", "the noise takes the place of the embeddings")
def replaced_the_embeddings(model, tokens, noise):
    return runs(model, tokens, noise, put=lambda clean, one: one)


@wrong("4.1", "a draw stands on top of those before it")
def added_up_the_draws(model, tokens, noise):
    noisy, found = run(model, tokens, reads=["embed"])["embed"], []
    for draw in noise:
        noisy += draw * inside(tokens)[..., None]
        found.append(run(model, tokens, reads=[LOGITS], writes={"embed": noisy})[LOGITS])
    return torch.stack(found)


@wrong("4.1", "the mean over the draws is returned")
def averaged_the_draws(model, tokens, noise):
    return runs(model, tokens, noise).mean(0)


@wrong("4.1", "draws and prompts have changed places")
def stacked_the_other_way(model, tokens, noise):
    return torch.stack([*runs(model, tokens, noise)], 1)


@wrong("4.1", "every draw has the noise of the first one")
def one_draw_for_all(model, tokens, noise):
    return runs(model, tokens, noise[:1].expand_as(noise))


@wrong("4.1", "three times as large")
def scaled_it_again(model, tokens, noise):
    return runs(model, tokens, 3 * noise)


@wrong("4.1", "the last position is taken")
def read_the_padding(model, tokens, noise):
    clean, found = run(model, tokens, reads=["embed"])["embed"], []
    for draw in noise:
        noisy = clean + draw * inside(tokens)[..., None]
        found.append(run(model, tokens, reads=["logits"], writes={"embed": noisy})["logits"][:, -1])
    return torch.stack(found)


@wrong("4.1", "changed its argument noise in place")
def wrote_into_the_noise(model, tokens, noise):
    noise[:, ~inside(tokens)] = 0
    return runs(model, tokens, noise)


# ---- 4.2 a window ----


def window(model, tokens, noisy, kind, at, layers, **other):
    """A run with some layers restored. other: what a wrong answer does differently."""
    nodes = [f"{i}.{kind}@{at}" for i in layers]
    clean = run(model, tokens, reads=nodes, writes=other.get("source"))
    writes = other.get("base", {"embed": noisy}) | dict(clean)
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]


def reach(size, version):
    """How many layers below the middle, and how many above."""
    return (size // 2, (size - 1) // 2) if version == "code" else ((size - 1) // 2, size // 2)


def about(model, middle, below, above):
    return [i for i in range(model.cfg.n_layers) if middle - below <= i <= middle + above]


@right("4.2")
def layer_by_layer(model, tokens, noisy, kind, at, middle, size, version):
    low = middle - size // 2 + (size % 2 == 0 and version == "paper")
    layers = {layer for layer in range(low, low + size) if layer in range(model.cfg.n_layers)}
    return window(model, tokens, noisy, kind, at, sorted(layers, reverse=True))


@wrong("4.2", "it is the code's window, whatever the version")
def as_the_code(model, tokens, noisy, kind, at, middle, size, version):
    layers = range(max(0, middle - size // 2), min(model.cfg.n_layers, middle - (-size // 2)))
    return window(model, tokens, noisy, kind, at, layers)


@wrong("4.2", "have changed places")
def the_versions_exchanged(model, tokens, noisy, kind, at, middle, size, version):
    above, below = reach(size, version)
    return window(model, tokens, noisy, kind, at, about(model, middle, below, above))


@wrong("4.2", "is one layer too large")
def the_same_on_both_sides(model, tokens, noisy, kind, at, middle, size, version):
    layers = about(model, middle, size // 2, size // 2)
    return window(model, tokens, noisy, kind, at, layers)


@wrong("4.2", "the last layer of the window is left out")
def forgot_the_end_of_a_range(model, tokens, noisy, kind, at, middle, size, version):
    below, above = reach(size, version)
    return window(model, tokens, noisy, kind, at, about(model, middle, below, above - 1))


@wrong("4.2", "so that it keeps its size")
def moved_it_inside(model, tokens, noisy, kind, at, middle, size, version):
    below, _ = reach(size, version)
    low = max(0, min(middle - below, model.cfg.n_layers - size))
    layers = range(low, min(low + size, model.cfg.n_layers))
    return window(model, tokens, noisy, kind, at, layers)


@wrong("4.2", "a slice that begins below 0")
def sliced_from_below_zero(model, tokens, noisy, kind, at, middle, size, version):
    below, above = reach(size, version)
    layers = range(model.cfg.n_layers)[middle - below : middle + above + 1]
    return window(model, tokens, noisy, kind, at, layers)


@wrong("4.2", "the middle layer alone")
def one_layer(model, tokens, noisy, kind, at, middle, size, version):
    return window(model, tokens, noisy, kind, at, [middle])


@wrong("4.2", "comes from the corrupted run")
def restored_nothing_new(model, tokens, noisy, kind, at, middle, size, version):
    layers = about(model, middle, *reach(size, version))
    return window(model, tokens, noisy, kind, at, layers, source={"embed": noisy})


@wrong("4.2", "in the clean run, and not in the corrupted one")
def forgot_the_noise(model, tokens, noisy, kind, at, middle, size, version):
    layers = about(model, middle, *reach(size, version))
    return window(model, tokens, noisy, kind, at, layers, base={})


@wrong("4.2", "every position is restored")
def restored_everywhere(model, tokens, noisy, kind, at, middle, size, version):
    layers = about(model, middle, *reach(size, version))
    nodes = [f"{i}.{kind}" for i in layers]
    writes = {"embed": noisy} | dict(run(model, tokens, reads=nodes))
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]


@wrong("4.2", "the MLPs are restored, whatever is asked for")
def only_ever_mlps(model, tokens, noisy, kind, at, middle, size, version):
    layers = about(model, middle, *reach(size, version))
    return window(model, tokens, noisy, "mlp_out", at, layers)


# ---- 4.3 severed ----


def cut(model, tokens, noisy, layer, at, kind, **other):
    base = {"embed": noisy}
    state, where = f"{layer}.resid_post@{at}", other.get("where", f"@{at}")
    modules = [f"{i}.{kind}{where}" for i in other.get("layers", range(model.cfg.n_layers))]
    held = dict(run(model, tokens, reads=modules, writes=other.get("source", base)))
    restored = dict(run(model, tokens, reads=[state], writes=other.get("state_of")))
    writes = other.get("base", base) | held | restored
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]


@right("4.3")
def only_the_layers_above(model, tokens, noisy, layer, at, kind):
    layers = range(layer + 1, model.cfg.n_layers)
    return cut(model, tokens, noisy, layer, at, kind, layers=layers)


@wrong("4.3", "at their values in the clean run")
def held_at_the_clean_values(model, tokens, noisy, layer, at, kind):
    return cut(model, tokens, noisy, layer, at, kind, source={})


@wrong("4.3", "the modules are severed at all positions")
def cut_everywhere(model, tokens, noisy, layer, at, kind):
    return cut(model, tokens, noisy, layer, at, kind, where="")


@wrong("4.3", "only the layer above the state is severed")
def cut_the_next_layer(model, tokens, noisy, layer, at, kind):
    return cut(model, tokens, noisy, layer, at, kind, layers=[layer + 1])


@wrong("4.3", "only layers up to the state")
def cut_below(model, tokens, noisy, layer, at, kind):
    return cut(model, tokens, noisy, layer, at, kind, layers=range(layer + 1))


@wrong("4.3", "the MLPs are severed, whatever is asked for")
def only_cut_mlps(model, tokens, noisy, layer, at, kind):
    return cut(model, tokens, noisy, layer, at, "mlp_out")


@wrong("4.3", "comes from the corrupted run")
def restored_the_corrupted_state(model, tokens, noisy, layer, at, kind):
    return cut(model, tokens, noisy, layer, at, kind, state_of={"embed": noisy})


@wrong("4.3", "nothing is severed")
def cut_in_another_run(model, tokens, noisy, layer, at, kind):
    return cut(model, tokens, noisy, layer, at, kind, layers=[0])


@wrong("4.3", "and not in the corrupted one")
def cut_in_the_clean_run(model, tokens, noisy, layer, at, kind):
    return cut(model, tokens, noisy, layer, at, kind, base={})


@wrong("4.3", "the state before the layer is restored")
def one_layer_early(model, tokens, noisy, layer, at, kind):
    base, state = {"embed": noisy}, f"{layer}.resid_pre@{at}"
    modules = [f"{i}.{kind}@{at}" for i in range(model.cfg.n_layers)]
    writes = base | dict(run(model, tokens, reads=modules, writes=base))
    writes |= dict(run(model, tokens, reads=[state]))
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]


# ---- 4.4 total = direct + indirect ----


def four_runs(model, prompts, node, sides=None):
    """The logit difference of each prompt with the mediator of each: [prompt][mediator]."""
    sides = sides or (prompts.orig, prompts.new)
    of = [run(model, tokens, reads=[node]) for tokens in sides]
    runs = [[run(model, x, reads=[LOGITS], writes=m)[LOGITS] for m in of] for x in sides]
    return [[logit_diff(logits, prompts) for logits in row] for row in runs]


def as_asked(model, prompts, node, **other):
    (oo, on), (no, nn) = four_runs(model, prompts, node)
    found = {"total": nn - oo, "direct": no - oo, "indirect": on - oo, "restored": nn - no}
    return found | {name: change(oo, on, no, nn) for name, change in other.items()}


@right("4.4")
def restored_by_subtraction(model, prompts, node):
    before, after = (
        logit_diff(run(model, x, reads=["logits@END"])["logits@END"], prompts)
        for x in (prompts.orig, prompts.new)
    )
    through = logit_diff(activation_patch(model, prompts, nodes=[node]), prompts)
    around = logit_diff(activation_patch(model, prompts.swapped(), nodes=[node]), prompts)
    total, direct = (after - before).numpy(), (around - before).numpy()
    indirect = (through - before).numpy()
    return {"restored": total - direct, "total": total, "direct": direct, "indirect": indirect}


@wrong("4.4", "that is so without interplay")
def direct_by_subtraction(model, prompts, node):
    return as_asked(model, prompts, node, direct=lambda oo, on, no, nn: nn - on)


@wrong("4.4", "the restored effect has the sign of what comes back")
def as_it_comes_back(model, prompts, node):
    return as_asked(model, prompts, node, restored=lambda oo, on, no, nn: no - nn)


@wrong("4.4", "the indirect effect is taken for the restored one")
def one_indirect_effect(model, prompts, node):
    return as_asked(model, prompts, node, restored=lambda oo, on, no, nn: on - oo)


@wrong("4.4", "the restored effect is taken for the indirect one")
def whatever_is_left(model, prompts, node):
    return as_asked(model, prompts, node, indirect=lambda oo, on, no, nn: nn - no)


@wrong("4.4", "direct and indirect have changed places")
def around_for_through(model, prompts, node):
    change = {"direct": lambda oo, on, no, nn: on - oo, "indirect": lambda oo, on, no, nn: no - oo}
    return as_asked(model, prompts, node, **change)


@wrong("4.4", "x_orig and x_new have changed places")
def from_new_to_orig(model, prompts, node):
    (oo, on), (no, nn) = four_runs(model, prompts, node, (prompts.new, prompts.orig))
    return {"total": nn - oo, "direct": no - oo, "indirect": on - oo, "restored": nn - no}


@wrong("4.4", "the indirect effect is compared with x_new")
def compared_with_the_wrong_run(model, prompts, node):
    return as_asked(model, prompts, node, indirect=lambda oo, on, no, nn: on - nn)


@wrong("4.4", "the mean over the prompts is taken")
def took_means(model, prompts, node):
    return {name: value.mean() for name, value in as_asked(model, prompts, node).items()}


@wrong("4.4", "expected is a dict with the keys")
def left_one_out(model, prompts, node):
    found = as_asked(model, prompts, node)
    return {name: found[name] for name in ("total", "direct", "indirect")}


@wrong("4.4", "these are logit differences, and not their changes")
def forgot_to_compare(model, prompts, node):
    (_, on), (no, nn) = four_runs(model, prompts, node)
    return {"total": nn, "direct": no, "indirect": on, "restored": no}
