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


# %% [markdown]
# ## 4.2 Ten layers, or which ten?
#
# *Implement. Difficulty 3 of 5, importance 4, about 25 minutes, 4 points.*
#
# Restore what the MLPs, or the attention, of several neighbouring layers write at one word: a window, named after its middle layer.
# A window of an odd size reaches as far down as up.
# One of an even size cannot, and there are two conventions: the *paper* of Meng et al. reaches one layer further up than down (ten layers: from 4 below to 5 above), their *code* one layer further down than up (5 below, 4 above).
# At both ends of the model a window is cut off.
# `noisy` are the token embeddings with the noise in them, as the corrupted run has them.
#
# **Goal.** The logits at END of the corrupted run with the window restored, at the word that `at` names, to its values in the clean run.
#
# **Out of scope.** `windows` and `causal_trace`: use `run` alone.
#
# Stuck? `hint("4.2")`

# %%
def restored_window(model, tokens, noisy, kind, at, middle, size, version):
    """The logits at END of the corrupted run in which a window of layers is restored.

    noisy: the token embeddings of the corrupted run [batch, pos, d_model].
    kind: what is restored, "mlp_out" or "attn_out". at: the label of the word.
    middle: the layer after which the window is named. size: layers in a window that
    is not cut off. version: "paper" or "code", see above.
    Returns: a tensor [batch, vocab].
    """
    raise NotImplementedError("4.2 is not written yet")


# %%
check(restored_window)


# %% [markdown]
# ## 4.3 Severed
#
# *Implement. Difficulty 3 of 5, importance 4, about 20 minutes, 3 points.*
#
# Restore the state at one word after one layer, in the corrupted run.
# Some of what comes back goes through the MLPs at that word in the layers above.
# How much comes back without them?
# *Sever* them: hold every MLP at that word (or every attention, whatever `kind` says) at its value in the corrupted run, the *same* corrupted run, while the state is restored.
#
# **Goal.** The logits at END of the corrupted run, with the state restored and the modules severed.
#
# **Out of scope.** New noise in the second pass, as the published code has it. `causal_trace`: use `run` alone.
#
# Stuck? `hint("4.3")`

# %%
def severed(model, tokens, noisy, layer, at, kind):
    """The logits at END of the corrupted run, with one state restored and modules severed.

    noisy: the token embeddings of the corrupted run [batch, pos, d_model].
    layer, at: the state is that after this layer (resid_post), at this label.
    kind: what is severed in all layers at this label, "mlp_out" or "attn_out".
    Returns: a tensor [batch, vocab].
    """
    raise NotImplementedError("4.3 is not written yet")


# %%
check(severed)
