# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

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

# %% [markdown] exercise="4.1" kind="implement" minutes=20 difficulty=2 importance=5 points=3
# ## 4.1 Noise on the subject, and nowhere else
#
# The page corrupts one word of one sentence.
# Now corrupt the subjects of a batch, several times each.
# `noise` has a vector for *every* token of every prompt, and for each draw other ones; add it to the token embeddings (`embed`) of the subject, from its first to its last token, and nowhere else.
#
# **Goal.** The logits at END of the corrupted runs: one run for each draw.
#
# **Out of scope.** Drawing the noise, and its scale: it comes ready to be added. `causal_trace`: use `run` alone.
#
# **Hint 1.** Which tokens of *one* prompt get noise, written as a condition on their position?
#
# **Hint 2.** Read the embeddings once, in a run without changes. Each draw starts from them again.
#
# **Hint 3.** `pos = torch.arange(tokens.ids.shape[1])` and `(first[:, None] <= pos) & (pos <= last[:, None])`, a mask [batch, pos].
#
# **Help.** The first draw is right and the later ones are not. You add to the same tensor each time, so that the second draw stands on top of the first: start from the clean embeddings.
#
# **Help.** Prompts whose subject is one token are right, and longer ones are not. The last token of the subject belongs to it, and a slice stops before its end.
#
# **Another way.** Multiply the noise with a mask [batch, pos, 1] of ones and zeros: then no position needs an index.


# %%
def noisy_runs(model, tokens, noise):
    """The logits at END when the subject is lost in noise, for each draw of the noise.

    tokens: prompts with the labels "subject_first" and "subject_last", see above.
    noise: [draw, batch, pos, d_model], to be added to token embeddings.
    Returns: a tensor [draw, batch, vocab].
    """
    # solution
    embed = Node("embed")
    clean = run(model, tokens, reads=[embed])[embed]
    first, last = (tokens.at(f"subject_{end}")[:, None] for end in ("first", "last"))
    pos = torch.arange(tokens.ids.shape[1])
    subject = ((first <= pos) & (pos <= last))[..., None]  # [batch, pos, 1]
    found = []
    for draw in noise:
        writes = {embed: clean + draw * subject}
        found.append(run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS])
    return torch.stack(found)
    # end of solution


# %%
check(noisy_runs)
