# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises for chapter 3: activation patching
#
# Each exercise stands alone: none needs another one to be solved.
# The models that a check gives to your function are small and random, and compute in float64.
# In their prompts x_orig and x_new differ in every token, and a label stands at another position in each pair.
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
from itertools import combinations

import torch

from exercises import check, hint
from pathpatch import LOGITS, Node, logit_diff, run

# %% [markdown] exercise="3.1" kind="implement" minutes=20 difficulty=2 importance=4 points=3
# ## 3.1 Shares of the answer
#
# The last state of the residual stream is a sum: of the embedding, and of what every head and every MLP wrote.
# SmolLM2 divides it by its size (the root of the mean of its squares), multiplies each coordinate with a gain, and then takes the product with a column of the unembedding for each token.
# Write direct logit attribution: what does each part add to the logit difference, answer minus foil?
# Nobody tells you whether it is right but the sum: the shares of all parts together are the logit difference itself.
#
# **Goal.** One share for each part and prompt, in logits.
#
# **Out of scope.** Norms that also subtract a mean, as in GPT-2. Models: what the parts wrote is given.
#
# **Hint 1.** If every part is divided by a number of its own, do the shares still add up to the whole?
#
# **Hint 2.** There is one size for each prompt, that of the sum over all parts. Divide every part of the prompt by it.
#
# **Hint 3.** `direction = (unembed[:, answer] - unembed[:, foil]).T`, of the shape [batch, d_model], times `gain`.
#
# **Help.** Large parts get no larger shares than small ones. Then each was divided by its own size, and all were equally long.
#
# **Help.** With one prompt it is right. Each prompt has its own answer, foil and size: look at which axis is the batch.
#
# **Another way.** Compute the logit difference with every part in it and again with one part's vector taken out *after* the division: the two differ by its share.


# %%
def shares(written, gain, unembed, answer, foil):
    """What each part adds to the logit difference.

    written: what each part wrote at END, a tensor [part, batch, d_model];
    the last state is their sum. gain: of the last norm [d_model].
    unembed: [d_model, vocab]. answer, foil: token ids [batch].
    Returns: a tensor [part, batch].
    """
    # solution
    # Canary 45f3106dcf13e59d: stays with instructors.
    size = written.sum(0).pow(2).mean(-1).sqrt()  # [batch]
    direction = (unembed[:, answer] - unembed[:, foil]).T * gain  # [batch, d_model]
    return (written * direction).sum(-1) / size
    # end of solution


# %%
check(shares)

# %% [markdown] exercise="3.2" kind="implement" minutes=25 difficulty=3 importance=5 points=4
# ## 3.2 One patch, for many prompts
#
# The page patches one head of one sentence with two hooks of PyTorch.
# Do the same for a batch, in which every prompt has a position of its own.
# The model inside is `model.original_model`; called with token ids it returns something that has `logits`.
# Its `get_submodule(name)` is the module that mixes the heads of a layer: its input has the shape [batch, pos, heads * d_head], in which head 0 comes first, then head 1 and so on.
#
# **Goal.** The logits on x_orig, at all positions of each prompt up to its END, with one head at one position of each prompt as it is on x_new.
#
# **Out of scope.** The library: `run` does this for you, and here you are `run`.
#
# **Hint 1.** How many numbers has one head, and at which of them does yours begin?
#
# **Hint 2.** One hook keeps a clone of a part of the input and returns nothing; the other changes a copy of the input and returns it. Each is on the module for one pass only.
#
# **Hint 3.** `changed[rows, at, part] = kept["z"]`, with `rows = torch.arange(len(at))` and `part` a slice.
#
# **Help.** One prompt comes out right, and several do not. `[:, at]` takes the positions of *all* prompts in every prompt; `[rows, at]` takes one of each.
#
# **Help.** Every run after mine gives other numbers. Your hook is still there: `handle.remove()`, and in a `finally`, so that an error does not leave it behind.
#
# **Another way.** With TransformerLens: `model.run_with_cache(x_new)`, and then `model.run_with_hooks(x_orig, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", put)])`, where the heads have an axis of their own.


