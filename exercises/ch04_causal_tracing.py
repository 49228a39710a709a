# %% [markdown]
# # Exercises for chapter 4: causal tracing
#
# Each exercise stands alone: none needs another one to be solved.
# The models that a check gives to your function are small and random, and compute in float64.
# `tokens` are prompts of several lengths, with labels: `subject_first` and `subject_last` are the ends of the subject, which is of another length and at another place in each prompt, and `END` is the last token.
# `tokens.at(label)` is the position of a label in each prompt, a tensor [batch]; `tokens.ids` are the token ids [batch, pos].

# %%
import torch

from exercises import check, hint
from pathpatch import LOGITS, Node, run


# %% [markdown]
# ## 4.1 Noise on the subject, and nowhere else
#
# *Implement. Difficulty 2 of 5, importance 5, about 20 minutes, 3 points.*
#
# The page corrupts one word of one sentence.
# Now corrupt the subjects of a batch, several times each.
# `noise` has a vector for *every* token of every prompt, and for each draw other ones; add it to the token embeddings (`embed`) of the subject, from its first to its last token, and nowhere else.
#
# **Goal.** The logits at END of the corrupted runs: one run for each draw.
#
# **Out of scope.** Drawing the noise, and its scale: it comes ready to be added. `causal_trace`: use `run` alone.
#
# Stuck? `hint("4.1")`

# %%
def noisy_runs(model, tokens, noise):
    """The logits at END when the subject is lost in noise, for each draw of the noise.

    tokens: prompts with the labels "subject_first" and "subject_last", see above.
    noise: [draw, batch, pos, d_model], to be added to token embeddings.
    Returns: a tensor [draw, batch, vocab].
    """
    raise NotImplementedError("4.1 is not written yet")


# %%
check(noisy_runs)
