"""Answers to the exercises of chapter 1."""

import torch
from pencil import by_pencil

from mutants.answers import right, wrong
from pathpatch import Node, heads, mlps, path_patch, run, toy

SUM = toy("sum")

# ---- 1.1 one term of a sum ----


@right("1.1")
def with_names_for_the_terms():
    p, q, h = 4, -1, 2
    new = {"p": 10, "q": 3, "h": 5}
    return {
        "overwrite R": float(sum(new.values())),
        "pass B": float(p + q + h),
        "pass C": float(p + q + new["h"]),
    }


@wrong("1.1", "all three terms come from x_new")
def everything_new_in_pass_c():
    return {"pass B": 5, "pass C": 18, "overwrite R": 18}


@wrong("1.1", "keeps the old one too")
def added_the_new_h_to_the_old():
    return {"pass B": 4 - 1 + 2, "pass C": 4 - 1 + 2 + 5, "overwrite R": 18}


@wrong("1.1", "R is overwritten with what pass C found")
def overwrote_with_pass_c():
    return {"pass B": 5, "pass C": 8, "overwrite R": 8}


@wrong("1.1", "h keeps its old value")
def exchanged_the_wrong_terms():
    return {"pass B": 5, "pass C": 10 + 3 + 2, "overwrite R": 18}


@wrong("1.1", "x_orig and x_new have changed places")
def mixed_up_the_two_inputs():
    return {"pass B": 18, "pass C": 15, "overwrite R": 5}


@wrong("1.1", "the minus of q = -1 is lost")
def lost_the_sign_of_q():
    return {"pass B": 4 + 1 + 2, "pass C": 4 + 1 + 5, "overwrite R": 18}


@wrong("1.1", "Is there a `return`?")
def printed_the_numbers():
    print({"pass B": 5, "pass C": 8, "overwrite R": 18})


@wrong("1.1", "expected is a dict with the keys")
def returned_a_list():
    return [5, 8, 18]


@wrong("1.1", "pass B: that is a str; expected is a number")
def wrote_the_sums_as_text():
    return {"pass B": "4 - 1 + 2", "pass C": "4 - 1 + 5", "overwrite R": "10 + 3 + 5"}


@wrong("1.1", "in pass C p comes from x_new as well")
def took_p_for_the_sender():
    return {"pass B": 5, "pass C": 10 - 1 + 5, "overwrite R": 18}


@wrong("1.1", "p is taken for the sender, and it is h")
def sent_p_in_place_of_h():
    return {"pass B": 5, "pass C": 10 - 1 + 2, "overwrite R": 18}


# ---- 1.2 the same by code ----


@right("1.2")
def node_by_node(model, prompts, sender, receiver):
    x_orig, x_new = prompts.orig, prompts.new
    pass_a = run(model, x_new, reads=[sender])
    pass_b = run(model, x_orig, reads=[*heads(model), receiver])
    writes = {}
    for head in heads(model):
        writes[head] = pass_b[head]
        if f"{head}@END" == str(Node.parse(sender)):
            writes[head] = writes[head].clone()
            writes[head][torch.arange(len(prompts)), x_orig.at("END")] = pass_a[sender]
    return torch.einsum("bd->b", run(model, x_orig, reads=[receiver], writes=writes)[receiver])


@right("1.2")
def with_the_sender_by_its_name(model, prompts, sender, receiver):
    b = run(model, prompts.orig, reads=heads(model))
    a = run(model, prompts.new, reads=[sender])
    writes = {str(node): b[node] for node in heads(model)} | {sender: a[sender]}
    return run(model, prompts.orig, reads=[receiver], writes=writes)[receiver].sum(-1)


def pass_c(model, prompts, sender, receiver, frozen, patch_last=True):
    """What several wrong answers share."""
    b = run(model, prompts.orig, reads=[*frozen, sender])
    a = run(model, prompts.new, reads=[sender])
    freeze, patch = {node: b[node] for node in frozen}, dict(a)
    writes = {**freeze, **patch} if patch_last else {**patch, **freeze}
    return run(model, prompts.orig, reads=[receiver], writes=writes)[receiver].sum(-1)


