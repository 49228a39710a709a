"""Answers to the exercises of chapter 5, but for 5.4, which has a file of its own."""

from dataclasses import replace

import torch

from mutants.answers import right, wrong
from pathpatch import (
    LOGITS,
    Node,
    activation_patch,
    heads,
    ioi_machine,
    logit_diff,
    mlps,
    path_patch,
    path_sweep,
    run,
)
from pathpatch.paths import passes_c_and_d

# ---- 5.1 predict the sign ----

PATHS = (
    "negative: 2.2 to the logits",
    "negative: 1.0 to the queries of 2.0 and 2.1",
    "negative: 1.0 to the query of 2.2",
    "negative: 1.0 to the logits",
    "backup: 2.0 and 2.1 to the query of 3.0",
    "keys: 0.0 to the value of 1.0",
)


@right("5.1")
def by_running_the_machine():
    found = {}
    for name in PATHS:
        variant, path = name.split(": ")
        made = ioi_machine(variant)
        at = "S2" if variant == "keys" else "END"
        head, _, there = path.partition(" to the ")
        senders = ["2.0@END+2.1@END"] if variant == "backup" else [f"{head}@{at}"]
        doors = {"queries of 2.0 and 2.1": ["2.0.q", "2.1.q"], "logits": ["logits"]}
        numbers = there.split(" of ")
        receivers = doors.get(there) or [f"{numbers[1]}.{numbers[0][0]}"]
        receivers = [f"{receiver}@{at}" for receiver in receivers]
        change = path_sweep(
            made.model, made.prompts["abc"][:4], senders=senders, receivers=receivers
        )
        mean = change.mean()[0]
        found[name] = "+" if mean > 1e-6 else "-" if mean < -1e-6 else "0"
    return found


@wrong("5.1", "2 of 6 are as the runs say")
def every_patch_hurts():
    return dict(zip(PATHS, "----00", strict=True))


@wrong("5.1", "What does it do then")
def the_backup_is_part_of_the_damage():
    return dict(zip(PATHS, "+-+0-0", strict=True))


@wrong("5.1", "which subspace does 1.0 write")
def took_the_total_effect_for_the_direct_one():
    return dict(zip(PATHS, "+-+-+0", strict=True))


@wrong("5.1", "Which of its inputs is the mark for?")
def thought_that_values_carry_the_mark():
    return dict(zip(PATHS, "+-+0+-", strict=True))


@wrong("5.1", "what does it write against then?")
def a_negative_head_always_lowers():
    return dict(zip(PATHS, "+--0+0", strict=True))


@wrong("5.1", "Does the answer gain or lose?")
def mixed_up_the_direction():
    return dict(zip(PATHS, "+++0+0", strict=True))


@wrong("5.1", "1 of 6 are still '?'")
def left_one_open():
    return dict(zip(PATHS, "+-+0+?", strict=True))


@wrong("5.1", "the sign alone, as text")
def wrote_numbers():
    return dict(zip(PATHS, [1, -1, 1, 0, 1, 0], strict=True))


@wrong("5.1", "2.2 writes *against* the name")
def took_the_negative_head_for_a_mover():
    return dict(zip(PATHS, "--+0+0", strict=True))


@wrong("5.1", "the minus that is on the keyboard")
def wrote_a_typographic_minus():
    return dict(zip(PATHS, "+\u2212+0+0", strict=True))


@wrong("5.1", "a dict with the keys")
def returned_the_signs_alone():
    return ["+", "-", "+", "0", "+", "0"]


# ---- 5.2 write pass C ----


@right("5.2")
def pass_c_in_a_loop(model, tokens, b, a, senders, receivers, frozen):
    writes = {}
    for node in frozen:
        writes[node] = b[node]
    for node in senders:
        writes.pop(node, None)
        writes[node] = a[node].float().double()  # as if it had been kept in torch.zeros
    result = run(model, tokens, reads=receivers, writes=writes)
    return {str(node): result[node] for node in receivers}


