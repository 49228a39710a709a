# %% [markdown]
# # Exercises for chapter 3: activation patching
#
# Each exercise stands alone: none needs another one to be solved.
# The models that a check gives to your function are small and random, and compute in float64.
# In their prompts x_orig and x_new differ in every token, and a label stands somewhere else in each prompt.

# %%
import torch

from exercises import check, hint


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
    """Run x_orig with one head, at one position of each prompt, as it is on x_new.

    name: of a module of model.original_model, as above. head: the number of the head.
    x_orig, x_new: token ids [batch, pos]. at: a position in each prompt [batch].
    model.cfg.d_head is the number of values that a head has at a position.
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
    """The values of `old`, but at one position of each prompt those of `new`.

    old, new: values of two passes, tensors [batch, pos, ...]: where a head has
    an axis of its own, there is one more.
    at: the position in each prompt [batch], a tensor; -1 where a prompt has no such word.
    Returns: a new tensor of the same shape.
    """
    found = old.clone()
    found[:, at] = new[:, at]
    return found


# %%
check(set_at)
