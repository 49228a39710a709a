"""Answers to the exercises of chapter 4."""

import torch

from mutants.answers import right, wrong
from pathpatch import LOGITS, Tokens, run

# ---- 4.1 noise on the subject ----


def inside(tokens, first=0, last=0):
    """Where the subject is, [batch, pos]; its ends may be moved."""
    pos = torch.arange(tokens.ids.shape[1])
    after = pos >= tokens.at("subject_first")[:, None] + first
    return after & (pos <= tokens.at("subject_last")[:, None] + last)


def runs(model, tokens, noise, where=None, put=torch.add):
    clean = run(model, tokens, reads=["embed"])["embed"]
    where = inside(tokens) if where is None else where
    noisy = [torch.where(where[..., None], put(clean, one), clean) for one in noise]
    return torch.stack(
        [run(model, tokens, reads=[LOGITS], writes={"embed": x})[LOGITS] for x in noisy]
    )


@right("4.1")
def word_by_word(model, tokens, noise):
    clean, rows = run(model, tokens, reads=["embed"])["embed"], []
    for draw in noise:
        noisy = clean.clone()
        ends = zip(tokens.at("subject_first"), tokens.at("subject_last"), strict=True)
        for row, (first, last) in enumerate(ends):
            noisy[row, first : last + 1] += draw[row, first : last + 1]
        rows.append(run(model, tokens, reads=["logits@END"], writes={"embed": noisy})["logits@END"])
    return torch.stack(rows)


@right("4.1")
def into_the_stream_and_all_draws_at_once(model, tokens, noise):
    """Below layer 0 there is nothing but the embeddings; and draws may be prompts of one batch."""
    draws = len(noise)
    places = {label: at.repeat(draws) for label, at in tokens.positions.items()}
    many = Tokens(tokens.ids.repeat(draws, 1), places)
    stream = run(model, many, reads=["0.resid_pre"])["0.resid_pre"]
    stream = stream + (noise * inside(tokens)[..., None]).flatten(0, 1)
    found = run(model, many, reads=[LOGITS], writes={"0.resid_pre": stream})[LOGITS]
    return found.unflatten(0, (draws, -1))


@wrong("4.1", "on all tokens, and not only on the subject")
def noise_everywhere(model, tokens, noise):
    return runs(model, tokens, noise, torch.ones_like(tokens.ids, dtype=torch.bool))


@wrong("4.1", "the last token of the subject is left out")
def stopped_before_the_last(model, tokens, noise):
    return runs(model, tokens, noise, inside(tokens, last=-1))


@wrong("4.1", "the token after the subject gets noise too")
def went_one_too_far(model, tokens, noise):
    return runs(model, tokens, noise, inside(tokens, last=1))


@wrong("4.1", "on the last token of the subject only")
def only_the_last_word(model, tokens, noise):
    only = torch.arange(tokens.ids.shape[1]) == tokens.at("subject_last")[:, None]
    return runs(model, tokens, noise, only)


@wrong("4.1", "where any of the prompts has its subject")
def one_mask_for_all(model, tokens, noise):
    return runs(model, tokens, noise, inside(tokens).any(0).expand_as(tokens.ids))


@wrong("4.1", "where the first one has its subject")
def slices_of_the_first(model, tokens, noise):
    return runs(model, tokens, noise, inside(tokens)[:1].expand_as(tokens.ids))


@wrong("4.1", "the noise takes the place of the embeddings")
def replaced_the_embeddings(model, tokens, noise):
    return runs(model, tokens, noise, put=lambda clean, one: one)


@wrong("4.1", "a draw stands on top of those before it")
def added_up_the_draws(model, tokens, noise):
    noisy, found = run(model, tokens, reads=["embed"])["embed"], []
    for draw in noise:
        noisy += draw * inside(tokens)[..., None]
        found.append(run(model, tokens, reads=[LOGITS], writes={"embed": noisy})[LOGITS])
    return torch.stack(found)


@wrong("4.1", "the mean over the draws is returned")
def averaged_the_draws(model, tokens, noise):
    return runs(model, tokens, noise).mean(0)


@wrong("4.1", "draws and prompts have changed places")
def stacked_the_other_way(model, tokens, noise):
    return torch.stack([*runs(model, tokens, noise)], 1)


@wrong("4.1", "every draw has the noise of the first one")
def one_draw_for_all(model, tokens, noise):
    return runs(model, tokens, noise[:1].expand_as(noise))


@wrong("4.1", "three times as large")
def scaled_it_again(model, tokens, noise):
    return runs(model, tokens, 3 * noise)


@wrong("4.1", "the last position is taken")
def read_the_padding(model, tokens, noise):
    clean, found = run(model, tokens, reads=["embed"])["embed"], []
    for draw in noise:
        noisy = clean + draw * inside(tokens)[..., None]
        found.append(run(model, tokens, reads=["logits"], writes={"embed": noisy})["logits"][:, -1])
    return torch.stack(found)


@wrong("4.1", "changed its argument noise in place")
def wrote_into_the_noise(model, tokens, noise):
    noise[:, ~inside(tokens)] = 0
    return runs(model, tokens, noise)
