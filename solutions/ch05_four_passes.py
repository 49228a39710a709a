# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises for chapter 5: four passes
#
# Each exercise stands alone: none needs another one to be solved.
# The models that a check gives to your function compute in float64.
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
from exercises import check, hint
from pathpatch import LOGITS, Node, activation_patch, heads, logit_diff, run

# %% [markdown] exercise="5.1" kind="predict, then run" minutes=15 difficulty=2 importance=4 points=3
# ## 5.1 Predict the sign
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
# **Hint 1.** For each path: what is stored in R, and what do the heads after R do with it?
#
# **Hint 2.** On p_ABC no name is repeated, so 0.0 and 1.0 are silent there, and the movers look at two names.
#
# **Hint 3.** The first is "+": 2.2 takes back a part of what the movers say, and after the patch it does so no more.
#
# **Help.** I have a 0 and the check says no. Follow what the receiver's *head* then does: a head that reacts is part of the effect in pass D.
#
# **Another way.** Draw the attention row of each head after R twice, before the patch and after it, and read off which name it then writes.


# %%
def signs() -> dict[str, str]:
    """The sign of each path's change: "+", "-" or "0"."""
    # solution
    # Canary ba0a7bcd4087d6ec: stays with instructors.
    return {
        "negative: 2.2 to the logits": "+",
        "negative: 1.0 to the queries of 2.0 and 2.1": "-",
        "negative: 1.0 to the query of 2.2": "+",
        "negative: 1.0 to the logits": "0",
        "backup: 2.0 and 2.1 to the query of 3.0": "+",
        "keys: 0.0 to the value of 1.0": "0",
    }
    # instead
    # return {
    #     "negative: 2.2 to the logits": "?",
    #     "negative: 1.0 to the queries of 2.0 and 2.1": "?",
    #     "negative: 1.0 to the query of 2.2": "?",
    #     "negative: 1.0 to the logits": "?",
    #     "backup: 2.0 and 2.1 to the query of 3.0": "?",
    #     "keys: 0.0 to the value of 1.0": "?",
    # }
    # end of solution


# %%
check(signs)

# %% [markdown] exercise="5.2" kind="implement" minutes=15 difficulty=2 importance=5 points=3
# ## 5.2 Write pass C
#
# Passes A and B are given, as runs that read all you need.
# Pass C runs $x_\text{orig}$ with the frozen nodes at their values from B, but for the senders, which get theirs from A; it reads the receivers.
#
# **Goal.** The value that each receiver would take, for any senders, receivers and frozen nodes.
#
# **Out of scope.** Pass D.
#
# **Hint 1.** A sender is most often a head, and then it is among the frozen nodes as well. Which of the two writes must win?
#
# **Hint 2.** `run(model, tokens, reads=..., writes=...)` applies its writes in the order of the dict.
#
# **Hint 3.** `writes = {node: b[node] for node in frozen}`, and then the senders.
#
# **Help.** What I store is what pass B had. Then the freeze undoes the patch: it comes second.
#
# **Help.** An error says that a run did not read a node. Read `b` for the frozen nodes and `a` for the senders, not the other way round.
#
# **Another way.** One dict does both steps: `{node: (a if node in senders else b)[node] for node in [*frozen, *senders]}`.


# %%
def pass_c(model, tokens, b, a, senders, receivers, frozen):
    """What each receiver would be if only the senders were as on x_new.

    tokens: x_orig. b: a run on x_orig that read the frozen nodes.
    a: a run on x_new that read the senders. Both may have read more.
    senders, receivers, frozen: lists of nodes of any kind; one may be in
    several of them, and `frozen` may be empty.
    Returns: a dict from each receiver to its value.
    """
    # solution
    # Canary 9dfa25dc020c945c: stays with instructors.
    writes = {node: b[node] for node in frozen}
    writes |= {node: a[node] for node in senders}
    return run(model, tokens, reads=receivers, writes=writes)
    # end of solution


# %%
check(pass_c)

