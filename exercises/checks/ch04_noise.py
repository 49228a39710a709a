"""The check of 4.1: noise on the subject alone."""

from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor

from exercises.checks.cases import Case, check
from exercises.checks.ch04_draws import (
    FIRST,
    LAST,
    of_first_prompt,
    random_noise,
    span,
    where,
    with_subject,
)
from exercises.checks.ch05_draws import Lab, few_labs
from exercises.checks.ch05_last_pass import ALL, at_end
from exercises.checks.ch05_passes import Slip
from exercises.checks.ch05_values import passed, values
from pathpatch import Node, Tokens

EMBED = Node("embed")


def _drawn(random: Random) -> Iterator[Case]:
    for first, deep, low in few_labs(random):
        yield _case(first, 2)
        yield _case(deep, 3)
        yield _case(low, 1)
        yield _case(first, 3)
        yield _case(low, 2)


def _case(lab: Lab, draws: int) -> Case:
    tokens = with_subject(lab)
    noise = random_noise(lab.random, draws, *tokens.ids.shape, lab.model.cfg.d_model)
    shown = f"noisy_runs({lab.shown}, tokens, noise of the shape {list(noise.shape)})"
    return Case(f"{shown}, {where(tokens)}", (lab.model, tokens, noise))


@check(_drawn, 5, advice="Print where the embeddings you write differ from the clean ones.")
def noisy_runs(model, tokens, noise, *, slip):
    subject = _subject(tokens, slip)[..., None]  # [batch, pos, 1]
    clean = values(model, tokens, [EMBED])[EMBED]
    if slip("every draw has the noise of the first one"):
        noise = noise[:1].expand_as(noise)
    if slip("every prompt has the noise of the first one"):
        noise = noise[:, :1].expand_as(noise)
    if slip("the mean over the draws is taken before the runs"):
        noise = noise.mean(0, keepdim=True)
    if slip("all tokens of the subject get one noise vector, that of its first token"):
        ends = noise[:, *tokens.index(FIRST)]
        noise = ends[:, :, None].expand_as(noise)
    if slip("the noise is taken for the subject's own tokens, from position 0 on"):
        rows = torch.arange(len(tokens))[:, None]
        pos = torch.arange(noise.shape[2])
        noise = noise[:, rows, (pos - tokens.at(FIRST)[:, None]).clamp(min=0)]
    if slip("the noise is subtracted"):
        noise = -noise
    if slip("the noise is made three times as large; it comes ready to be added"):
        noise = 3 * noise
    if slip("a draw stands on top of those before it: start from the clean embeddings again"):
        noise = noise.cumsum(0)
    if slip("the noise takes the place of the embeddings, and is not added to them"):
        runs = [torch.where(subject, draw, clean) for draw in noise]
    elif slip("all that is not the subject is set to zero"):
        runs = [(clean + draw) * subject for draw in noise]
    else:
        runs = [clean + draw * subject for draw in noise]
    found = torch.stack([_logits(model, tokens, embeddings, slip) for embeddings in runs])
    if slip("nothing is corrupted: these are the clean logits"):
        found = _logits(model, tokens, clean, slip).expand_as(found)
    if slip("the change of the logits is returned, and not the logits themselves"):
        found = found - _logits(model, tokens, clean, slip)
    if slip("the mean over the draws is returned, and not each draw"):
        return found.mean(0)
    if slip("only the first draw is returned"):
        return found[0]
    if slip("only the last draw is returned"):
        return found[-1]
    if slip("draws and prompts have changed places"):
        return found.transpose(0, 1)
    return found


def _logits(model: object, tokens: Tokens, embeddings: Tensor, slip: Slip) -> Tensor:
    return at_end(tokens, passed(model, tokens, {EMBED: embeddings}, [ALL])[ALL], slip)


def _subject(tokens: Tokens, slip: Slip) -> Tensor:
    """Which tokens get noise, [batch, pos]."""
    pos = torch.arange(tokens.ids.shape[1])
    first, last, end = (tokens.at(label)[:, None] for label in (FIRST, LAST, "END"))
    if slip("the noise falls on all tokens, and not only on the subject"):
        return torch.ones_like(span(tokens))
    if slip("the noise falls on the last token of the subject only"):
        return pos == last
    if slip("the noise falls on the first token of the subject only"):
        return pos == first
    if slip("the noise falls on the first and last token of the subject, not on those between"):
        return (pos == first) | (pos == last)
    if slip("the last token of the subject is left out: it belongs to the subject"):
        return (first <= pos) & (pos < last)
    if slip("the first token of the subject is left out: it belongs to the subject"):
        return (first < pos) & (pos <= last)
    if slip("the token after the subject gets noise too"):
        return (first <= pos) & (pos <= last + 1)
    if slip("every prompt has noise where the first one has its subject"):
        return span(of_first_prompt(tokens))
    if slip("every prompt has noise where any of the prompts has its subject"):
        return span(tokens).any(0).expand(len(tokens), -1)
    if slip("the noise falls on everything from the subject on"):
        return first <= pos
    if slip("the noise falls on everything up to the end of the subject"):
        return pos <= last
    if slip("the noise falls on END"):
        return pos == end
    if slip("the noise falls on everything but the subject"):
        return ~span(tokens)
    return span(tokens)