# %%
def patch_by_hooks(model, name, head, x_orig, x_new, at):
    """Run x_orig with one head, at one position each, as it is on x_new.

    name: of a module of model.original_model, as above. head: the number of
    the head.
    x_orig, x_new: token ids [batch, pos]. at: a position in each prompt
    [batch]. model.cfg.d_head is the number of values that a head has at a
    position.
    Returns: the logits, a tensor [batch, pos, vocab]. Shorter prompts are
    padded on the right; what stands there does not count.
    """
    # solution
    # Canary 8f2c26dce38e7033: stays with instructors.
    network = model.original_model
    module = network.get_submodule(name)
    rows, width = torch.arange(len(at)), model.cfg.d_head
    part, kept = slice(head * width, (head + 1) * width), {}

    def keep(module, inputs):
        kept["z"] = inputs[0][rows, at, part].clone()

    def put(module, inputs):
        changed = inputs[0].clone()
        changed[rows, at, part] = kept["z"]
        return (changed,)

    for hook, ids in ((keep, x_new), (put, x_orig)):
        handle = module.register_forward_pre_hook(hook)
        try:
            logits = network(ids).logits
        finally:
            handle.remove()
    return logits
    # end of solution


# %%
check(patch_by_hooks)

# %% [markdown] exercise="3.3" kind="repair" minutes=10 difficulty=2 importance=5 points=2
# ## 3.3 Repair a mask that mixes prompts
#
# A colleague patches the word S2, which stands somewhere else in each prompt, and not in every prompt.
# With a single prompt the numbers are right.
# With many, each effect is a bit too large, nobody knows why, and no error is raised.
# Find the two mistakes, and say what each of them does to a prompt before you mend it.
#
# **Goal.** In each prompt its own position has the new value, and all else is as it was; a prompt without the word stays as it is.
#
# **Out of scope.** Models: these are values that some pass has given.
#
# **Hint 1.** With `at = [3, 5]`, which positions of prompt 0 does `found[:, at]` mean?
#
# **Hint 2.** Two lists as indices are read in pairs: row 0 with the first position, row 1 with the second. Which rows should be in the pairs at all?
#
# **Hint 3.** `rows = torch.arange(len(at))[at >= 0]`
#
# **Help.** It is right until a prompt lacks the word. Then its position is -1, and to Python that is the last one.
#
# **Help.** One prompt is patched in several places. An index `[:, at]` is a mask of columns: it has the positions of all prompts, in every prompt.
#
# **Another way.** A mask with a row for each prompt: `torch.arange(pos) == at[:, None]` is true at one position of each prompt, and nowhere for -1; then `torch.where`.


# %%
def set_at(old, new, at):
    """The values of `old`, and of `new` at one position of each prompt.

    old, new: values of two passes, tensors [batch, pos, ...]: where a head
    has an axis of its own, there is one more.
    at: the position in each prompt [batch], a tensor; -1 where a prompt has
    no such word.
    Returns: a new tensor of the same shape.
    """
    # solution
    # Canary 9cccf84070c87ee4: stays with instructors.
    found = old.clone()
    rows = torch.arange(len(at))[at >= 0]
    found[rows, at[rows]] = new[rows, at[rows]]
    return found
    # instead
    # found = old.clone()
    # found[:, at] = new[:, at]
    # return found
    # end of solution


# %%
check(set_at)

# %% [markdown] exercise="3.4" kind="implement" minutes=25 difficulty=3 importance=4 points=4
# ## 3.4 How many heads must be patched?
#
# One head of `toy("and")` is enough to break it, and one head is not enough to bring it back.
# Ask that of any gate: which are the smallest sets of heads that, patched together, change the output?
# Noising starts from the clean run and gives the heads of a set their corrupt values; it succeeds if the output becomes 0.
# Denoising starts from the corrupt run and gives them their clean values; it succeeds if the output becomes 1.
#
# **Goal.** For each direction *all* sets of the smallest size that succeeds.
#
# **Out of scope.** Speed: no gate has more than four heads. Models: a gate is given as the table of its outputs.
#
# **Hint 1.** In an OR of two ones, what is the smallest set in noising, and what are the smallest sets in denoising?
#
# **Hint 2.** Try all sets of one head; if none succeeds, all sets of two, and so on. Stop at the size at which some succeed.
#
# **Hint 3.** `combinations(range(n), size)` gives every set of a size once, in order; `tuple(other[i] if i in chosen else base[i] for i in range(n))` is the key of the table.
#
# **Help.** I flip a bit and get sets that the check does not have. A head whose clean and corrupt values are equal stays as it is when it is patched.
#
# **Help.** Noising and denoising give me the same sets. Both start from the same run: in denoising it is the corrupt one that is patched.
#
# **Another way.** To noise some heads is to denoise all the others: both runs have the same values. So one table of all mixed runs has the answer to both questions.


