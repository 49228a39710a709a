"""From pairs of text to prompts: tokenised with the model's own tokenizer, and checked.

One rule says what an answer is: tokens(prompt + answer) = tokens(prompt) + [answer]. White space,
BOS and word pieces need no rules of their own.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from pathpatch.errors import PathPatchError, as_list
from pathpatch.prompts import EMPTY, END, Pair, Prompts, Tokens

# A label names files and stands in nodes, where a number would be a token index: a word, and
# perhaps + and a number, as in S1+1.
LABEL = re.compile(r"[^\W\d][\w-]*(\+\d+)?")


def make_prompts(tokenizer: Any, pairs: Iterable[Pair]) -> Prompts:
    """Tokenise pairs with the model's own tokenizer (which decides on BOS) and check every one.

    Answer and foil are the one token that they add to both prompts of their pair (`next_token`).

    Raises: PathPatchError that lists *all* pairs of unequal length, identical pairs, answers or
    foils that are not one token there, labels that could be mistaken for something else, and
    positions outside their prompt.
    """
    pairs = as_list(pairs, "pairs")
    if not pairs:
        raise PathPatchError(EMPTY)
    read = [_read(tokenizer, pair) for pair in pairs]
    problems = [f"pair {i}: {line}" for i, (*_, found) in enumerate(read) for line in found]
    if problems:
        raise PathPatchError("\n".join([f"{len(problems)} problem(s) in the prompts:", *problems]))
    for doubt in _run_in(pairs):
        warnings.warn(doubt, stacklevel=3)  # beyond the door
    clean, corrupt, words, _ = zip(*read, strict=True)
    labels = sorted({label for pair in pairs for label in pair.positions} - {END})
    positions = {k: torch.tensor([p.positions.get(k, -1) for p in pairs]) for k in labels}
    positions[END] = torch.tensor([len(ids) - 1 for ids in clean])
    sides = Tokens(_pad(clean), positions), Tokens(_pad(corrupt), positions)
    answer, foil = torch.tensor(words).T
    return Prompts(*sides, answer, foil, tuple(pairs))


def next_token(tokenizer: Any, text: str, word: str) -> int:
    """The token that a word is after a text: tokens(text + word) = tokens(text) + [token].

    Raises: PathPatchError where that does not hold, for the text would be another one with the
    word after it, or the word is several tokens; and for a word outside the vocabulary.
    """
    before, both = token_ids(tokenizer, text), token_ids(tokenizer, text + word)
    shorter = min(len(before), len(both))
    same = next((i for i in range(shorter) if before[i] != both[i]), shorter)
    pieces = [tokenizer.decode([i]) for i in both[same:]]
    if same < len(before):
        raise PathPatchError(
            f"runs into the end of the prompt, {text[-12:]!r}: the tokens there become {pieces}; "
            "where a space belongs to the next word, it stands in the answer, not in the prompt"
        )
    if len(pieces) != 1:
        raise PathPatchError(
            f"must be one token, is {len(pieces)}: {pieces}. For several, move what answer and "
            "foil share to the end of both prompts and give the first token that differs, or sum "
            "log-probabilities yourself (run with reads=['logits'])"
        )
    if _unknown(tokenizer, word, both[-1:]):
        raise PathPatchError("is not in the tokenizer's vocabulary")
    return both[-1]


def _read(tokenizer: Any, pair: Pair) -> tuple[list[int], list[int], list[int], list[str]]:
    """The tokens of both prompts, those of answer and foil, and what is wrong with the pair."""
    if problem := _not_text(pair):
        return [], [], [], [problem]
    clean, corrupt = token_ids(tokenizer, pair.clean), token_ids(tokenizer, pair.corrupt)
    problems = list(_side_problems(tokenizer, pair, clean, corrupt))
    words: list[int] = []
    for name, word in (("answer", pair.answer), ("foil", pair.foil)):
        try:
            tokens = {next_token(tokenizer, text, word) for text in (pair.clean, pair.corrupt)}
            if len(tokens) > 1:
                problems.append(f"{name} {word!r} is another token after corrupt than after clean")
            words += tokens
        except PathPatchError as error:
            problems.append(f"{name} {word!r} {error}")
    if len(words) == 2 and words[0] == words[1]:
        problems.append(f"answer and foil are the same token ({pair.answer!r})")
    return clean, corrupt, words, problems + list(_label_problems(tokenizer, pair, clean))


def _run_in(pairs: Sequence[Pair]) -> Iterator[str]:
    """One sentence for answers and foils that go on with the last word of their prompt, which is
    right for a piece of a word ('get' + 'Value'), and mostly a forgotten space. (Scripts without
    upper and lower case have no such spaces.)"""
    for name in ("answer", "foil"):
        found = []
        for i, pair in enumerate(pairs):
            ends = pair.clean[-1:], getattr(pair, name)[:1]
            found += [i] if all(letter.lower() != letter.upper() for letter in ends) else []
        if found:
            pair = pairs[found[0]]
            yield (
                f"the {name} runs into the word before it in {len(found)} pair(s), {found[:8]}: "
                f"{pair.clean[-12:]!r} + {getattr(pair, name)!r}; a word of its own needs a "
                "leading space"
            )


def _not_text(pair: Any) -> str:
    if not isinstance(pair, Pair):
        return f"expected a Pair, got {type(pair).__name__}"
    wrong = [k for k in ("clean", "corrupt", "answer", "foil") if type(getattr(pair, k)) is not str]
    if wrong:
        return f"{', '.join(wrong)} must be text (token ids go into a prompt file)"
    if not isinstance(pair.positions, dict):
        return f"positions must be a dict of labels and token indices, got {pair.positions!r}"
    texts = (pair.clean, pair.corrupt, pair.answer, pair.foil)
    odd = [text for text in texts if any("\ud800" <= letter <= "\udfff" for letter in text)]
    return f"{odd[0]!r} holds half of a character (a lone surrogate); write it whole" if odd else ""


def _side_problems(
    tokenizer: Any, pair: Pair, clean: list[int], corrupt: list[int]
) -> Iterator[str]:
    if len(clean) != len(corrupt):
        yield (
            f"clean has {len(clean)} tokens, corrupt {len(corrupt)}; "
            f"they must be equal ({pair.clean!r} / {pair.corrupt!r})"
        )
    if not clean or clean == corrupt:
        yield f"clean and corrupt are empty or identical ({pair.clean!r})"
    for name, text, ids in (("clean", pair.clean, clean), ("corrupt", pair.corrupt, corrupt)):
        if re.search(r"\S $", text) and pair.answer[:1] == " ":
            yield f"{name} ends in a space, which would be a token before the answer's own"
        if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
            yield f"{name} starts with BOS twice: the tokenizer adds it, so the text goes without"
        if _unknown(tokenizer, text, ids):
            yield f"{name} has words outside the tokenizer's vocabulary ({text!r})"
        elif ids and ids[-1] in tokenizer.all_special_ids and not _ends(tokenizer, text, ids):
            added = tokenizer.decode(ids[-1:])
            yield f"the tokenizer puts {added!r} after {name}, where END is; make it add nothing"


def _label_problems(tokenizer: Any, pair: Pair, clean: list[int]) -> Iterator[str]:
    last = len(clean) - 1
    for label, index in pair.positions.items():
        if not isinstance(label, str) or not LABEL.fullmatch(label):
            yield (
                f"{label!r} cannot be a label: a label is a word, perhaps with + and a number, "
                "such as S2 or S1+1"
            )
        elif not isinstance(index, Integral) or isinstance(index, bool):
            yield f"position {label!r} must be a token index, got {index!r}"
        elif not 0 <= int(index) <= last:
            words = [tokenizer.decode([i]) for i in clean]
            yield f"position {label!r} = {index} is outside the {last + 1} tokens {words}"
        elif label == END and index != last:
            word = tokenizer.decode([clean[index]])
            yield f"END is always the last token, {last}, not {index} ({word!r})"


def token_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])


def _unknown(tokenizer: Any, text: str, ids: list[int]) -> bool:
    """Whether something became <unk>, which in some tokenizers is an ordinary mark as well."""
    return tokenizer.unk_token_id in ids and tokenizer.unk_token not in text


def _ends(tokenizer: Any, text: str, ids: list[int]) -> bool:
    return text.endswith(tokenizer.decode(ids[-1:]))


def _pad(rows: Iterable[list[int]]) -> Int[Tensor, "batch pos"]:
    rows = list(rows)
    longest = max(map(len, rows))
    return torch.tensor([ids + ids[-1:] * (longest - len(ids)) for ids in rows])