@wrong("1.2", "no head is frozen")
def forgot_to_freeze(model, prompts, sender, receiver):
    return pass_c(model, prompts, sender, receiver, frozen=[])


@wrong("1.2", "the freeze comes after the patch")
def froze_last(model, prompts, sender, receiver):
    return pass_c(model, prompts, sender, receiver, heads(model), patch_last=False)


@wrong("1.2", "the MLPs are frozen too")
def froze_the_mlps_too(model, prompts, sender, receiver):
    return pass_c(model, prompts, sender, receiver, heads(model) + mlps(model))


@wrong("1.2", "R is read in pass A")
def read_r_on_x_new(model, prompts, sender, receiver):
    return run(model, prompts.new, reads=[receiver])[receiver].sum(-1)


@wrong("1.2", "x_orig and x_new have changed places")
def swapped_clean_and_corrupt(model, prompts, sender, receiver):
    return pass_c(model, prompts.swapped(), sender, receiver, heads(model))


@wrong("1.2", "h is read, and not R")
def returned_the_sender(model, prompts, sender, receiver):
    a = run(model, prompts.new, reads=[sender])
    return a[sender].sum(-1)


@wrong("1.2", "the vector is not summed")
def forgot_the_sum(model, prompts, sender, receiver):
    b = run(model, prompts.orig, reads=heads(model))
    a = run(model, prompts.new, reads=[sender])
    writes = {node: b[node] for node in heads(model)} | dict(a)
    return run(model, prompts.orig, reads=[receiver], writes=writes)[receiver]


@wrong("1.2", "the sum is taken over everything")
def summed_over_the_prompts_as_well(model, prompts, sender, receiver):
    return pass_c(model, prompts, sender, receiver, heads(model)).sum()


@wrong("1.2", "uses `SUM` from outside")
def used_the_toy_of_the_cell_above(model, prompts, sender, receiver):
    return pass_c(SUM.model, prompts, sender, receiver, heads(SUM.model))


@wrong("1.2", "expected is a tensor of shape [")
def returned_the_logits(model, prompts, sender, receiver):
    return path_patch(model, prompts, senders=[sender], receivers=[receiver])


@wrong("1.2", "this run did not read")
def read_too_little(model, prompts, sender, receiver):
    b = run(model, prompts.orig, reads=[receiver])
    return b[sender].sum(-1)


@wrong("1.2", "the sender is not patched")
def took_the_sender_from_x_orig(model, prompts, sender, receiver):
    b = run(model, prompts.orig, reads=[*heads(model), sender])
    writes = {node: b[node] for node in heads(model)} | {Node.parse(sender): b[sender]}
    c = run(model, prompts.orig, reads=[receiver], writes=writes)
    return c[receiver].sum(-1)


@wrong("1.2", "something is kept from one call to the next")
def remembered_pass_b(model, prompts, sender, receiver, *, seen={}):  # noqa: B006
    h = Node.parse(sender)
    b = seen.setdefault("b", run(model, prompts.orig, reads=heads(model)))
    a = run(model, prompts.new, reads=[h])
    c = run(model, prompts.orig, reads=[receiver], writes=dict(b) | {h: a[h]})
    return c[receiver].sum(-1)


# ---- 1.3 five treatments ----


@right("1.3")
def with_the_library(orig, new):
    names = ("nothing", "path patch, p frozen", "path patch, p recomputed")
    names += ("activation patch h", "overwrite R")
    return dict(zip(names, by_pencil(orig, new).values(), strict=True))


