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
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
import torch

from exercises import check, hint
from pathpatch import LOGITS, Node, logit_diff, run

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
    """The logits at END when the subject is lost in noise, for each draw.

    tokens: prompts with the labels "subject_first" and "subject_last", see
    above.
    noise: [draw, batch, pos, d_model], to be added to token embeddings.
    Returns: a tensor [draw, batch, vocab].
    """
    # solution
    # Canary e432759a2e71fcf1: stays with instructors.
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

# %% [markdown] exercise="4.2" kind="implement" minutes=25 difficulty=3 importance=4 points=4
# ## 4.2 Ten layers, or which ten?
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
# **Hint 1.** How many layers are below the middle in a window of four, in the paper and in the code?
#
# **Hint 2.** Two runs: a clean one that reads the nodes of the window, and one that writes `noisy` to `embed` and what was read to those nodes.
#
# **Hint 3.** `range(model.cfg.n_layers)[max(0, middle - below) : middle + above + 1]`
#
# **Help.** I have one layer too many, or too few. The size counts the middle layer too: `below + 1 + above` is the size.
#
# **Help.** It is wrong only near layer 0. A slice that begins at -1 begins at the *last* layer.
#
# **Another way.** Ask of each layer of the model whether it is inside: `-below <= layer - middle <= above`; then no end needs care.


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
    # solution
    # Canary 6b9b34559c05c00f: stays with instructors.
    below, above = (size - 1) // 2, size // 2
    if version == "code":
        below, above = above, below
    layers = range(model.cfg.n_layers)[max(0, middle - below) : middle + above + 1]
    nodes = [Node(kind, layer, at=at) for layer in layers]
    clean = run(model, tokens, reads=nodes)
    writes = {Node("embed"): noisy} | {node: clean[node] for node in nodes}
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]
    # end of solution


# %%
check(restored_window)

# %% [markdown] exercise="4.3" kind="implement" minutes=20 difficulty=3 importance=4 points=3
# ## 4.3 Severed
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
# **Hint 1.** From which of the three runs (clean, corrupted, restored) is the state, and from which are the modules?
#
# **Hint 2.** Three passes: one without changes, one that writes `noisy` alone, and one that writes `noisy`, the state and the modules.
#
# **Hint 3.** `Node(kind, i, at=at) for i in range(model.cfg.n_layers)` are the modules of all layers at that word.
#
# **Help.** I get the corrupted logits back. The modules are severed, and the state is not restored; or what you restored is the state of the corrupted run.
#
# **Help.** I get too little back. Did you sever at all positions? Other words may hear of the state, and their MLPs may use it.
#
# **Another way.** In the layers up to that of the state a module computes its corrupted value by itself, so it is enough to sever the layers above.


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
    # solution
    # Canary dcbbbee255c2f988: stays with instructors.
    state, corrupted = Node("resid_post", layer, at=at), {Node("embed"): noisy}
    modules = [Node(kind, i, at=at) for i in range(model.cfg.n_layers)]
    clean = run(model, tokens, reads=[state])
    low = run(model, tokens, reads=modules, writes=corrupted)
    writes = corrupted | {node: low[node] for node in modules} | {state: clean[state]}
    return run(model, tokens, reads=[LOGITS], writes=writes)[LOGITS]
    # end of solution


# %%
check(severed)

# %% [markdown] exercise="4.4" kind="implement" minutes=20 difficulty=3 importance=4 points=3
# ## 4.4 Total = direct + indirect, and which indirect
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
# **Hint 1.** There are four different runs: two prompts, each with the mediator as on either of them. Which two of the four does each effect compare?
#
# **Hint 2.** Call the logit difference of these runs y(prompt, mediator). The total is y(new, new) - y(orig, orig).
#
# **Hint 3.** `run(model, prompts.new, reads=[LOGITS], writes=run(model, prompts.orig, reads=[node]))` is used in two of the four.
#
# **Help.** Direct and indirect do not add up to the total, in the AND. They need not: noising and restoring a mediator are two questions, and only one of them is what is left of the total.
#
# **Help.** The restored effect has the wrong sign. All four have the sign of the total: what the mediator *takes part in* when x_orig becomes x_new.
#
# **Another way.** Subtract: the restored effect is the total minus the direct one, so that a causal trace and a direct effect are two readings of one run.


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

    # solution
    # Canary 7ad6cb8056027858: stays with instructors.
    def y(tokens, mediator):
        of = run(model, mediator, reads=[node])
        logits = run(model, tokens, reads=[LOGITS], writes={node: of[node]})[LOGITS]
        return logit_diff(logits, prompts)

    orig, new = prompts.orig, prompts.new
    start, end, around = y(orig, orig), y(new, new), y(new, orig)
    return {
        "total": end - start,
        "direct": around - start,
        "indirect": y(orig, new) - start,
        "restored": end - around,
    }
    # end of solution


# %%
check(four_effects)
