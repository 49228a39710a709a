# %% [markdown]
# # Exercises for chapter 4: causal tracing
#
# Each exercise stands alone: none needs another one to be solved.
# The models that a check gives to your function are small and random, and compute in float64.
# `tokens` are prompts of several lengths, with labels: `subject_first` and `subject_last` are the ends of the subject, which is of another length and at another place in each prompt, and `END` is the last token.
# `tokens.at(label)` is the position of a label in each prompt, a tensor [batch]; `tokens.ids` are the token ids [batch, pos].
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
import torch

from exercises import check, hint
from pathpatch import LOGITS, Node, logit_diff, run


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
    """The logits at END when the subject is lost in noise, for each draw.

    tokens: prompts with the labels "subject_first" and "subject_last", see
    above.
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
    """The logits at END of the corrupted run with a window restored.

    noisy: the token embeddings of the corrupted run [batch, pos, d_model].
    kind: what is restored, "mlp_out" or "attn_out". at: the label of the
    word.
    middle: the layer after which the window is named. size: layers in a
    window that is not cut off. version: "paper" or "code", see above.
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
    """The logits at END, with one state restored and modules severed.

    noisy: the token embeddings of the corrupted run [batch, pos, d_model].
    layer, at: the state is that after this layer (resid_post), at this
    label.
    kind: what is severed in all layers at this label, "mlp_out" or
    "attn_out".
    Returns: a tensor [batch, vocab].
    """
    raise NotImplementedError("4.3 is not written yet")


# %%
check(severed)


# %% [markdown]
# ## 4.4 Total = direct + indirect, and which indirect
#
# *Implement. Difficulty 3 of 5, importance 4, about 20 minutes, 3 points.*
#
# Take the prompt as the cause, and some node as the mediator.
# The *total* effect is what the change from x_orig to x_new does to the logit difference.
# The *direct* effect is what it does while the mediator stays as it is on x_orig.
# The *indirect* effect is what the mediator does alone: x_orig is run, and the mediator is as on x_new (noising).
# The *restored* effect is asked as causal tracing asks it: x_new is run with the mediator as on x_orig, and this is how much comes back.
# Write all four, and then find out which two of them add up to the total, always, and which two do so only where the mediator and the rest do not interact.
#
# **Goal.** Four numbers for each prompt, in logits.
#
# **Out of scope.** Noise: here x_new is another prompt, and `prompts.new` are its tokens.
#
# Stuck? `hint("4.4")`

# %%
def four_effects(model, prompts, node):
    """Effects of a change of the prompt, through and around a mediator.

    prompts: x_orig is prompts.orig, x_new is prompts.new. node: the
    mediator, such as "0.1@END".
    Returns: a dict of tensors [batch], changes of the logit difference:
    "total": x_new against x_orig; "direct": x_new with the mediator of
    x_orig, against x_orig;
    "indirect": x_orig with the mediator of x_new, against x_orig;
    "restored": x_new against x_new with the mediator of x_orig.
    """

    raise NotImplementedError("4.4 is not written yet")


# %%
check(four_effects)