# %% [markdown] exercise="5.3" kind="implement" minutes=10 difficulty=2 importance=5 points=2
# ## 5.3 Write pass D
#
# Pass C has stored a value for each receiver.
# Pass D runs $x_\text{orig}$ with the receivers set to these values, lets everything else react, and returns the logits at END.
# One receiver is special: if it is the logits themselves, there is nothing left to run.
#
# **Goal.** The logits of pass D, whatever receives.
#
# **Out of scope.** The metric.
#
# **Hint 1.** What is frozen in pass D, and is the sender patched?
#
# **Hint 2.** One call of `run`, whose writes are what C stored.
#
# **Hint 3.** `run` reads a value *before* it is replaced. What does it then read for `LOGITS`, if they are among the writes?
#
# **Help.** With the logits as receiver nothing changes. `run` reads a value before it is replaced, so it reads the logits of pass B. Return the stored ones.
#
# **Another way.** Put what is stored over what was read: `(dict(run(model, tokens, reads=[LOGITS], writes=stored)) | stored)[LOGITS]` needs no `if`.


# %%
def pass_d(model, tokens, stored):
    """The logits at END when the receivers have the stored values.

    tokens: x_orig.
    stored: a dict from each receiver to its value from pass C.
    Returns: a tensor [batch, vocab].
    """
    # solution
    # Canary 4fe67fc86fa21954: stays with instructors.
    if LOGITS in stored:
        return stored[LOGITS]
    return run(model, tokens, reads=[LOGITS], writes=stored)[LOGITS]
    # end of solution


# %%
check(pass_d)

# %% [markdown] exercise="5.4" kind="implement" minutes=40 difficulty=4 importance=5 points=6
# ## 5.4 All of path patching in 25 lines
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
# **Hint 1.** Which of the four passes can `run_with_cache` do alone, and which of its values does each of the other two need?
#
# **Hint 2.** Pass C has a hook for `hook_z` of *every* layer, which returns B's value with the sender exchanged in its own layer, and one for the receiver that stores a clone and returns nothing. Pass D has a single hook.
#
# **Hint 3.** `new = value.clone(); new[rows, at, head] = stored; return new`, with `rows = torch.arange(len(at))`.
#
# **Help.** The stored receiver changes while I look at it. A later hook may edit the same tensor in place: store `value[rows, at, head].clone()`.
#
# **Help.** My hooks find the name of another hook point. A point may have two names, and `hook.name` is the other one. Let the function know its layer, and do not ask the hook.
#
# **Help.** My second call gives another result than my first. Hooks from `add_hook` stay on the model; `run_with_hooks` takes its own off again.
#
# **Another way.** `with model.hooks(fwd_hooks=[...]):` around a plain call of the model does the same, and takes the hooks off again as well.


# %%
def path_patch_by_hooks(model, x_orig, x_new, sender, receiver, at):
    """Path patching of one head to one input of another head.

    x_orig, x_new: token ids [batch, pos]. sender: (layer, head).
    receiver: (layer, head, "q"), or "k" or "v" in the third place.
    at: position in each prompt [batch].
    Returns: the logits of pass D, a tensor [batch, pos, vocab]. Shorter
    prompts are padded on the right; what stands there does not count.
    """
    # solution
    # Canary b7642ddcbe29bc7c: stays with instructors.
    import torch

    (i, j), (layer, head, kind) = sender, receiver
    rows, stored = torch.arange(len(at)), {}
    name = f"blocks.{layer}.attn.hook_{kind}"
    _, a = model.run_with_cache(x_new)
    _, b = model.run_with_cache(x_orig)

    def freeze(k):
        def hook_z(value, hook):
            frozen = b[f"blocks.{k}.attn.hook_z"].clone()
            if k == i:
                frozen[rows, at, j] = a[f"blocks.{k}.attn.hook_z"][rows, at, j]
            return frozen

        return f"blocks.{k}.attn.hook_z", hook_z

    def store(value, hook):
        stored["R"] = value[rows, at, head].clone()

    def put(value, hook):
        value = value.clone()
        value[rows, at, head] = stored["R"]
        return value

    every = [freeze(k) for k in range(model.cfg.n_layers)]
    model.run_with_hooks(x_orig, fwd_hooks=[*every, (name, store)])
    return model.run_with_hooks(x_orig, fwd_hooks=[(name, put)])
    # end of solution


