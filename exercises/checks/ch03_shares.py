"""The check of 3.1: direct logit attribution."""

from collections.abc import Iterator
from random import Random

import torch

from exercises.checks.cases import Case, check


def _drawn(random: Random) -> Iterator[Case]:
    while True:
        yield _case(random, parts=4, batch=1)
        yield _case(random, parts=random.randint(5, 9), batch=3)
        yield _case(random, parts=3, batch=random.randint(4, 5))
        yield _case(random, parts=6, batch=6)  # in the shape of a square, axes are easily mixed up
        yield _case(random, parts=1, batch=2)


def _case(random: Random, parts: int, batch: int) -> Case:
    """Parts of very different sizes, of which the sum is not centred at 0."""
    d_model, vocab = random.randint(7, 12), random.randint(20, 30)
    generator = torch.Generator().manual_seed(random.randrange(2**32))

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    written = drawn(parts, batch, d_model) * 3 * drawn(parts, 1, 1).exp() + 1
    pairs = [random.sample(range(vocab), 2) for _ in range(batch)]
    answer, foil = (torch.tensor(side) for side in zip(*pairs, strict=True))
    shown = f"shares(written, gain, unembed, tensor({answer.tolist()}), tensor({foil.tolist()}))"
    shapes = f"written [{parts}, {batch}, {d_model}], unembed [{d_model}, {vocab}]"
    gain = 1 + drawn(d_model) / 2
    return Case(f"{shown}, {shapes}", (written, gain, drawn(d_model, vocab), answer, foil))


@check(_drawn, 5, advice="Do your shares of one prompt add up to its logit difference?")
def shares(written, gain, unembed, answer, foil, *, slip):
    last = written.sum(0)  # [batch, d_model]
    size = last.pow(2).mean(-1).sqrt()  # [batch]
    if slip("each part is divided by its own size, and not by that of the sum"):
        size = written.pow(2).mean(-1).sqrt()
    if slip("all prompts are divided by one size"):
        size = last.pow(2).mean().sqrt()
    if slip("all prompts are divided by the size of the first one"):
        size = size[0]
    if slip("all prompts are divided by the mean size"):
        size = size.mean()
    if slip("the squares are summed up under the root, and not averaged"):
        size = last.norm(dim=-1)
    if slip("the root is missing: the division is by the mean square"):
        size = size**2
    if slip("a mean over the parts is taken for their sum"):
        size = size / len(written)
    if slip("the mean over d_model is subtracted, as in GPT-2; here it is not"):
        written = written - written.mean(-1, keepdim=True)
        size = (last - last.mean(-1, keepdim=True)).pow(2).mean(-1).sqrt()
    if slip("the size is that of a state from which the mean was subtracted, as in GPT-2"):
        size = last.std(-1, correction=0)
    if slip("nothing is divided by the size of the sum"):
        size = torch.ones_like(size)
    if slip("the gain is left out"):
        gain = torch.ones_like(gain)
    if slip("the gain is divided by, and not multiplied with"):
        gain = 1 / gain
    if slip("answer and foil have changed places"):
        answer, foil = foil, answer
    if slip("all prompts have the answer and the foil of the first one"):
        answer, foil = answer[:1].expand_as(answer), foil[:1].expand_as(foil)
    direction = (unembed[:, answer] - unembed[:, foil]).T
    if slip("only the logit of the answer is taken, without that of the foil"):
        direction = unembed[:, answer].T
    if slip("only the logit of the foil is taken, without that of the answer"):
        direction = unembed[:, foil].T
    found = (written * (direction * gain)).sum(-1) / size
    if slip("the shares are divided by the logit difference: logits are asked for"):
        found = found / found.sum(0)
    if slip("the shares are added up as they come: each part is asked for by itself"):
        found = found.cumsum(0)
    if slip("the last part is left out"):
        found = found[:-1]
    if slip("the first part is left out"):
        found = found[1:]
    if slip("the mean over the prompts is returned"):
        return found.mean(1)
    if slip("parts and prompts have changed places"):
        return found.T
    if slip("the shares are added up: each part is asked for by itself"):
        return found.sum(0)
    return found