@right("5.2")
@torch.no_grad()
def pass_c_with_patched_copies(model, tokens, b, a, senders, receivers, frozen):
    """A frozen sender is written once, whole, with the patch already in it."""
    writes = {node: b[node].clone() for node in frozen}
    rest = {}
    for sender in senders:
        if sender.everywhere() in writes:
            rows = torch.arange(len(tokens))
            writes[sender.everywhere()][rows, tokens.at(sender.at)] = a[sender]
        else:
            rest[sender] = a[sender]
    return dict(run(model, tokens, reads=receivers, writes={**writes, **rest}))


@wrong("5.2", "nothing is frozen")
def forgot_to_freeze(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "the MLPs are frozen too")
def froze_the_mlps_too(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in heads(model) + mlps(model)}
    writes |= {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "all heads are frozen, whatever `frozen` says")
def froze_all_heads_and_nothing_else(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in heads(model)}
    writes |= {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "the freeze comes after the patch")
def patched_and_then_froze(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: a[node] for node in senders}
    for node in frozen:
        writes[node] = b[node]
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "the freeze is taken from A and the patch from B")
def exchanged_the_two_runs(model, tokens, a, b, senders, receivers, frozen):
    writes = {node: b[node] for node in frozen} | {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "pass C is run on x_new")
def ran_c_on_x_new(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in frozen} | {node: a[node] for node in senders}
    return run(model, a.tokens, reads=receivers, writes=writes)


@wrong("5.2", "x_orig and x_new have changed places")
def swapped_x_orig_and_x_new(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: a[node] for node in frozen} | {node: b[node] for node in senders}
    return run(model, a.tokens, reads=receivers, writes=writes)


@wrong("5.2", "the sender is patched at all positions, and not only at its own")
def patched_all_positions(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in frozen}
    writes |= {node.everywhere(): a[node.everywhere()] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "only the first of the senders")
def patched_one_sender(model, tokens, b, a, senders, receivers, frozen):
    sender = senders[0]
    writes = {node: b[node] for node in frozen} | {sender: a[sender]}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "only the last of the senders is patched")
def patched_the_last_sender(model, tokens, b, a, senders, receivers, frozen):
    for sender in senders:
        writes = {node: b[node] for node in frozen} | {sender: a[sender]}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "frozen only at the positions of the senders")
def froze_where_the_senders_are(model, tokens, b, a, senders, receivers, frozen):
    places = {node.at for node in senders}
    here = [replace(n, at=at) if n.at is None else n for n in frozen for at in places]
    writes = {node: b[node] for node in here} | {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "all that a has read is patched in")
def wrote_all_that_was_read(model, tokens, b, a, senders, receivers, frozen):
    return run(model, tokens, reads=receivers, writes={**b, **a})


@wrong("5.2", "all heads of the sender's layer")
def patched_the_whole_layer(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in frozen}
    writes |= {node: a[node] for node in senders}
    for sender in senders:
        for head in range(model.cfg.n_heads):
            node = Node("z", sender.layer, head, at=sender.at)
            writes[node] = a[node]
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "the last layer before R is not frozen")
def stopped_a_layer_too_early(model, tokens, b, a, senders, receivers, frozen):
    last = max(node.layer for node in receivers)
    writes = {node: b[node] for node in frozen if node.layer in range(last - 1)}
    writes |= {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "averaged over the prompts")
def took_the_mean_of_the_sender(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in frozen}
    writes |= {node: a[node].mean(0, keepdim=True).expand_as(a[node]) for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "R is as in pass B")
def read_the_receivers_in_a_second_run(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in frozen} | {node: a[node] for node in senders}
    run(model, tokens, writes=writes)
    return run(model, tokens, reads=receivers)