# %%
def smallest_sets(gate, clean, corrupt):
    """The smallest sets of heads that break a gate, or bring it back.

    gate: its output, 0 or 1, for the values of all heads, such as
    {(1, 1): 1, (1, 0): 0, (0, 1): 0, (0, 0): 0}.
    clean, corrupt: the values of the heads in the two runs, tuples of 0
    and 1. The output is 1 in the clean run and 0 in the corrupt one.
    Returns: {"noising": sets, "denoising": sets}, where sets are a list of
    lists of the numbers of heads (from 0 on): each set once, sets and heads
    in any order.
    """
    # solution
    # Canary 8ff7b36e635282e1: stays with instructors.
    n, found = len(clean), {"noising": [], "denoising": []}
    for way, base, other, goal in (
        ("noising", clean, corrupt, 0),
        ("denoising", corrupt, clean, 1),
    ):
        for size in range(1, n + 1):
            for chosen in combinations(range(n), size):
                mixed = tuple(other[i] if i in chosen else base[i] for i in range(n))
                if gate[mixed] == goal:
                    found[way].append(list(chosen))
            if found[way]:
                break
    return found
    # end of solution


# %%
check(smallest_sets)

# %% [markdown] exercise="3.5" kind="implement" minutes=20 difficulty=2 importance=4 points=3
# ## 3.5 Layers by positions
#
# The first map of the page: patch the whole residual stream at one position, after one layer, and see how the logit difference changes; then the next position, and the next layer.
# `prompts.orig` is what is run and `prompts.new` is where the values come from, whichever of the two is the clean one.
#
# **Goal.** The change of the logit difference for every layer, label and prompt, in logits.
#
# **Out of scope.** Means over prompts: whoever draws the map takes them. `activation_sweep`: use `run` alone.
#
# **Hint 1.** Which runs do not depend on layer and label, and so are made once?
#
# **Hint 2.** One run on x_new reads all states; one run on x_orig has the logits before; and each cell of the map is one run on x_orig that writes one state.
#
# **Hint 3.** `Node("resid_post", layer, at=label)` is the state after a layer, and `logit_diff(logits, prompts)` is one number for each prompt.
#
# **Help.** All numbers are far from 0. That is the logit difference after the patch, and not its change: take away that of x_orig without a patch.
#
# **Help.** The rows of the map are one layer too low. The state *before* layer 1 is that after layer 0.
#
# **Another way.** `activation_patch(model, prompts, nodes=[node])` for each cell: it makes the run on x_new again each time.


# %%
def state_map(model, prompts, labels):
    """The change of the logit difference when one state is patched.

    labels: a list of labels of the prompts, such as ["S2", "END"].
    Returns: a tensor [layer, label, batch], patched minus unpatched, in
    logits. Labels are in the order in which they are given.
    """
    # solution
    # Canary fe80e5bcef0a9abf: stays with instructors.
    layers = range(model.cfg.n_layers)
    nodes = [[Node("resid_post", layer, at=label) for label in labels] for layer in layers]
    new = run(model, prompts.new, reads=[node for row in nodes for node in row])
    before = logit_diff(run(model, prompts.orig, reads=[LOGITS])[LOGITS], prompts)

    def change(node):
        logits = run(model, prompts.orig, reads=[LOGITS], writes={node: new[node]})[LOGITS]
        return logit_diff(logits, prompts) - before

    return torch.stack([torch.stack([change(node) for node in row]) for row in nodes])
    # end of solution


# %%
check(state_map)
