# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises for chapter 2: the task
#
# Each exercise stands alone: none needs another one to be solved.
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
from exercises import check, hint

# %% [markdown] exercise="2.1" kind="implement" minutes=20 difficulty=2 importance=5 points=3
# ## 2.1 Pairs that differ in one fact
#
# A frame has places for three names: two people, and then the one who gives, who is one of the two.
# Draw pairs of a clean and a corrupt prompt that differ in one fact.
#
# - `"repetition"`: in the corrupt prompt nobody comes twice. The first two names stay, and a third name gives.
# - `"who"`: in the corrupt prompt somebody comes twice, and it is the other one. The first two names stay.
# - `"names"`: as in p_ABC, three other names, of which none comes twice and none is in the clean prompt.
#
# In half of the pairs the giver is named second (ABBA), in the other half first (BABA): pairs 0, 2, 4 and so on are ABBA.
#
# **Goal.** Each pair with names drawn for it alone, such that nothing else differs, not even now and then.
#
# **Out of scope.** Tokens: all names are one token.
#
# **Hint 1.** How many different names does one pair need, both prompts together?
#
# **Hint 2.** Draw all of them at once, without replacement. Then say for each of the six places whose it is.
#
# **Hint 3.** `io, s, x, y, z = random.sample(names, 5)`, of which two of the facts need only three.
#
# **Help.** Nearly all pairs are right, and a few are not. A name that is drawn by itself is now and then one that is taken: the list of names in the check is short, so that it happens.
#
# **Help.** The order is wrong in every second pair. ABBA and BABA say who is named first; who gives is the same person in both.
#
# **Another way.** Shuffle a copy of the names for each pair, and take the first five.


# %%
def pairs_for(fact, frame, names, n, random):
    """Pairs of prompts that differ in one fact.

    fact: "repetition", "who" or "names", see above. frame: such as "When
    {0} and {1} went to the store, {2} gave a drink to". names: a list of
    texts, at least five.
    n: how many pairs. random: a random.Random, from which all names are
    drawn.
    Returns: a list of n pairs (clean, corrupt) of texts.
    """
    # solution
    # Canary 8781f763ad2af8b7: stays with instructors.
    pairs = []
    for i in range(n):
        io, s, x, y, z = random.sample(names, 5)
        first = (io, s) if i % 2 == 0 else (s, io)
        corrupt = {"repetition": (*first, x), "who": (*first, io), "names": (x, y, z)}[fact]
        pairs.append((frame.format(*first, s), frame.format(*corrupt)))
    return pairs
    # end of solution


# %%
check(pairs_for)