@wrong("5.2", "expected is a dict with the keys")
def returned_a_list(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in frozen} | {node: a[node] for node in senders}
    found = run(model, tokens, reads=receivers, writes=writes)
    return [found[node] for node in receivers]


@wrong("5.2", "expected is a dict with the keys")
def returned_the_logits(model, tokens, b, a, senders, receivers, frozen):
    return passes_c_and_d(model, a, b, senders=senders, receivers=receivers, frozen=frozen)


@wrong("5.2", "Is there a `return`?")
def returned_nothing(model, tokens, b, a, senders, receivers, frozen):
    writes = {node: b[node] for node in frozen} | {node: a[node] for node in senders}
    print(run(model, tokens, reads=receivers, writes=writes))


@wrong("5.2", "changed its argument b in place")
def patched_the_run_in_place(model, tokens, b, a, senders, receivers, frozen):
    rows = torch.arange(len(tokens))
    for node in senders:
        if node.everywhere() in b:
            b[node.everywhere()][rows, tokens.at(node.at)] = a[node]
    writes = {node: b[node] for node in frozen}
    writes |= {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


@wrong("5.2", "your line")
def gave_run_a_position_too_many(model, tokens, b, a, senders, receivers, frozen):
    return run(model, tokens, receivers, {node: b[node] for node in frozen})


@wrong("5.2", "It takes (model, tokens, b, a, senders, receivers)")
def forgot_an_argument(model, tokens, b, a, senders, receivers):
    return run(model, tokens, reads=receivers)


@wrong("5.2", "changed its argument frozen in place")
def took_the_senders_out_of_the_list(model, tokens, b, a, senders, receivers, frozen):
    for node in senders:
        if node in frozen:
            frozen.remove(node)
    writes = {node: b[node] for node in frozen} | {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)


# ---- 5.3 write pass D ----


@right("5.3")
def pass_d_by_hand(model, tokens, stored):
    writes = {node: value for node, value in stored.items() if node != LOGITS}
    every = run(model, tokens, reads=["logits"], writes=writes)["logits"]
    at_end = every[torch.arange(len(tokens)), tokens.at("END")]
    return stored.get(LOGITS, at_end)


@wrong("5.3", "these are the logits of pass B")
def did_not_write(model, tokens, stored):
    return run(model, tokens, reads=[LOGITS, *stored])[LOGITS]


@wrong("5.3", "a run reads them before it writes")
def forgot_the_logits(model, tokens, stored):
    return run(model, tokens, reads=[LOGITS], writes=stored)[LOGITS]


@wrong("5.3", "all heads are frozen in pass D too")
def froze_in_d(model, tokens, stored):
    if LOGITS in stored:
        return stored[LOGITS]
    b = run(model, tokens, reads=heads(model))
    return run(model, tokens, reads=[LOGITS], writes={**b, **stored})[LOGITS]


@wrong("5.3", "the logits of all positions")
def returned_all_positions(model, tokens, stored):
    return run(model, tokens, reads=["logits"], writes=stored)["logits"]


@wrong("5.3", "only the first of the receivers")
def wrote_one_receiver(model, tokens, stored):
    node = next(iter(stored))
    return run(model, tokens, reads=[LOGITS], writes={node: stored[node]})[LOGITS]


@wrong("5.3", "averaged over the prompts")
def averaged_what_is_stored(model, tokens, stored):
    writes = {node: value.mean(0).expand(value.shape) for node, value in stored.items()}
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]


@wrong("5.3", "at all positions, and not only at its own")
def wrote_at_all_positions(model, tokens, stored):
    length = tokens.ids.shape[1]
    writes = {n.everywhere(): v[:, None].repeat(1, length, 1) for n, v in stored.items()}
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]


@wrong("5.3", "expected is a tensor of shape")
def returned_the_run(model, tokens, stored):
    return run(model, tokens, reads=[LOGITS], writes=stored)


