"""Prompts of your own: a file of pairs, and what the labels in it point at. Book: chapter 2."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathpatch.errors import PathPatchError
from pathpatch.prompts import Pair, Prompts
from pathpatch.tasks.pairs import make_prompts, token_ids
from pathpatch.tasks.rows import as_kind, read_rows

FORM = (
    "A pair has clean, corrupt, answer and foil, each a text (or token ids: two lists, two "
    "numbers), and perhaps positions (label: token index), group and template; to compare the "
    "answer with several foils, give one pair for each"
)


def load_prompts(path: str | Path, tokenizer: Any) -> Prompts:
    """Read pairs from a JSON list, JSONL or CSV (see `read_rows`) with the fields of `Pair`.

    In place of texts, clean and corrupt may be lists of token ids, answer and foil token ids, as
    long as they are what this tokenizer makes of their text. Warns of labels that seem to point
    at different things in the two prompts of a pair.

    Raises: PathPatchError for a file that is missing or not of this form, and as `make_prompts`.
    """
    rows = [_as_text(tokenizer, row, i) for i, row in enumerate(read_rows(path, "prompts"))]
    prompts = make_prompts(tokenizer, as_kind(rows, Pair, path, FORM))
    for doubt in doubts(label_table(tokenizer, prompts)):
        warnings.warn(doubt, stacklevel=3)  # beyond the door
    return prompts


def _as_text(tokenizer: Any, row: Any, item: int) -> Any:
    """The row with text in place of token ids. What is neither stays, to be refused as it is."""
    if not isinstance(row, dict):
        return row
    texts, ids = dict(row), row.get("clean")
    for name in ("clean", "corrupt"):
        if isinstance(row.get(name), list):
            texts[name] = _text_of(tokenizer, row[name], f"item {item}: {name}")
    for name in ("answer", "foil"):
        if type(row.get(name)) is int and isinstance(ids, list):
            both = _text_of(tokenizer, [*ids, row[name]], f"item {item}: clean with the {name}")
            texts[name] = both.removeprefix(texts["clean"])
    return texts


def _text_of(tokenizer: Any, ids: list[Any], what: str) -> str:
    """The text whose tokens these are, with or without the special tokens written in it."""
    if not all(type(i) is int and 0 <= i < len(tokenizer) for i in ids):
        raise PathPatchError(f"{what}: token ids are whole numbers from 0 to {len(tokenizer) - 1}")
    for without in (False, True):
        text = str(tokenizer.decode(ids, without, clean_up_tokenization_spaces=False))
        if token_ids(tokenizer, text) == ids:
            return text
    raise PathPatchError(
        f"{what}: {ids} reads {text!r}, which to this tokenizer is {token_ids(tokenizer, text)}; "
        "for tokens that are not those of a text, build `Prompts` of two `Tokens` in Python"
    )


@dataclass(frozen=True)
class Labelled:
    """What stands at a label of a pair, in x_orig and in x_new."""

    pair: int
    label: str
    index: int
    orig: str
    new: str
    doubt: str  # "" or why it may not be what was meant


def label_table(tokenizer: Any, prompts: Prompts) -> list[Labelled]:
    """The tokens at every label of every pair, in the order of their places."""
    rows = []
    for i in range(len(prompts)):
        there = {k: int(index[i]) for k, index in prompts.orig.positions.items() if index[i] >= 0}
        length = there["END"] + 1
        orig, new = (side.ids[i, :length].tolist() for side in (prompts.orig, prompts.new))
        for label, at in sorted(there.items(), key=lambda item: item[1]):
            one, other = (tokenizer.decode([ids[at]]) for ids in (orig, new))
            rows.append(Labelled(i, label, at, one, other, _doubt(tokenizer, orig, new, at)))
    return rows


def doubts(rows: Sequence[Labelled]) -> Iterator[str]:
    """One sentence for every label that has something doubtful in some pairs."""
    for label in dict.fromkeys(row.label for row in rows if row.doubt):
        odd = [row for row in rows if row.label == label and row.doubt]
        first, pairs = odd[0], [row.pair for row in odd]
        yield (
            f"position {label!r} may not be what you mean in {len(pairs)} pair(s), {pairs[:8]}: "
            f"in pair {first.pair} it is {first.orig!r} in x_orig and {first.new!r} in x_new, "
            f"{first.doubt}; see python -m pathpatch check-prompts"
        )


def _doubt(tokenizer: Any, orig: list[int], new: list[int], at: int) -> str:
    """Two tokens that differ should at least be of one kind, and not be one place apart."""
    if orig[at] == new[at]:
        return ""
    kinds = [_kind(tokenizer, ids, at) for ids in (orig, new)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} against {kinds[1]}"
    if orig[at] in new[max(0, at - 1) : at + 2] or new[at] in orig[max(0, at - 1) : at + 2]:
        return "and one of them stands a place further in the other prompt"
    return ""


def _kind(tokenizer: Any, ids: list[int], at: int) -> str:
    """Whether a token starts a word, goes on with one, or is none, by the text before it."""
    if ids[at] in tokenizer.all_special_ids:
        return "a special token"
    before, after = (
        tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False) for end in (at, at + 1)
    )
    word = after[len(before) :]
    if not any(map(str.isalnum, word)):
        return "no word"
    return "a piece of a word" if word[0].isalnum() and before[-1:].isalnum() else "a word's start"
