# %% [markdown]
# # Exercises for chapter 2: the task
#
# Each exercise stands alone: none needs another one to be solved.
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
from exercises import check, hint


# %% [markdown]
# ## 2.1 Pairs that differ in one fact
#
# *Implement. Difficulty 2 of 5, importance 5, about 20 minutes, 3 points.*
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
# Stuck? `hint("2.1")`

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
    raise NotImplementedError("2.1 is not written yet")


# %%
check(pairs_for)
