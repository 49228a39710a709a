"""Pass D of a path patch, alone and after pass C, with each place where one can go wrong."""

from dataclasses import replace

from torch import Tensor

from exercises.checks.ch05_passes import Question, Slip, pass_c, patch
from exercises.checks.ch05_values import (
    Values,
    averaged,
    next_head,
    of,
    of_first,
    passed,
    values,
    whole_layer,
)
from pathpatch import Node, Tokens
from pathpatch.nodes import Model, heads, mlps

ALL = Node("logits")  # at all positions


def pass_d(
    model: Model, tokens: Tokens, stored: Values, slip: Slip, before: Values | None = None
) -> Tensor:
    """The logits of pass D at all positions. before: what else is written, before R."""
    writes = dict(stored)
    if slip("R is not written: these are the logits of pass B"):
        writes = {}
    if len(writes) > 1:
        if slip("only the first of the receivers is written"):
            writes = dict([*writes.items()][:1])
        if slip("only the last of the receivers is written"):
            writes = dict([*writes.items()][-1:])
    if slip("all heads are frozen in pass D too; there everything is recomputed"):
        writes = values(model, tokens, heads(model)) | writes
    if slip("the MLPs are frozen in pass D; there everything is recomputed"):
        writes = values(model, tokens, mlps(model)) | writes
    if slip("R is written in all heads of its layer, and not in one"):
        for node, new in stored.items():
            writes |= dict.fromkeys(whole_layer(model, [node]), new)
    if slip("R is written in the head next to its own"):
        writes = {next_head(model, node): new for node, new in writes.items()}
    if slip("R is written at all positions, and not only at its own"):
        length = tokens.ids.shape[1]
        writes = {
            n.everywhere(): new if n.at is None else new[:, None].expand(-1, length, -1)
            for n, new in writes.items()
        }
    if slip("R is written at its position in the first prompt, in all prompts"):
        writes = {of(node): new for node, new in writes.items()}
    if slip("R is written at END, and not at its own position"):
        writes = {n if n.at is None else replace(n, at="END"): v for n, v in writes.items()}
    if slip("the stored values are averaged over the prompts"):
        writes = {node: averaged(new) for node, new in writes.items()}
    if slip("every prompt gets the stored value of the first one"):
        writes = {node: of_first(new) for node, new in writes.items()}
    return passed(model, tokens, (before or {}) | writes, [ALL])[ALL]


def c_and_d(q: Question, slip: Slip) -> Tensor:
    """The logits of pass D at all positions, after pass C."""
    model, reads = q.model, list(q.receivers)
    if slip("R is stored and set at all positions, and not only at its own"):
        reads = [node.everywhere() for node in reads]
    if slip("all heads of R's layer are stored and set, each with its own value"):
        reads = [*reads, *whole_layer(model, reads)]
    if slip("the residual stream before R is stored and set, and not one input of one head"):
        reads = [
            replace(n, kind="resid_pre", head=None, shared=False) if n.head is not None else n
            for n in reads
        ]
    if slip("the query of R's head is stored and set, whatever R is"):
        reads = [
            replace(n, kind="q", head=n.heads(model)[0], shared=False) if n.head is not None else n
            for n in reads
        ]
    if slip("h is patched and everything reacts: that is activation patching"):
        return passed(model, q.orig, patch(q, slip), [ALL])[ALL]
    if slip("the logits of pass C are returned, where R is not used"):
        return pass_c(q, slip, [ALL])[ALL]
    stored = pass_c(q, slip, list(dict.fromkeys(reads)))
    again = slip("h is patched again in pass D: there it is as on x_orig")
    before = patch(q, slip) if again else None
    if slip("the senders are held at their old values in pass D; there all is recomputed"):
        before = values(model, q.orig, q.senders)
    tokens = q.new if slip("pass D is run on x_new") else q.orig
    found = pass_d(model, tokens, stored, slip, before)
    if slip("the change of the logits is returned, and not the logits themselves"):
        found = found - values(model, q.orig, [ALL])[ALL]
    return found


def at_end(tokens: Tokens, logits: Tensor, slip: Slip) -> Tensor:
    """The logits at END, of those at all positions."""
    if slip("the logits of all positions are returned, and not those at END"):
        return logits
    if slip("the last position is taken: that is END only in the longest of the prompts"):
        return logits[:, -1]
    if slip("the first position is taken, and not END"):
        return logits[:, 0]
    if slip("every prompt is read at the END of the first one"):
        return logits[:, int(tokens.at("END")[0])]
    if slip("the mean over all positions is taken, and not END"):
        return logits.mean(1)
    return logits[tokens.index("END")]


def without(slip: Slip, *words: str) -> Slip:
    """Leave out mistakes that cannot be told from others here. words: with which they begin."""
    return lambda mistake: not mistake.startswith(words) and slip(mistake)
