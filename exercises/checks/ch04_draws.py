"""What the exercises of chapter 4 are asked: prompts with a subject, and noise."""

from random import Random

import torch
from torch import Tensor

from exercises.checks.ch05_draws import Lab
from exercises.checks.ch05_values import labelled
from pathpatch import Tokens

FIRST, LAST = "subject_first", "subject_last"


def with_subject(lab: Lab) -> Tokens:
    """The prompts of a lab, with a subject of 1 to 4 tokens in each, never at either end."""
    first, last = [], []
    for i, end in enumerate(lab.prompts.orig.at("END").tolist()):
        length = (2, 4, 1, 3)[i % 4] if i else lab.random.choice([2, 3])
        first.append(lab.random.randrange(1, end - length))
        last.append(first[-1] + length - 1)
    places = {FIRST: torch.tensor(first), LAST: torch.tensor(last)}
    return Tokens(lab.prompts.orig.ids, places | {"END": lab.prompts.orig.at("END")})


def where(tokens: Tokens) -> str:
    """The labels, as they are printed in a call."""
    return ", ".join(f"{label} {at.tolist()}" for label, at in tokens.positions.items())


def random_noise(random: Random, *shape: int) -> Tensor:
    """About as large as embeddings of the tiny models are, and another one at each place."""
    generator = torch.Generator().manual_seed(random.randrange(2**32))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def of_first_prompt(tokens: Tokens) -> Tokens:
    """The same, with every label where the first prompt has it, and END kept."""
    more = labelled(tokens).positions
    moved = {label: more[f"{label} of prompt 0"] for label in tokens.positions if label != "END"}
    return Tokens(tokens.ids, tokens.positions | moved)


def span(tokens: Tokens) -> Tensor:
    """Where the subject is, [batch, pos]."""
    pos = torch.arange(tokens.ids.shape[1])
    return (tokens.at(FIRST)[:, None] <= pos) & (pos <= tokens.at(LAST)[:, None])
