"""Prompt pairs: text in, checked token tensors with labelled positions out.

A pair is a clean prompt (the behaviour is present), a corrupt prompt of the same length,
the token that should win (answer) and the one it competes with (foil).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.files import read_rows

END = "END"
FIRST, LAST, NEXT = "subject_first", "subject_last", "subject_next"  # NEXT: the token after it


@dataclass(frozen=True)
class Tokens:
    """A batch of prompts as token ids, with labelled positions.

    Shorter prompts are padded on the right. A causal model never looks to the right, so padding
    changes nothing, and no attention mask is needed.
    """

    ids: Int[Tensor, "batch pos"]
    positions: dict[str, Int[Tensor, "batch"]]  # label -> index; -1: this prompt has no such label

    def __len__(self) -> int:
        return self.ids.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> "Tokens":
        return Tokens(self.ids[rows], {k: v[rows] for k, v in self.positions.items()})

    def to(self, device: torch.device | str) -> "Tokens":
        """The same tokens on a device. They are made on the CPU, and a pass moves its own copy."""
        return Tokens(self.ids.to(device), {k: v.to(device) for k, v in self.positions.items()})

    def index(self, where: str | int) -> tuple[Int[Tensor, "batch"], Int[Tensor, "batch"]]:
        """What picks a position of every prompt out of [batch, pos, ...]. Raises: as `at`."""
        return torch.arange(len(self), device=self.ids.device), self.at(where)

    def at(self, where: str | int) -> Int[Tensor, "batch"]:
        """The token index of a label, or of a plain index, in every prompt.

        Raises: PathPatchError for an unknown label, a label that some prompts lack, and an index
        outside a prompt.
        """
        if isinstance(where, int):
            last = int(self.positions[END].min())
            if not 0 <= where <= last:
                tokens = f"the shortest has the tokens 0 to {last}"
                raise PathPatchError(f"position {where} is outside a prompt: {tokens}")
            return torch.full_like(self.positions[END], where)
        if where not in self.positions:
            hint = did_you_mean(where, self.positions)
            raise PathPatchError(f"these prompts have no position {where!r}; {hint}")
        index = self.positions[where]
        missing = (index < 0).nonzero().flatten().tolist()
        if missing:
            raise PathPatchError(f"position {where!r} is missing in prompts {missing}")
        return index


@dataclass(frozen=True)
class Pair:
    """One clean and one corrupt prompt as text, and what they share with other pairs.

    template: prompts of one template resemble one another, so intervals and tests draw them
    together; by default the group. group: prompts in which every position means the same, so that
    a mean over them makes sense (for IOI a template in one order, "ABBA 3").
    """

    clean: str
    corrupt: str
    answer: str
    foil: str
    positions: dict[str, int] = field(default_factory=dict)
    group: str = ""
    template: str = ""


@dataclass(frozen=True)
class Prompts:
    """A batch of pairs, tokenised and checked: what one experiment runs on.

    orig: x_orig, the prompts that get patched. new: x_new, where the patched values come from. In
    noising x_orig is the clean text of a pair, x_new the corrupt one; `swapped` exchanges them.
    """

    orig: Tokens
    new: Tokens
    answer: Int[Tensor, "batch"]
    foil: Int[Tensor, "batch"]
    pairs: tuple[Pair, ...]
    direction: str = "noising"

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, rows: slice) -> "Prompts":
        tokens = self.orig[rows], self.new[rows]
        words = self.answer[rows], self.foil[rows]
        return Prompts(*tokens, *words, self.pairs[rows], self.direction)

    @property
    def templates(self) -> list[str]:
        """The template of each pair, or its group, or "": a cluster by itself."""
        return [pair.template or pair.group for pair in self.pairs]

    def sha256(self) -> str:
        """SHA-256 of the tokens, positions and answers: which prompts a result belongs to."""
        numbers = {"clean": self.orig.ids, "corrupt": self.new.ids, "answer": self.answer}
        numbers |= {"foil": self.foil, **dict(sorted(self.orig.positions.items()))}
        text = json.dumps({name: tensor.tolist() for name, tensor in numbers.items()})
        return hashlib.sha256(text.encode()).hexdigest()

    def swapped(self) -> "Prompts":
        """The other direction: x_orig and x_new change places (denoising, or noising again).

        Answer and foil stay, so the metric keeps its meaning.
        """
        other = {"noising": "denoising", "denoising": "noising"}[self.direction]
        return replace(self, orig=self.new, new=self.orig, direction=other)


def make_prompts(tokenizer: Any, pairs: Sequence[Pair]) -> Prompts:
    """Tokenise pairs with the model's own tokenizer (which decides on BOS) and check every one.

    Raises: PathPatchError that lists *all* pairs of unequal length, identical pairs, answers or
    foils that are not one token, and positions outside their prompt.
    """
    if not pairs:
        raise PathPatchError("the list of prompts is empty; give at least one pair")
    clean = [list(tokenizer(pair.clean)["input_ids"]) for pair in pairs]
    corrupt = [list(tokenizer(pair.corrupt)["input_ids"]) for pair in pairs]
    bare = {"add_special_tokens": False}
    words = [[list(tokenizer(w, **bare)["input_ids"]) for w in (p.answer, p.foil)] for p in pairs]
    problems = [
        f"pair {i}: {problem}"
        for i, pair in enumerate(pairs)
        for problem in _pair_problems(tokenizer, pair, clean[i], corrupt[i], *words[i])
    ]
    if problems:
        raise PathPatchError("\n".join([f"{len(problems)} problem(s) in the prompts:", *problems]))
    labels = sorted({label for pair in pairs for label in pair.positions} - {END})
    positions = {k: torch.tensor([p.positions.get(k, -1) for p in pairs]) for k in labels}
    positions[END] = torch.tensor([len(ids) - 1 for ids in clean])
    sides = Tokens(_pad(clean), positions), Tokens(_pad(corrupt), positions)
    answer, foil = torch.tensor(words).squeeze(-1).T
    return Prompts(*sides, answer, foil, tuple(pairs))


def load_prompts(path: str | Path, tokenizer: Any) -> Prompts:
    """Read a JSON list of objects with the fields of `Pair`, of which the last three may lack.

    Raises: PathPatchError for a file that is missing, not JSON, or not of this form.
    """
    return make_prompts(tokenizer, read_rows(path, "prompts", Pair))


def _pair_problems(
    tokenizer: Any, pair: Pair, clean: list[int], corrupt: list[int], *words: list[int]
) -> list[str]:
    problems = []
    if len(clean) != len(corrupt):
        lengths = f"clean has {len(clean)} tokens, corrupt {len(corrupt)}"
        problems.append(f"{lengths}; they must be equal ({pair.clean!r} / {pair.corrupt!r})")
    if not clean or clean == corrupt:
        problems.append(f"clean and corrupt are empty or identical ({pair.clean!r})")
    if pair.clean[-1:].isspace():
        problems.append("clean ends in a space, which would be a token before the answer's own")
    for name, text, ids in zip(("answer", "foil"), (pair.answer, pair.foil), words, strict=True):
        if len(ids) != 1:
            pieces = [tokenizer.decode([i]) for i in ids]
            problems.append(f"{name} {text!r} must be one token, is {len(ids)}: {pieces}")
        elif ids[0] == tokenizer.unk_token_id:
            problems.append(f"{name} {text!r} is not in the tokenizer's vocabulary")
        elif text[:1].isalpha() and pair.clean[-1:].isalpha():
            problems.append(f"{name} {text!r} runs into the word before it: add a leading space")
    if words[0] == words[1]:
        problems.append(f"answer and foil are the same token ({pair.answer!r})")
    for label, index in pair.positions.items():
        if not 0 <= index < len(clean):
            problems.append(f"position {label!r} = {index} is outside the {len(clean)} tokens")
        elif label == END and index != len(clean) - 1:
            problems.append(f"END is always the last token, {len(clean) - 1}, not {index}")
    return problems


def _pad(rows: list[list[int]]) -> Int[Tensor, "batch pos"]:
    longest = max(map(len, rows))
    return torch.tensor([ids + ids[-1:] * (longest - len(ids)) for ids in rows])