@wrong("5.3", "the likeliest token is returned")
def returned_the_best_token(model, tokens, stored):
    return run(model, tokens, reads=[LOGITS], writes=stored)[LOGITS].argmax(-1)


@wrong("5.3", "changed its argument stored in place")
def scaled_in_place(model, tokens, stored):
    for value in stored.values():
        value *= 0.5
    return run(model, tokens, reads=[LOGITS], writes=stored)[LOGITS]


# ---- 5.5 repair a path patcher ----


@right("5.5")
def repaired_in_another_order(model, prompts, senders, receivers):
    b = run(model, prompts.orig, reads=heads(model))
    a = run(model, prompts.new, reads=senders)
    c = run(model, prompts.orig, reads=receivers, writes=b | a)
    return run(model, prompts.orig, reads=[LOGITS], writes=dict(c))[LOGITS]


@right("5.5")
def repaired_with_the_library(model, prompts, senders, receivers):
    return path_patch(model, prompts, senders=senders, receivers=receivers)


def given(model, prompts, senders):
    """The first four lines of the function that is to be repaired."""
    b = run(model, prompts.orig, reads=heads(model))
    a = run(model, prompts.new, reads=senders)
    patch = {node: a[node] for node in senders}
    freeze = {node: b[node] for node in heads(model)}
    return b, a, patch, freeze


@wrong("5.5", "the function is still as it was given")
def as_given(model, prompts, senders, receivers):
    _, _, patch, freeze = given(model, prompts, senders)
    c = run(model, prompts.orig, reads=receivers, writes=patch | freeze)
    return run(model, prompts.orig, reads=[LOGITS], writes=c | patch)[LOGITS]


@wrong("5.5", "h is patched again in pass D")
def repaired_c_only(model, prompts, senders, receivers):
    _, _, patch, freeze = given(model, prompts, senders)
    c = run(model, prompts.orig, reads=receivers, writes=freeze | patch)
    return run(model, prompts.orig, reads=[LOGITS], writes=c | patch)[LOGITS]


@wrong("5.5", "the freeze comes after the patch")
def repaired_d_only(model, prompts, senders, receivers):
    _, _, patch, freeze = given(model, prompts, senders)
    c = run(model, prompts.orig, reads=receivers, writes=patch | freeze)
    return run(model, prompts.orig, reads=[LOGITS], writes=c)[LOGITS]


@wrong("5.5", "nothing is frozen")
def dropped_the_freeze(model, prompts, senders, receivers):
    _, _, patch, _ = given(model, prompts, senders)
    c = run(model, prompts.orig, reads=receivers, writes=patch)
    return run(model, prompts.orig, reads=[LOGITS], writes=c)[LOGITS]


@wrong("5.5", "all heads are frozen in pass D too")
def moved_the_freeze_to_d(model, prompts, senders, receivers):
    _, _, patch, freeze = given(model, prompts, senders)
    c = run(model, prompts.orig, reads=receivers, writes=freeze | patch)
    return run(model, prompts.orig, reads=[LOGITS], writes=freeze | c)[LOGITS]


@wrong("5.5", "frozen only at the positions of the senders")
def froze_where_the_senders_are_in_c(model, prompts, senders, receivers):
    b, _, patch, _ = given(model, prompts, senders)
    places = {node.at for node in senders}
    freeze = {replace(n, at=at): b[replace(n, at=at)] for n in heads(model) for at in places}
    c = run(model, prompts.orig, reads=receivers, writes=freeze | patch)
    return run(model, prompts.orig, reads=[LOGITS], writes=c)[LOGITS]


@wrong("5.5", "the logits of pass C are returned")
def read_the_logits_in_c(model, prompts, senders, receivers):
    _, _, patch, freeze = given(model, prompts, senders)
    c = run(model, prompts.orig, reads=[*receivers, LOGITS], writes=freeze | patch)
    return c[LOGITS]


@wrong("5.5", "x_orig and x_new have changed places")
def swapped_the_prompts(model, prompts, senders, receivers):
    return repaired_in_another_order(model, prompts.swapped(), senders, receivers)