@right("1.3")
def with_a_function_for_the_sum(orig, new):
    def y(p, q, h_of_r, h_at_the_end):
        return 10 * (p + q + h_of_r) + h_at_the_end

    old, fresh = orig["h"], new["h"]
    p_old, p_fresh = orig["a"] + old, orig["a"] + fresh
    return {
        "nothing": y(p_old, orig["q"], old, old),
        "path patch, p frozen": y(p_old, orig["q"], fresh, old),
        "path patch, p recomputed": y(p_fresh, orig["q"], fresh, old),
        "activation patch h": y(p_fresh, orig["q"], fresh, fresh),
        "overwrite R": y(new["a"] + fresh, new["q"], fresh, old),
    }


def treat(orig, new, **changed):
    """The right answers, but for those that are given."""
    return with_a_function_for_the_sum(orig, new) | {
        key.replace("_", " ").replace(" p ", ", p "): value for key, value in changed.items()
    }


@wrong("1.3", "h is patched again in pass D")
def patched_h_in_pass_d(orig, new):
    a, q, h, h_new = orig["a"], orig["q"], orig["h"], new["h"]
    return treat(
        orig,
        new,
        path_patch_p_frozen=10 * (a + h + q + h_new) + h_new,
        path_patch_p_recomputed=10 * (a + h_new + q + h_new) + h_new,
    )


@wrong("1.3", "p follows h although it is frozen")
def did_not_freeze_p(orig, new):
    a, q, h, h_new = orig["a"], orig["q"], orig["h"], new["h"]
    return treat(orig, new, path_patch_p_frozen=10 * (a + h_new + q + h_new) + h)


@wrong("1.3", "p is frozen although it is an MLP")
def froze_the_mlp(orig, new):
    a, q, h, h_new = orig["a"], orig["q"], orig["h"], new["h"]
    return treat(orig, new, path_patch_p_recomputed=10 * (a + h + q + h_new) + h)


@wrong("1.3", "p stays as it was when h is patched")
def froze_p_in_the_activation_patch(orig, new):
    a, q, h, h_new = orig["a"], orig["q"], orig["h"], new["h"]
    return treat(orig, new, activation_patch_h=10 * (a + h + q + h_new) + h_new)


@wrong("1.3", "still uses the old h")
def forgot_the_last_h(orig, new):
    a, q, h, h_new = orig["a"], orig["q"], orig["h"], new["h"]
    return treat(orig, new, activation_patch_h=10 * (a + h_new + q + h_new) + h)


@wrong("1.3", "R is overwritten and h as well")
def ran_x_new(orig, new):
    return treat(orig, new, overwrite_R=with_a_function_for_the_sum(new, new)["nothing"])


@wrong("1.3", "p is taken from x_new")
def took_p_from_x_new(orig, new):
    q, h, h_new = orig["q"], orig["h"], new["h"]
    return treat(orig, new, path_patch_p_frozen=10 * (new["a"] + h_new + q + h_new) + h)


@wrong("1.3", "x_orig and x_new have changed places")
def treated_x_new(orig, new):
    return with_a_function_for_the_sum(new, orig)


@wrong("1.3", "R itself is returned")
def returned_r(orig, new):
    a, q, h, h_new = orig["a"], orig["q"], orig["h"], new["h"]
    return {
        "nothing": a + h + q + h,
        "path patch, p frozen": a + h + q + h_new,
        "path patch, p recomputed": a + h_new + q + h_new,
        "activation patch h": a + h_new + q + h_new,
        "overwrite R": new["a"] + h_new + new["q"] + h_new,
    }


@wrong("1.3", "the numbers are those of the text")
def only_the_numbers_of_the_chapter(orig, new):
    return {
        "nothing": 63,
        "path patch, p frozen": 73,
        "path patch, p recomputed": 83,
        "activation patch h": 84,
        "overwrite R": 93,
    }


@wrong("1.3", "your line")
def misspelt_a_key(orig, new):
    return treat(orig, new, nothing=orig["A"] + orig["h"])


@wrong("1.3", "a dict with the keys")
def named_the_treatments_differently(orig, new):
    found = with_a_function_for_the_sum(orig, new)
    return {key.replace(",", ""): value for key, value in found.items()}
