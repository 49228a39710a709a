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


# %% [markdown]
# ## 3.1 Shares of the answer
#
# *Implement. Difficulty 2 of 5, importance 4, about 20 minutes, 3 points.*
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
# Stuck? `hint("3.1")`

# %%
def shares(written, gain, unembed, answer, foil):
    """What each part adds to the logit difference.

    written: what each part wrote at END, a tensor [part, batch, d_model];
    the last state is their sum. gain: of the last norm [d_model].
    unembed: [d_model, vocab]. answer, foil: token ids [batch].
    Returns: a tensor [part, batch].
    """
    raise NotImplementedError("3.1 is not written yet")


# %%
check(shares)


# %% [markdown]
# ## 3.2 One patch, for many prompts
#
# *Implement. Difficulty 3 of 5, importance 5, about 25 minutes, 4 points.*
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
# Stuck? `hint("3.2")`

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
    raise NotImplementedError("3.2 is not written yet")


# %%
check(patch_by_hooks)


# %% [markdown]
# ## 3.3 Repair a mask that mixes prompts
#
# *Repair. Difficulty 2 of 5, importance 5, about 10 minutes, 2 points.*
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
# Stuck? `hint("3.3")`

# %%
def set_at(old, new, at):
    """The values of `old`, and of `new` at one position of each prompt.

    old, new: values of two passes, tensors [batch, pos, ...]: where a head
    has an axis of its own, there is one more.
    at: the position in each prompt [batch], a tensor; -1 where a prompt has
    no such word.
    Returns: a new tensor of the same shape.
    """
    found = old.clone()
    found[:, at] = new[:, at]
    return found


# %%
check(set_at)


# %% [markdown]
# ## 3.4 How many heads must be patched?
#
# *Implement. Difficulty 3 of 5, importance 4, about 25 minutes, 4 points.*
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
# Stuck? `hint("3.4")`

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
    raise NotImplementedError("3.4 is not written yet")


# %%
check(smallest_sets)


# %% [markdown]
# ## 3.5 Layers by positions
#
# *Implement. Difficulty 2 of 5, importance 4, about 20 minutes, 3 points.*
#
# The first map of the page: patch the whole residual stream at one position, after one layer, and see how the logit difference changes; then the next position, and the next layer.
# `prompts.orig` is what is run and `prompts.new` is where the values come from, whichever of the two is the clean one.
#
# **Goal.** The change of the logit difference for every layer, label and prompt, in logits.
#
# **Out of scope.** Means over prompts: whoever draws the map takes them. `activation_sweep`: use `run` alone.
#
# Stuck? `hint("3.5")`

# %%
def state_map(model, prompts, labels):
    """The change of the logit difference when one state is patched.

    labels: a list of labels of the prompts, such as ["S2", "END"].
    Returns: a tensor [layer, label, batch], patched minus unpatched, in
    logits. Labels are in the order in which they are given.
    """
    raise NotImplementedError("3.5 is not written yet")


# %%
check(state_map)