# %%
check(path_patch_by_hooks)

# %% [markdown] exercise="5.5" kind="repair" minutes=15 difficulty=2 importance=4 points=3
# ## 5.5 Repair a path patcher
#
# This function runs without an error, and its numbers are wrong.
# There are two mistakes, one in pass C and one in pass D.
# Say what each pass does, in words, before you run the check.
#
# **Goal.** The logits of pass D at END. Change as little as you can.
#
# **Out of scope.** Receivers that are the logits.
#
# **Hint 1.** Which writes of pass C does `run` apply last?
#
# **Hint 2.** In pass D, which node keeps its value of $x_\text{orig}$ for all readers but R?
#
# **Hint 3.** `writes = freeze | patch` is right only if a patch has the same key as the freeze; a dict keeps the *place* of its first entry.
#
# **Help.** I exchanged the two dicts and nothing changed. In Python, `x | y` keeps the order of `x`: what counts is which of the two is written later.
#
# **Another way.** Leave the senders out of the freeze; then no order can be wrong.


# %%
def repaired(model, prompts, senders, receivers):
    """Path patching with all heads frozen.

    prompts: x_orig is prompts.orig, x_new is prompts.new.
    senders, receivers: lists of nodes.
    Returns: the logits of pass D at END, a tensor [batch, vocab].
    """
    # solution
    # Canary 24aa5d9de0aca2fb: stays with instructors.
    b = run(model, prompts.orig, reads=heads(model))
    a = run(model, prompts.new, reads=senders)
    patch = {node: a[node] for node in senders}
    freeze = {node: b[node] for node in heads(model)}
    c = run(model, prompts.orig, reads=receivers, writes=freeze | patch)
    d = run(model, prompts.orig, reads=[LOGITS], writes=c)
    return d[LOGITS]
    # instead
    # b = run(model, prompts.orig, reads=heads(model))
    # a = run(model, prompts.new, reads=senders)
    # patch = {node: a[node] for node in senders}
    # freeze = {node: b[node] for node in heads(model)}
    # c = run(model, prompts.orig, reads=receivers, writes=patch | freeze)
    # d = run(model, prompts.orig, reads=[LOGITS], writes=c | patch)
    # return d[LOGITS]
    # end of solution


# %%
check(repaired)

# %% [markdown] exercise="5.6" kind="implement" minutes=15 difficulty=2 importance=4 points=3
# ## 5.6 Noising and denoising
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
# **Hint 1.** In denoising, which prompt is run, and what is its logit difference before?
#
# **Hint 2.** `activation_patch(model, prompts, nodes=nodes)` runs `prompts.orig` with values from `prompts.new`. `prompts.swapped()` exchanges the two.
#
# **Hint 3.** `run(model, prompts.new, reads=[LOGITS])[LOGITS]` has the logits before a denoising patch.
#
# **Help.** My denoising number is about as large as the whole logit difference. You compared the patched run on the corrupt prompt with the run on the *clean* one.
#
# **Another way.** Without `activation_patch`: read the nodes in a run on one side, and give what was read as `writes` to a run on the other.


# %%
def both_directions(model, prompts, nodes):
    """How an activation patch changes the logit difference, both ways.

    nodes: a list of names, such as ["0.0@END", "1.2.v@S2"], which are
    patched together.
    Returns: {"noising": tensor [batch], "denoising": tensor [batch]},
    patched minus before.
    """
    # solution
    # Canary 5483bcacaae6dcc2: stays with instructors.
    found = {}
    for way, x in (("noising", prompts), ("denoising", prompts.swapped())):
        before = run(model, x.orig, reads=[LOGITS])[LOGITS]
        patched = activation_patch(model, x, nodes=nodes)
        found[way] = logit_diff(patched, prompts) - logit_diff(before, prompts)
    return found
    # end of solution


# %%
check(both_directions)
