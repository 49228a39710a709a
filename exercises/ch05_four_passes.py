# %% [markdown]
# # Exercises for chapter 5: four passes
#
# Each exercise stands alone: none needs another one to be solved.
# The models that a check gives to your function compute in float64.
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
from exercises import check, hint
from pathpatch import LOGITS, Node, activation_patch, heads, logit_diff, run


# %% [markdown]
# ## 5.1 Predict the sign
#
# *Predict, then run. Difficulty 2 of 5, importance 4, about 15 minutes, 3 points.*
#
# In the IOI machine, 0.0 notices at S2 that a name is repeated, 1.0 carries that to END, and the movers 2.0 and 2.1 then look at the other name and say it.
# In `negative`, 2.2 looks where the movers look and writes *against* the name.
# In `backup`, 3.0 rests, unless the movers do not say IO: then it does.
# In `keys`, 0.0 only leaves a mark at S2; 1.0 finds S2 by that mark, and copies the name that stands there.
#
# Below are six path patches from p_ABC into p_IOI.
# Does the logit difference rise ("+"), fall ("-") or stay ("0")?
#
# **Goal.** Write all six down before you run anything. The check runs them.
#
# **Out of scope.** The size.
#
# Stuck? `hint("5.1")`

# %%
def signs() -> dict[str, str]:
    """The sign of each path's change: "+", "-" or "0"."""
    return {
        "negative: 2.2 to the logits": "?",
        "negative: 1.0 to the queries of 2.0 and 2.1": "?",
        "negative: 1.0 to the query of 2.2": "?",
        "negative: 1.0 to the logits": "?",
        "backup: 2.0 and 2.1 to the query of 3.0": "?",
        "keys: 0.0 to the value of 1.0": "?",
    }


# %%
check(signs)


# %% [markdown]
# ## 5.2 Write pass C
#
# *Implement. Difficulty 2 of 5, importance 5, about 15 minutes, 3 points.*
#
# Passes A and B are given, as runs that read all you need.
# Pass C runs $x_\text{orig}$ with the frozen nodes at their values from B, but for the senders, which get theirs from A; it reads the receivers.
#
# **Goal.** The value that each receiver would take, for any senders, receivers and frozen nodes.
#
# **Out of scope.** Pass D.
#
# Stuck? `hint("5.2")`

# %%
def pass_c(model, tokens, b, a, senders, receivers, frozen):
    """What each receiver would be if only the senders were as on x_new.

    tokens: x_orig. b: a run on x_orig that read the frozen nodes.
    a: a run on x_new that read the senders. Both may have read more.
    senders, receivers, frozen: lists of nodes of any kind; one may be in
    several of them, and `frozen` may be empty.
    Returns: a dict from each receiver to its value.
    """
    raise NotImplementedError("5.2 is not written yet")


# %%
check(pass_c)


# %% [markdown]
# ## 5.3 Write pass D
#
# *Implement. Difficulty 2 of 5, importance 5, about 10 minutes, 2 points.*
#
# Pass C has stored a value for each receiver.
# Pass D runs $x_\text{orig}$ with the receivers set to these values, lets everything else react, and returns the logits at END.
# One receiver is special: if it is the logits themselves, there is nothing left to run.
#
# **Goal.** The logits of pass D, whatever receives.
#
# **Out of scope.** The metric.
#
# Stuck? `hint("5.3")`

# %%
def pass_d(model, tokens, stored):
    """The logits at END when the receivers have the stored values.

    tokens: x_orig.
    stored: a dict from each receiver to its value from pass C.
    Returns: a tensor [batch, vocab].
    """
    raise NotImplementedError("5.3 is not written yet")


# %%
check(pass_d)


