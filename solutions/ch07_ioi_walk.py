# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises for chapter 7: a circuit in a real model
#
# Both are about one measurement in SmolLM2: the direct effect of each of its 270 heads on the logit difference (path patching, receiver: the logits), with each sender patched by itself from p_ABC into p_IOI.
# It is in the file, so that nothing has to run: `direct_effects()` has all prompts, `direct_effects("ABBA")` and `direct_effects("BABA")` those of one order of the names.
# Your function leaves its arguments as it found them.

# %%
from math import comb

import numpy as np

from exercises import check, hint
from exercises.measured import direct_effects

# %% [markdown] exercise="7.1" kind="implement" minutes=30 difficulty=3 importance=4 points=4
# ## 7.1 Which heads stand out, in which order?
#
# Write a test that needs no random numbers.
# Prompts that share a frame resemble one another, so a frame counts once, with the mean over its prompts in the order of the names that is looked at.
# If a head did nothing, the mean of each frame would be positive or negative with the same probability.
# Of $n$ frames let $k$ be the larger of two counts: those with a positive mean, and those with a negative one.
# Then $p$ is twice the probability that $n$ fair coins show heads at least $k$ times.
# Many heads are tested in each order, so $p$ is multiplied by their number.
# A head stands out if this is below 0.05 and if the mean over its frames is at least `least` logits in size, in either direction.
#
# When it passes, run it on the real heads, as the last cell does, and look at what the average over both orders hides.
#
# **Goal.** For each order, which rows stand out.
#
# **Out of scope.** Intervals.
#
# **Hint 1.** How many numbers does one head have in one order, once its frames are averaged?
#
# **Hint 2.** Three things make a head stand out that should not: prompts counted as if each were a frame, one direction only, and as many tests as there are heads.
#
# **Hint 3.** `sum(comb(n, j) for j in range(k, n + 1)) / 2**n` is the probability that $n$ fair coins show heads at least $k$ times.
#
# **Help.** Far too many rows stand out. Then every prompt is counted, or nothing is multiplied by the number of heads.
#
# **Help.** Hardly a row stands out. Each order has its own test: a head that is loud in one order and silent in the other has no sign of its own in the two together.
#
# **Another way.** `pandas.DataFrame(effects.T).groupby([order, frame]).mean()` has the means of all frames in one line.


# %%
def standing_out(effects, order, frame, least):
    """The rows that stand out, for each order.

    effects: the change of the logit difference, a numpy array
    [head, prompt], in logits.
    order: "ABBA" or "BABA" for each prompt. frame: the name of its frame.
    Both are lists of texts; a frame may have other numbers of prompts than
    another one.
    least: the smallest mean that counts, in logits.
    Returns: {"ABBA": row numbers, "BABA": row numbers}, each a list in
    rising order.
    """
    # solution
    # Canary 49a93a3b3b6a06f3: stays with instructors.
    order, frame, found = np.array(order), np.array(frame), {}
    for one in ("ABBA", "BABA"):
        frames = np.unique(frame[order == one])
        groups = [effects[:, (order == one) & (frame == name)].mean(1) for name in frames]
        means = np.stack(groups, axis=1)  # [head, frame]
        n, rows = len(frames), []
        for row, of_head in enumerate(means):
            k = max((of_head > 0).sum(), (of_head < 0).sum())
            p = 2 * sum(comb(n, j) for j in range(k, n + 1)) / 2**n
            if p * len(means) < 0.05 and abs(of_head.mean()) >= least:
                rows.append(row)
        found[one] = rows
    return found
    # end of solution


# %%
check(standing_out)

# %% [markdown]
# When it passes, this prints who stands out.


# %%
def real_heads(least=0.2):
    """Print the heads of SmolLM2 that stand out, by order, with their means in logits."""
    both, orders = direct_effects(), {one: direct_effects(one) for one in ("ABBA", "BABA")}
    parts = [orders[one].change for one in orders]
    order = [one for one in orders for _ in orders[one].base]
    frame = [name for one in orders for name in orders[one].templates]
    for one, rows in standing_out(np.hstack(parts), order, frame, least).items():
        means = orders[one].mean()
        print(one, ", ".join(f"{both.names[row][:-6]} {means[row]:+.2f}" for row in rows))


# real_heads()  # take off the first # when it passes

# %% [markdown] exercise="7.2" kind="read a result" minutes=25 difficulty=3 importance=5 points=4
# ## 7.2 What may you conclude?
#
# Look at the measurement before you answer: `direct_effects("BABA").table(12)` has means, intervals, and p values corrected for the number of heads.
# Below are eight statements that somebody might write under its heat map.
# Which of them follow from these numbers?
#
# - **a.** On these prompts the logit difference is lower when the direct path of 23.3 is patched, in both orders of the names.
# - **b.** 23.2 speaks for the answer on its direct path, whichever name comes first.
# - **c.** 24.4 does not stand out in ABBA, so it has no direct effect there.
# - **d.** 18.0 stands out in BABA with all 15 frames on one side, so the answer depends on it.
# - **e.** 17.4 has almost no direct effect, so the task does not need it.
# - **f.** On these prompts the direct effect of 23.3 is larger in size than that of 23.0, in both orders.
# - **g.** To patch 23.0 and 23.3 together changes the logit difference by the sum of their two means.
# - **h.** Without a correction more heads have p < 0.05 than chance would give, so each of these heads has an effect.
#
# **Goal.** "yes" where a statement follows, "no" where it does not.
#
# **Out of scope.** What you know from elsewhere, chapter 7 included: a statement may be true and still not follow from these numbers.
#
# **Hint 1.** For each statement: what would the numbers look like if it were false?
#
# **Hint 2.** Four things are not in the file: what a head does through other heads, what two heads do together, what other prompts would give, and whether a value that cannot be told from zero *is* zero.
#
# **Hint 3.** `effects = direct_effects("ABBA")`, and then `effects.interval()[effects.names.index("24.4.z@END")]`: how large may an effect still be that does not stand out?
#
# **Help.** The number in a statement is right, and the check does not agree. A right number may carry a conclusion that it does not support: read the words after "so".
#
# **Another way.** Write beside each "no" the experiment that would decide it; chapters 5 to 9 have all of them.


# %%
def may_conclude() -> dict[str, str]:
    """Whether each statement follows from direct effects: "yes" or "no"."""
    # solution
    # Canary d20ec1cf58ed03ea: stays with instructors.
    return {
        "a: 23.3 in both orders": "yes",
        "b: 23.2 in either order": "no",
        "c: 24.4 has none in ABBA": "no",
        "d: the answer needs 18.0": "no",
        "e: nobody needs 17.4": "no",
        "f: 23.3 is beyond 23.0": "yes",
        "g: 23.0 and 23.3 add up": "no",
        "h: each has an effect": "no",
    }
    # instead
    # return {
    #     "a: 23.3 in both orders": "?",
    #     "b: 23.2 in either order": "?",
    #     "c: 24.4 has none in ABBA": "?",
    #     "d: the answer needs 18.0": "?",
    #     "e: nobody needs 17.4": "?",
    #     "f: 23.3 is beyond 23.0": "?",
    #     "g: 23.0 and 23.3 add up": "?",
    #     "h: each has an effect": "?",
    # }
    # end of solution


# %%
check(may_conclude)
