# %% [markdown]
# # Exercises for chapter 1: a residual stream is a sum
#
# Write each function, then run its check.
# A check says what it called, what came back, and what should have.
# The models that a check gives to your function compute in float64.
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
from exercises import check, hint
from pathpatch import Node, heads, run, toy


# %% [markdown]
# ## 1.1 One term of a sum
#
# *By hand. Difficulty 1 of 5, importance 5, about 5 minutes, 1 point.*
#
# A receiver reads the sum $R = p + q + h$, and none of the three depends on another.
# On $x_\text{orig}$ the terms are $p = 4$, $q = -1$, $h = 2$; on $x_\text{new}$ they are $p = 10$, $q = 3$, $h = 5$.
# The sender is $h$.
# What is $R$ in pass B, what does pass C find, and what would you write if you overwrote $R$ with its value on $x_\text{new}$?
#
# **Goal.** Return the three whole numbers, worked out with a pencil.
#
# **Out of scope.** Code that computes them: that is the next exercise.
#
# Stuck? `hint("1.1")`

# %%
def by_hand() -> dict[str, int]:
    """R in pass B, in pass C, and when it is overwritten, as whole numbers.

    Returns: a dict with the keys "pass B", "pass C" and "overwrite R".
    """
    raise NotImplementedError("1.1 is not written yet")


# %%
check(by_hand)


# %% [markdown]
# ## 1.2 The same by code
#
# *Implement. Difficulty 2 of 5, importance 5, about 15 minutes, 3 points.*
#
# Now let a model do the sum.
# You get a toy, its prompts, a sender and a receiver, and return what the receiver holds in pass C.
# Slowly: pass B runs $x_\text{orig}$ and reads all heads.
# Pass A runs $x_\text{new}$ and reads the sender.
# Pass C runs $x_\text{orig}$ again with every head set to its value from pass B, but for the sender, which gets its value from pass A; it reads the receiver.
# The value vector of the receiver has one entry that is not 0, so sum over its last axis.
#
# **Goal.** The same function works for the toys `sum`, `head` and `mlp`, on any numbers.
#
# **Out of scope.** Pass D, and `path_patch`: use `run` alone.
#
# Stuck? `hint("1.2")`

# %%
def r_in_pass_c(model, prompts, sender, receiver):
    """What R holds in pass C, for each prompt.

    prompts: x_orig is prompts.orig, x_new is prompts.new.
    sender: such as "0.2@END". receiver: such as "1.0.v@END".
    Returns: a tensor [batch].
    """
    raise NotImplementedError("1.2 is not written yet")


# %%
check(r_in_pass_c)


# %% [markdown]
# ## 1.3 Five treatments
#
# *Implement. Difficulty 2 of 5, importance 5, about 20 minutes, 3 points.*
#
# The toy of this chapter: $p = a + h$, $R = p + q + h$, $y = 10R + h$.
# You get $a$, $q$ and $h$ on $x_\text{orig}$ and on $x_\text{new}$.
# Return $y$ on $x_\text{orig}$ after each of five treatments with sender $h$ and receiver $R$.
#
# **Goal.** Plain arithmetic, a line or two for each treatment.
#
# **Out of scope.** A model. The chapter has one that agrees.
#
# Stuck? `hint("1.3")`

# %%
def five(orig: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    """y after each treatment of x_orig.

    orig, new: dicts with the keys "a", "q" and "h".
    Returns: a dict with the keys "nothing", "path patch, p frozen",
    "path patch, p recomputed", "activation patch h" and "overwrite R".
    """
    raise NotImplementedError("1.3 is not written yet")


# %%
check(five)