@wrong("5.5", "pass D is run on x_new")
def ran_d_on_x_new(model, prompts, senders, receivers):
    _, _, patch, freeze = given(model, prompts, senders)
    c = run(model, prompts.orig, reads=receivers, writes=freeze | patch)
    return run(model, prompts.new, reads=[LOGITS], writes=c)[LOGITS]


@wrong("5.5", "R is read in pass A, where everything is new")
def read_the_receivers_on_x_new(model, prompts, senders, receivers):
    c = run(model, prompts.new, reads=receivers)
    return run(model, prompts.orig, reads=[LOGITS], writes=c)[LOGITS]


@wrong("5.5", "that is activation patching")
def patched_the_sender_alone(model, prompts, senders, receivers):
    return activation_patch(model, prompts, nodes=senders)


@wrong("5.5", "the MLPs are frozen too")
def froze_more(model, prompts, senders, receivers):
    kept = heads(model) + mlps(model)
    return path_patch(model, prompts, senders=senders, receivers=receivers, frozen=kept)


@wrong("5.5", "the residual stream before R is stored")
def stored_the_whole_stream(model, prompts, senders, receivers):
    _, _, patch, freeze = given(model, prompts, senders)
    wide = [
        Node("resid_pre", r.layer, at=r.at) if r.kind in ("q", "k", "v") else r for r in receivers
    ]
    c = run(model, prompts.orig, reads=wide, writes=freeze | patch)
    return run(model, prompts.orig, reads=[LOGITS], writes=c)[LOGITS]


@wrong("5.5", "this run did not read")
def read_the_wrong_run(model, prompts, senders, receivers):
    _, a, _, freeze = given(model, prompts, senders)
    patch = {node: a[node] for node in receivers}
    return run(model, prompts.orig, reads=[LOGITS], writes=freeze | patch)[LOGITS]


@wrong("5.5", "the senders are held at their old values in pass D")
def held_the_senders_in_d(model, prompts, senders, receivers):
    _, a, _, freeze = given(model, prompts, senders)
    patch = {node: a[node] for node in senders}
    c = run(model, prompts.orig, reads=receivers, writes=freeze | patch)
    old = run(model, prompts.orig, reads=senders)
    return run(model, prompts.orig, reads=[LOGITS], writes=dict(old) | dict(c))[LOGITS]


# ---- 5.6 noising and denoising ----


@right("5.6")
def with_swapped_prompts(model, prompts, nodes):
    def change(some):
        before = run(model, some.orig, reads=[LOGITS])[LOGITS]
        patched = activation_patch(model, some, nodes=nodes)
        return logit_diff(patched, prompts) - logit_diff(before, prompts)

    return {"denoising": change(prompts.swapped()), "noising": change(prompts)}


@right("5.6")
def by_runs_with_names_as_keys(model, prompts, nodes):
    found = {}
    for way, x_orig, x_new in (
        ("noising", prompts.orig, prompts.new),
        ("denoising", prompts.new, prompts.orig),
    ):
        there = run(model, x_new, reads=nodes)
        before = run(model, x_orig, reads=["logits@END"])["logits@END"]
        writes = {name: there[name] for name in nodes}
        after = run(model, x_orig, reads=["logits@END"], writes=writes)["logits@END"]
        found[way] = logit_diff(after, prompts) - logit_diff(before, prompts)
    return found


def differences(model, prompts, nodes):
    """The logit difference of: clean, corrupt, noised, denoised."""
    b = run(model, prompts.orig, reads=[LOGITS])
    a = run(model, prompts.new, reads=[LOGITS])
    noised = activation_patch(model, prompts, nodes=nodes)
    denoised = activation_patch(model, prompts.swapped(), nodes=nodes)
    return [logit_diff(x, prompts) for x in (b[LOGITS], a[LOGITS], noised, denoised)]


