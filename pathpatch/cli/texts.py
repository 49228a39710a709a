"""Whether prompts belong to a model: their tokens are those of its tokenizer."""

from functools import partial
from itertools import chain
from typing import Any
from weakref import ref

from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.prompts import END, Prompts

# Prompts whose tokens were compared with their texts, by their id: the prompts, the model, and what
# both were like then.
_compared: dict[int, tuple[Any, Any, Any]] = {}


def check_texts(model: Any, prompts: Prompts) -> None:
    """Raises: PathPatchError for tokens that this model's tokenizer does not make of their pair.

    Each side may hold the clean or the corrupt text. Prompts without texts are taken as they are.
    Those that were looked at, and have not changed, are not looked at again.
    """
    state = (id(model.tokenizer), *map(_version, (prompts.orig.ids, prompts.new.ids)))
    known = _compared.get(id(prompts))
    if known and known[0]() is prompts and known[1]() is model and known[2] == state:
        return
    sides = [[text for text in (pair.clean, pair.corrupt) if text] for pair in prompts.pairs]
    texts = list(dict.fromkeys(chain(*sides)))
    made = dict(zip(texts, model.tokenizer(texts)["input_ids"], strict=True)) if texts else {}
    for tokens in (prompts.orig, prompts.new):
        rows = zip(sides, tokens.ids.tolist(), tokens.at(END).tolist(), strict=True)
        for pair, ids, end in rows:
            wanted = [list(made[text]) for text in pair]
            if pair and ids[: end + 1] not in wanted:
                raise PathPatchError(
                    f"a prompt of {pair[0]!r} has the tokens {ids[: end + 1]}, but the tokenizer "
                    f"of {model.cfg.model_name} makes {wanted[0]} of it; make the prompts with the "
                    f"model's own tokenizer: make_prompts(model.tokenizer, pairs)"
                )
    forget = partial(_forget, id(prompts))
    _compared[id(prompts)] = ref(prompts, forget), ref(model), state


def _version(ids: Tensor) -> object:
    """Counts the writes into a tensor; where torch does not count them, like no other."""
    return object() if ids.is_inference() else ids._version


def _forget(key: int, _: object) -> None:
    _compared.pop(key, None)
