"""The check of 3.3: a mask that mixes prompts is to be repaired."""

from collections.abc import Iterator
from random import Random

import torch

from exercises.checks.cases import Case, check


def _drawn(random: Random) -> Iterator[Case]:
    while True:
        yield _case(random, batch=random.randint(3, 5))
        yield _case(random, batch=random.randint(4, 5), missing=2)
        yield _case(random, batch=2, missing=1, heads=random.randint(2, 4))
        yield _case(random, batch=1)
        yield _case(random, batch=1, missing=1)
        yield _case(random, batch=random.randint(2, 5), heads=random.randint(2, 4))
        yield _case(random, batch=3, missing=3)


def _case(random: Random, batch: int, missing: int = 0, heads: int = 0) -> Case:
    """Where prompts have the word, it is the first token in one and the last in none."""
    shape = [batch, random.randint(7, 9), *([heads] if heads else []), random.randint(2, 6)]
    generator = torch.Generator().manual_seed(random.randrange(2**32))
    both = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    with_word = random.sample(range(batch), batch - missing)
    places = [0, *random.sample(range(1, shape[1] - 1), batch)]
    at = [-1] * batch
    for row, place in zip(with_word, places, strict=False):
        at[row] = place
    shown = f"set_at(old, new, tensor({at})), old and new of the shape {shape}"
    return Case(shown, (both[0], both[1], torch.tensor(at)))


@check(
    _drawn,
    7,
    advice="Compare with `old`, prompt by prompt: at which positions does the result differ?",
)
def set_at(old, new, at, *, slip):
    if slip("the function is still as it was given"):
        found = old.clone()
        found[:, at] = new[:, at]
        return found
    if slip("old and new have changed places"):
        old, new = new, old
    pos = torch.arange(old.shape[1])
    here = pos == at[:, None]  # [batch, pos]
    lacks = at < 0
    if slip("a word at position 0 counts as missing"):
        here = here & (pos > 0)
    if slip("every prompt is patched at the positions of all prompts"):
        here = here.any(0).expand_as(here)
    if slip("every prompt that has the word is patched at the positions of all prompts"):
        here = here.any(0) & ~lacks[:, None]
    if slip("every prompt is patched at the position of the first prompt"):
        here = here[:1].expand_as(here)
    if slip("a prompt without the word is patched at the last position: -1 means that in Python"):
        here = here | (lacks[:, None] & (pos == len(pos) - 1))
    if slip("a prompt without the word is patched at position 0"):
        here = here | (lacks[:, None] & (pos == 0))
    if slip("a prompt without the word is patched everywhere; it stays as it is"):
        here = here | lacks[:, None]
    if slip("one prompt lacks the word, and so none is patched"):
        here = here & ~lacks.any()
    if slip("the last prompt is left out"):
        here = here & (torch.arange(len(at)) < len(at) - 1)[:, None]
    if slip("the first prompt is left out"):
        here = here & (torch.arange(len(at)) > 0)[:, None]
    if slip("everything up to the position is patched, and not the position alone"):
        here = pos <= at[:, None]
    if slip("everything from the position on is patched, and not the position alone"):
        here = (pos >= at[:, None]) & ~lacks[:, None]
    if slip("every position but the right one is patched"):
        here = ~here
    if slip("all positions are patched"):
        here = torch.ones_like(here)
    if slip("nothing is patched"):
        here = torch.zeros_like(here)
    if slip("the position after the right one is patched"):
        here = here.roll(1, 1)
    if slip("the position before the right one is patched"):
        here = here.roll(-1, 1)
    mask = here.reshape(*here.shape, *[1] * (old.ndim - 2))
    if slip("what is not patched is zero, and not the old value"):
        old = torch.zeros_like(old)
    if slip("the new value is added to the old one, and does not replace it"):
        new = old + new
    if slip("every prompt gets what the first one has at the position"):
        new = new[:1].expand_as(new)
    found = torch.where(mask, new, old)
    if slip("only the prompts that have the word are returned"):
        found = found[~lacks]
    if slip("only the values at the positions are returned, and not all values"):
        found = found[torch.arange(len(at)), at]
    return found
