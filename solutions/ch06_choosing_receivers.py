# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises for chapter 6: choosing receivers
#
# The models that a check gives to your function compute in float64.
# Your function leaves its arguments and the model as it found them: nothing is changed in place, no hook stays.

# %%
from exercises import check, hint
from exercises.planted import planted
from pathpatch import LOGITS, Node, heads, path_patch, run, path_sweep

# %% [markdown] exercise="6.1" kind="open question" minutes=30 difficulty=4 importance=5 points=6
# ## 6.1 Choose the receiver for a question
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
# **Hint 1.** Is the question about where a head looks, about what it can be found by, or about what it carries?
#
# **Hint 2.** A query decides where a head looks, a key whether a place is found, a value what is carried from there.
#
# **Hint 3.** In question b, 17.4 looks *from* S2 *at* S1+1. Which of its inputs is read at the one, and which at the other?
#
# **Help.** My senders are at another position than my receivers. A direct path stays in its position: only attention moves anything, and all heads are frozen in pass C.
#
# **Another way.** Question a has a second good plan, with denoising: does what 20.0 writes on x_orig, given to `23.0.q@END` alone, bring 23.0 back to IO?
#
# **Worked answer.** (6 of 6) Question a. Senders `20.0.z@END`, receivers `23.0.q@END`, noising. Because: the question is where 23.0 looks, and that is decided by its query at END and its keys at the names. 20.0 writes at END, so only the query can see it on a direct path; its keys are at IO and S1, where 20.0 wrote nothing. With the whole head as receiver I could not tell looking from carrying. All other heads are frozen, so that the effect is not what 20.0 does through heads between. Against: the path effect is a small part of the total effect of 20.0, or the attention of 23.0 from END to IO does not fall when the query is patched.
#
# **Worked answer.** (4 of 6) Question c. Senders `embed@S2`, receivers `23.3.v@S2`, noising. Because: which name stands there is in the embedding, and the value carries it. (A point is missing: what would differ with the key as receiver is not said.) Against: if there is no effect. (A point is missing: how large an effect is expected, and in which direction, is not said; 23.3 would suppress the name of x_new instead, so the sign is known.)


# %%
def my_choice() -> dict:
    """A plan for one of the three questions.

    Returns: a dict with "question" ("a", "b" or "c"), "senders" and
    "receivers" (lists of nodes with positions: IO, S1, S1+1, S2 or END),
    "direction" ("noising" or "denoising"), "because" and "against" (texts
    of at least 40 words of your own).
    """
    # solution
    # Canary 736019fb7d1d9c5f: stays with instructors.
    return {
        "question": "a",
        "senders": ["20.0.z@END"],
        "receivers": ["23.0.q@END"],
        "direction": "noising",
        "because": "The question is where 23.0 looks. That is decided by its query at END and its "
        "keys at the names. 20.0 writes at END, so on a direct path only the query can see it. "
        "With the whole head as receiver, looking and carrying could not be told apart. All "
        "other heads are frozen, so that what goes through heads between does not count.",
        "against": "It would speak against the idea if the path effect were a small part of the "
        "total effect of 20.0, say below a tenth, or if it were negative for the foil as much as "
        "for the answer, or if the attention of 23.0 from END to IO did not fall when only its "
        "query is set to what pass C stored.",
    }
    # end of solution


# %%
check(my_choice)

# %% [markdown] exercise="6.2" kind="implement" minutes=15 difficulty=3 importance=4 points=3
# ## 6.2 A key that several heads share
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
# **Hint 1.** With six query heads and two shared keys, which query heads read the first one?
#
# **Hint 2.** `Node(..., shared=True)` counts key/value heads, and means all their readers. Turn the number of the query head into the number of its key/value head.
#
# **Hint 3.** `Node("v", 1, 0, shared=True, at="S2")` is the value of the first key/value head of layer 1.
#
# **Help.** An error says that the key/value head is out of range. You divided by the number of shared vectors; divide by the number of readers that each has.
#
# **Another way.** Give the copies of all query heads of the group as receivers: with $g$ heads in a group they begin at `head - head % g`.


# %%
def patch_shared(model, prompts, sender, layer, head, kind, at):
    """Path patch the sender to a key or value that heads share.

    prompts: x_orig is prompts.orig, x_new is prompts.new. sender: a name,
    such as "0.3@S2" or "embed@S2". kind: "k" or "v". at: a position, "S2"
    or a number. All heads are frozen in pass C.
    Returns: the logits of pass D at END, a tensor [batch, vocab].
    """
    # solution
    # Canary 8c8aaea4fa71c022: stays with instructors.
    receiver = Node(kind, layer, head // model.cfg.query_heads_per_kv, shared=True, at=at)
    return path_patch(model, prompts, senders=[sender], receivers=[receiver])
    # end of solution


# %%
check(patch_shared)

# %% [markdown] exercise="6.3" kind="capstone" minutes=60 difficulty=4 importance=5 points=8
# ## 6.3 Walk a planted circuit
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
# **Hint 1.** A sweep from all heads to the logits finds the last layer. Whose inputs are next?
#
# **Hint 2.** For each head that was found, sweep all heads into its `q@END`, and into its `k` and `v` at IO, S1 and S2, at the same position. Keep what is not zero.
#
# **Hint 3.** `path_sweep(made.model, made.prompts["abc"], senders=heads(made.model, "S2"), receivers=["1.2.v@S2"]).mean()`
#
# **Help.** I find an edge from layer 0 to layer 2. A head of layer 1 is between. Path patching freezes it; activation patching does not.
#
# **Help.** My effects are the right numbers with the wrong sign. An effect is the metric with the patch minus the one without.
#
# **Another way.** No walk at all: with twelve heads, one sweep for each input and position of every head is affordable, and finds the same edges.


# %%
def planted_circuit() -> tuple[str, dict[tuple[str, str], float]]:
    """Your key, and every edge of its machine with its effect.

    Effects are changes of the logit difference.
    Returns: for example ("ada", {("1.0.z@END", "2.0.q@END"): -4.0}), but
    with all edges.
    """
    # solution
    # Canary 3b34e1d7a3120fa9: stays with instructors.
    key = "ada"
    made, edges = planted(key), {}
    todo = ["logits@END"]
    while todo:
        receiver = todo.pop()
        at = receiver.split("@")[1]
        effects = path_sweep(
            made.model,
            made.prompts["abc"],
            senders=heads(made.model, at),
            receivers=[receiver],
        )
        for (sender,), change in zip(effects.senders, effects.mean(), strict=True):
            if abs(change) > 1e-9:
                edges[str(sender), receiver] = round(float(change), 6)
                name = f"{sender.layer}.{sender.head}"
                todo += [f"{name}.q@END"]
                todo += [f"{name}.{kind}@{at}" for kind in "kv" for at in ("IO", "S1", "S2")]
    return key, edges
    # end of solution


# %%
check(planted_circuit)
