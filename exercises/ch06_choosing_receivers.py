# %% [markdown]
# # Exercises for chapter 6: choosing receivers
#
# The models that a check gives to your function compute in float64.
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
from exercises import check, hint
from exercises.planted import planted
from pathpatch import LOGITS, Node, heads, path_patch, run, path_sweep


# %% [markdown]
# ## 6.1 Choose the receiver for a question
#
# *Open question. Difficulty 4 of 5, importance 5, about 30 minutes, 6 points.*
#
# Choose one of three questions about a model that does the IOI task.
# Head numbers are those of SmolLM2; you need not run anything.
#
# - **a.** Does 20.0, which looks from END at S2, decide *where* the name mover 23.0 looks?
# - **b.** Does 16.0 help 17.4 to find the token after S1? (17.4 looks from S2 at S1+1.)
# - **c.** 23.3 looks from END at S2 and lowers the name that it finds there. How much of what it says is *which name* stands at S2?
#
# Say which senders and receivers you would take, at which positions and in which direction; why these and no others; and which result would speak against the idea in the question.
#
# **Goal.** A plan that somebody else could run without asking you anything.
#
# **Out of scope.** Running it, and the choice of prompts.
#
# **Marking.** A point for each line.
#
# | | |
# | --- | --- |
# | the receiver is the input that the question is about | and not a neighbouring one, nor the whole head |
# | the position of the receiver follows from what it does | a query where the head is active, a key or value where it looks |
# | the sender is at the same position as the receiver | all heads are frozen, so nothing comes from elsewhere |
# | `because` says what is held, and what would differ with another receiver | |
# | the direction fits the question | necessary: noising; sufficient: denoising |
# | `against` names a result, with its sign or size, that would change your mind | and not "no effect" alone |
#
# Stuck? `hint("6.1")`

# %%
def my_choice() -> dict:
    """A plan for one of the three questions.

    Returns: a dict with "question" ("a", "b" or "c"), "senders" and
    "receivers" (lists of nodes with positions: IO, S1, S1+1, S2 or END),
    "direction" ("noising" or "denoising"), "because" and "against" (texts
    of at least 40 words of your own).
    """
    raise NotImplementedError("6.1 is not written yet")


# %%
check(my_choice)


# %% [markdown]
# ## 6.2 A key that several heads share
#
# *Implement. Difficulty 3 of 5, importance 4, about 15 minutes, 3 points.*
#
# Under grouped queries several query heads read one key and one value vector.
# In this library every query head has a copy of its own, so `1.4.v@S2` is one reader's copy, and patching it leaves the neighbours alone.
# Write the other thing: a path patch from a sender to the vector itself, so that *every* query head that shares it sees the change.
# You get the number of one of these query heads.
#
# **Goal.** The logits at END of pass D, for any group size, one included.
#
# **Out of scope.** Writing the passes: `path_patch` is allowed.
#
# Stuck? `hint("6.2")`

# %%
def patch_shared(model, prompts, sender, layer, head, kind, at):
    """Path patch the sender to a key or value that heads share.

    prompts: x_orig is prompts.orig, x_new is prompts.new. sender: a name,
    such as "0.3@S2" or "embed@S2". kind: "k" or "v". at: a position, "S2"
    or a number. All heads are frozen in pass C.
    Returns: the logits of pass D at END, a tensor [batch, vocab].
    """
    raise NotImplementedError("6.2 is not written yet")


# %%
check(patch_shared)


# %% [markdown]
# ## 6.3 Walk a planted circuit
#
# *Capstone. Difficulty 4 of 5, importance 5, about 60 minutes, 8 points.*
#
# `planted(key)` is an IOI machine of three layers of four heads, and its wiring follows from the key: use the one you were given, or your name.
# Most of its heads write where nobody reads.
# Find all edges from a head to a head's input, or to the logits, whose path effect on the logit difference is not zero, and the effect of each.
# Begin at the logits: which heads at END have a direct effect?
# Then take each of them as a receiver, with all three inputs at the positions that its attention asks for, and so on down.
#
# **Goal.** Your key and a dict from (sender, receiver) to effect. All edges, and no others.
#
# **Out of scope.** Edges from the embedding, and joint effects of several senders.
#
# Stuck? `hint("6.3")`

# %%
def planted_circuit() -> tuple[str, dict[tuple[str, str], float]]:
    """Your key, and every edge of its machine with its effect.

    Effects are changes of the logit difference.
    Returns: for example ("ada", {("1.0.z@END", "2.0.q@END"): -4.0}), but
    with all edges.
    """
    raise NotImplementedError("6.3 is not written yet")


# %%
check(planted_circuit)
