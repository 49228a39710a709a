"""The models that checks run on, made once."""

from functools import cache
from random import Random

from pathpatch import HandMade, Prompts, ioi_machine, ioi_prompts, tiny_model
from pathpatch.nodes import Model

SEED = 5  # of the weights and the prompts; `make audit` judges with others too


@cache
def lab(kind: str) -> tuple[Model, Prompts]:
    """A random model and prompts of different lengths."""
    model = tiny_model(kind, seed=SEED)
    return model, ioi_prompts(model.tokenizer, 4, Random(SEED))


@cache
def machine(variant: str) -> HandMade:
    """An IOI machine."""
    return ioi_machine(variant)
