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
