"""Models and prompts by recipe, so that two processes can each make the same one."""

import io
import pickle
import re
from functools import cache
from random import Random
from typing import Any

import torch

from exercises.planted import planted
from pathpatch import HandMade, Pair, Prompts, Tokens, ioi_machine, tiny_model, toy
from pathpatch.handmade.build import build
from pathpatch.handmade.ioi_variants import VARIANTS
from pathpatch.nodes import Model

Recipe = tuple[Any, ...]
MAKERS = {
    "machine": ioi_machine,
    "machine's model": lambda name: build(VARIANTS[name]),
    "toy": toy,
    "planted": planted,
}
_recipes: dict[int, Recipe] = {}  # id of a model, which `_made` keeps alive -> how to make it


def tiny(kind: str, layers: int = 3, seed: int = 5) -> Model:
    """A random model of a family, "gpt2" or "llama"."""
    return _model(("tiny", kind, layers, seed))


def hand_made(maker: str, name: str) -> HandMade:
    """An IOI machine ("machine"), a toy ("toy"), or the machine of a key ("planted")."""
    recipe = (maker, name)
    found: HandMade = _made(recipe)
    _recipes[id(found.model)] = recipe
    return found


def machine_model(name: str) -> Model:
    """The model of an IOI machine, without its prompts, which take a while."""
    return _model(("machine's model", name))


@cache
def _made(recipe: Recipe) -> Any:
    maker, *rest = recipe
    if maker == "tiny":
        kind, layers, seed = rest
        return tiny_model(kind, seed=seed, layers=layers)
    return MAKERS[maker](*rest)


def _model(recipe: Recipe) -> Model:
    found = _made(recipe)
    model: Model = found.model if isinstance(found, HandMade) else found
    _recipes[id(model)] = recipe
    return model


def random_prompts(model: Model, random: Random, batch: int | None = None) -> Prompts:
    """Prompts in which x_orig and x_new differ in every token, and lengths and places differ too.

    The labels are those of IOI, but the words are drawn: nothing that two prompts happen to share
    can hide a mistake.
    """
    batch = batch or random.randint(2, 5)
    words = _words(model.tokenizer)
    lengths = [random.randint(9, 15) for _ in range(batch)]
    orig = torch.zeros(batch, max(lengths), dtype=torch.long)  # [batch, pos]
    new = orig.clone()
    places: dict[str, list[int]] = {"IO": [], "S1": [], "S2": [], "END": []}
    for row, length in enumerate(lengths):
        for at in range(length):
            orig[row, at], new[row, at] = random.sample(words, 2)
        chosen = [*sorted(random.sample(range(1, length - 1), 3)), length - 1]
        for label, at in zip(places, chosen, strict=True):
            places[label].append(at)
    answer, foil = zip(*(random.sample(words, 2) for _ in range(batch)), strict=True)
    positions = {label: torch.tensor(at) for label, at in places.items()}
    pairs = tuple(
        Pair(_text(model, orig[i, :n]), _text(model, new[i, :n]), str(answer[i]), str(foil[i]))
        for i, n in enumerate(lengths)  # without the padding: `path_sweep` reads the texts again
    )
    sides = Tokens(orig, positions), Tokens(new, positions)
    return Prompts(*sides, torch.tensor(answer), torch.tensor(foil), pairs)


def _words(tokenizer: Any) -> list[int]:
    """Tokens that begin with a space: a text of such words has the same tokens when it is read.

    `path_sweep` does that, and refuses prompts whose text has others.
    """
    texts = [(i, str(tokenizer.decode([i]))) for i in range(1, len(tokenizer))]
    return [i for i, text in texts if re.fullmatch(r" \w+", text)]


def _text(model: Model, ids: torch.Tensor) -> str:
    return str(model.tokenizer.decode(ids.tolist()))


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Recipe | None:
        return _recipes.get(id(thing)) if isinstance(thing, torch.nn.Module) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, recipe: Recipe) -> Any:
        return _model(recipe)


def pack(things: Any) -> bytes:
    """Inputs as bytes; a model is its recipe."""
    file = io.BytesIO()
    _Pickler(file).dump(things)
    return file.getvalue()


def unpack(data: bytes) -> Any:
    """The inputs that `pack` was given, with models made here."""
    return _Unpickler(io.BytesIO(data)).load()
