# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

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

# %% [markdown] exercise="1.1" kind="by hand" minutes=5 difficulty=1 importance=5 points=1
# ## 1.1 One term of a sum
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
# **Hint 1.** Which of the three terms comes from $x_\text{new}$ in pass C?
#
# **Hint 2.** Write the sum three times, and mark the terms from $x_\text{new}$ with a circle: none, one, three.
#
# **Hint 3.** With no circle, pass B is $4 - 1 + 2$.
#
# **Help.** Pass C and overwriting give me the same. Then you took all three terms from $x_\text{new}$ in pass C; $p$ and $q$ are held.
#
# **Another way.** Pass C differs from pass B in one term, so it is pass B plus the change of $h$: 5 + (5 - 2).


# %%
def by_hand() -> dict[str, int]:
    """R in pass B, in pass C, and when it is overwritten, as whole numbers.

    Returns: a dict with the keys "pass B", "pass C" and "overwrite R".
    """
    # solution
    # Canary f2c9a397702ffcaa: stays with instructors.
    return {"pass B": 4 - 1 + 2, "pass C": 4 - 1 + 5, "overwrite R": 10 + 3 + 5}
    # end of solution


# %%
check(by_hand)

# %% [markdown] exercise="1.2" kind="implement" minutes=15 difficulty=2 importance=5 points=3
# ## 1.2 The same by code
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
# **Hint 1.** In `toy("head")`, $p$ is a head that reads $h$. What must happen to it in pass C?
#
# **Hint 2.** Writes are a dict from nodes to values, and a later entry for the same node wins: first freeze, then patch.
#
# **Hint 3.** `writes = {node: b[node] for node in heads(model)} | {h: a[h]}`
#
# **Help.** My result is that of pass B. The freeze comes after the patch and undoes it.
#
# **Help.** The toy with the MLP is wrong. Freeze heads only: by the rule of the paper an MLP belongs to the direct path.
#
# **Another way.** What `run` returns is a dict from nodes to values, so `dict(b) | {h: a[h]}` is the freeze with the patch in it.


# %%
def r_in_pass_c(model, prompts, sender, receiver):
    """What R holds in pass C, for each prompt.

    prompts: x_orig is prompts.orig, x_new is prompts.new.
    sender: such as "0.2@END". receiver: such as "1.0.v@END".
    Returns: a tensor [batch].
    """
    # solution
    # Canary 01eb0c456082b0da: stays with instructors.
    h = Node.parse(sender)
    b = run(model, prompts.orig, reads=heads(model))
    a = run(model, prompts.new, reads=[h])
    writes = {node: b[node] for node in heads(model)} | {h: a[h]}
    c = run(model, prompts.orig, reads=[receiver], writes=writes)
    return c[receiver].sum(-1)
    # end of solution


# %%
check(r_in_pass_c)

# %% [markdown] exercise="1.3" kind="implement" minutes=20 difficulty=2 importance=5 points=3
# ## 1.3 Five treatments
#
# The toy of this chapter: $p = a + h$, $R = p + q + h$, $y = 10R + h$.
# You get $a$, $q$ and $h$ on $x_\text{orig}$ and on $x_\text{new}$.
# Return $y$ on $x_\text{orig}$ after each of five treatments with sender $h$ and receiver $R$.
#
# **Goal.** Plain arithmetic, a line or two for each treatment.
#
# **Out of scope.** A model. The chapter has one that agrees.
#
# **Hint 1.** For each treatment, ask of $p$, of $R$ and of the last $h$: is it set, held, or computed?
#
# **Hint 2.** A path patch has two steps. What would $R$ be, with the new $h$? And then: what is $y$ with that $R$ and the *old* $h$?
#
# **Hint 3.** `"path patch, p frozen": 10 * (a + h + q + h_new) + h`, with `a`, `q` and `h` from $x_\text{orig}$.
#
# **Help.** I get 74 instead of 73. You patched $h$ in pass D as well; there it is as on $x_\text{orig}$.
#
# **Help.** I get 83 twice. $p$ frozen means that it keeps $a + h$ with the old $h$.
#
# **Another way.** Everything is linear here, so each treatment is "nothing" plus 10 times the change of $R$, plus 1 times the change of the last $h$.


# %%
def five(orig: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    """y after each treatment of x_orig.

    orig, new: dicts with the keys "a", "q" and "h".
    Returns: a dict with the keys "nothing", "path patch, p frozen",
    "path patch, p recomputed", "activation patch h" and "overwrite R".
    """
    # solution
    # Canary bc2d43bdbeb8d5cd: stays with instructors.
    a, q, h, h_new = orig["a"], orig["q"], orig["h"], new["h"]
    r_new = (new["a"] + h_new) + new["q"] + h_new
    return {
        "nothing": 10 * (a + h + q + h) + h,
        "path patch, p frozen": 10 * (a + h + q + h_new) + h,
        "path patch, p recomputed": 10 * (a + h_new + q + h_new) + h,
        "activation patch h": 10 * (a + h_new + q + h_new) + h_new,
        "overwrite R": 10 * r_new + h,
    }
    # end of solution


# %%
check(five)