@wrong("5.6", "both numbers are of noising")
def wrote_one_direction_twice(model, prompts, nodes):
    clean, _, noised, _ = differences(model, prompts, nodes)
    return {"noising": noised - clean, "denoising": noised - clean}


@wrong("5.6", "the two directions have changed places")
def exchanged_the_names(model, prompts, nodes):
    clean, corrupt, noised, denoised = differences(model, prompts, nodes)
    return {"noising": denoised - corrupt, "denoising": noised - clean}


@wrong("5.6", "both are compared with the run on the clean prompt")
def compared_with_clean(model, prompts, nodes):
    clean, _, noised, denoised = differences(model, prompts, nodes)
    return {"noising": noised - clean, "denoising": denoised - clean}


@wrong("5.6", "noising with the sign turned round")
def denoised_by_arithmetic(model, prompts, nodes):
    clean, _, noised, _ = differences(model, prompts, nodes)
    return {"noising": noised - clean, "denoising": clean - noised}


@wrong("5.6", "a change is patched minus before")
def subtracted_the_wrong_way(model, prompts, nodes):
    clean, corrupt, noised, denoised = differences(model, prompts, nodes)
    return {"noising": clean - noised, "denoising": corrupt - denoised}


@wrong("5.6", "the metric itself is returned")
def forgot_the_baseline(model, prompts, nodes):
    _, _, noised, denoised = differences(model, prompts, nodes)
    return {"noising": noised, "denoising": denoised}


@wrong("5.6", "nothing changes")
def patched_a_run_from_itself(model, prompts, nodes):
    found = {}
    for way, tokens in (("noising", prompts.orig), ("denoising", prompts.new)):
        own = run(model, tokens, reads=[*nodes, LOGITS])
        patch = {Node.parse(node): own[node] for node in nodes}
        patched = run(model, tokens, reads=[LOGITS], writes=patch)[LOGITS]
        found[way] = logit_diff(patched, prompts) - logit_diff(own[LOGITS], prompts)
    return found


@wrong("5.6", "one result for each prompt is wanted")
def averaged(model, prompts, nodes):
    clean, corrupt, noised, denoised = differences(model, prompts, nodes)
    return {"noising": (noised - clean).mean(), "denoising": (denoised - corrupt).mean()}


@wrong("5.6", "answer and foil stay as they are")
def turned_the_metric_round_as_well(model, prompts, nodes):
    clean, corrupt, noised, denoised = differences(model, prompts, nodes)
    return {"noising": noised - clean, "denoising": -denoised - -corrupt}


@wrong("5.6", "logits are asked for")
def divided_by_the_gap(model, prompts, nodes):
    clean, corrupt, noised, denoised = differences(model, prompts, nodes)
    gap = clean - corrupt
    return {"noising": (noised - clean) / gap, "denoising": (denoised - corrupt) / gap}


@wrong("5.6", "denoising: this is what comes out when the change is divided by the gap")
def divided_one_by_the_gap(model, prompts, nodes):
    clean, corrupt, noised, denoised = differences(model, prompts, nodes)
    return {"noising": noised, "denoising": (denoised - corrupt) / (clean - corrupt)}


@wrong("5.6", "expected is a dict with the keys denoising, noising")
def returned_a_pair(model, prompts, nodes):
    clean, corrupt, noised, denoised = differences(model, prompts, nodes)
    return noised - clean, denoised - corrupt


@wrong("5.6", "changed its argument prompts in place")
def swapped_the_tokens_in_place(model, prompts, nodes):
    clean, _, noised, _ = differences(model, prompts, nodes)
    kept = prompts.orig.ids.clone()
    prompts.orig.ids[:] = prompts.new.ids
    prompts.new.ids[:] = kept
    corrupt, _, denoised, _ = differences(model, prompts, nodes)
    return {"noising": noised - clean, "denoising": denoised - corrupt}