# %% [markdown]
# ## 5.4 All of path patching in 25 lines
#
# *Implement. Difficulty 4 of 5, importance 5, about 40 minutes, 6 points.*
#
# Now without `run`: four passes with TransformerLens alone, as you would write them for your own model.
# The sender is a head's output, `blocks.{layer}.attn.hook_z`; the receiver is a head's query, key or value, `blocks.{layer}.attn.hook_q` (or `_k`, `_v`).
# Each has the shape [batch, pos, head, d_head].
# You get plain token ids, and for each prompt the position at which both the sender is patched and the receiver is set.
#
# `model.run_with_cache(ids)` returns logits and a cache with every hook point's value.
# `model.run_with_hooks(ids, fwd_hooks=[(name, function)])` calls `function(value, hook)` at each point, and takes what it returns in place of the value.
# A point may have two names, and `hook.name` may be the other one: a function has to know its layer by itself.
#
# **Goal.** The logits of pass D at all positions of each prompt, up to its END.
#
# **Out of scope.** Several senders or receivers.
#
# Stuck? `hint("5.4")`

# %%
def path_patch_by_hooks(model, x_orig, x_new, sender, receiver, at):
    """Path patching of one head to one input of another head.

    x_orig, x_new: token ids [batch, pos]. sender: (layer, head).
    receiver: (layer, head, "q"), or "k" or "v" in the third place.
    at: position in each prompt [batch].
    Returns: the logits of pass D, a tensor [batch, pos, vocab]. Shorter
    prompts are padded on the right; what stands there does not count.
    """
    raise NotImplementedError("5.4 is not written yet")


# %%
check(path_patch_by_hooks)


# %% [markdown]
# ## 5.5 Repair a path patcher
#
# *Repair. Difficulty 2 of 5, importance 4, about 15 minutes, 3 points.*
#
# This function runs without an error, and its numbers are wrong.
# There are two mistakes, one in pass C and one in pass D.
# Say what each pass does, in words, before you run the check.
#
# **Goal.** The logits of pass D at END. Change as little as you can.
#
# **Out of scope.** Receivers that are the logits.
#
# Stuck? `hint("5.5")`

# %%
def repaired(model, prompts, senders, receivers):
    """Path patching with all heads frozen.

    prompts: x_orig is prompts.orig, x_new is prompts.new.
    senders, receivers: lists of nodes.
    Returns: the logits of pass D at END, a tensor [batch, vocab].
    """
    b = run(model, prompts.orig, reads=heads(model))
    a = run(model, prompts.new, reads=senders)
    patch = {node: a[node] for node in senders}
    freeze = {node: b[node] for node in heads(model)}
    c = run(model, prompts.orig, reads=receivers, writes=patch | freeze)
    d = run(model, prompts.orig, reads=[LOGITS], writes=c | patch)
    return d[LOGITS]


# %%
check(repaired)


# %% [markdown]
# ## 5.6 Noising and denoising
#
# *Implement. Difficulty 2 of 5, importance 4, about 15 minutes, 3 points.*
#
# Noising runs the clean prompt and inserts values from the corrupt one; denoising runs the corrupt prompt and inserts values from the clean one.
# In `prompts`, the clean one is x_orig (`prompts.orig`) and the corrupt one x_new (`prompts.new`).
# Write both for an activation patch of some nodes.
# In each, the change is the logit difference with the patch minus the logit difference of the *same* run without it.
# Then try it on `toy("and")` and `toy("or")`: in which of the two does one head matter in noising, and in which in denoising?
#
# **Goal.** Two changes for each prompt, in logits.
#
# **Out of scope.** Percentages, and averages over prompts.
#
# Stuck? `hint("5.6")`

# %%
def both_directions(model, prompts, nodes):
    """How an activation patch changes the logit difference, both ways.

    nodes: a list of names, such as ["0.0@END", "1.2.v@S2"], which are
    patched together.
    Returns: {"noising": tensor [batch], "denoising": tensor [batch]},
    patched minus before.
    """
    raise NotImplementedError("5.6 is not written yet")


# %%
check(both_directions)
