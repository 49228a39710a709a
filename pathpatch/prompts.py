"""Prompts: checked token tensors with labelled positions, and the pairs of text they come from.

A pair is a clean prompt (the behaviour is present), a corrupt prompt of the same length,
the token that should win (answer) and the one it competes with (foil). `tasks` tokenises them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from pathpatch.errors import PathPatchError, check_number, did_you_mean

END = "END"
FIRST, LAST, NEXT = "subject_first", "subject_last", "subject_next"  # NEXT: the token after it
OTHER = {"noising": "denoising", "denoising": "noising"}
EMPTY = "the list of prompts is empty; give at least one pair"


@dataclass(frozen=True)
class Tokens:
    """A batch of prompts as token ids, with labelled positions.

    Shorter prompts are padded on the right. A causal model never looks to the right, so padding
    changes nothing, and no attention mask is needed.
    """

    ids: Int[Tensor, "batch pos"]
    positions: dict[str, Int[Tensor, "batch"]]  # label -> index; -1: this prompt has no such label

    def __post_init__(self) -> None:
        if END not in self.positions:
            raise PathPatchError(f"the positions of prompts need {END}, got {list(self.positions)}")
        _check_whole("token ids", self.ids, (), "batch", "pos")
        for label, index in self.positions.items():
            _check_whole(f"the positions of {label!r}", index, self.ids.shape[:1])
            if (index >= self.ids.shape[1]).any() or (label == END and (index < 0).any()):
                last = self.ids.shape[1] - 1
                raise PathPatchError(f"positions of {label!r} are outside the tokens 0 to {last}")

    def __len__(self) -> int:
        return self.ids.shape[0]

    def __getitem__(self, rows: slice | Tensor | list[int]) -> "Tokens":
        rows = _in_range(rows, len(self))
        return Tokens(self.ids[rows], {k: v[rows] for k, v in self.positions.items()})

    def to(self, device: torch.device | str) -> "Tokens":
        """The same tokens on a device. They are made on the CPU, and a pass moves its own copy."""
        try:
            return Tokens(self.ids.to(device), {k: v.to(device) for k, v in self.positions.items()})
        except (RuntimeError, AssertionError) as error:
            raise PathPatchError(f"cannot move tokens to the device {device!r}: {error}") from error

    def check(self, cfg: Any, longest: int | None) -> None:
        """Raises: PathPatchError for a token, or a length, that the model does not know."""
        ends = int(self.ids.min()), int(self.ids.max())
        if wrong := [token for token in ends if not 0 <= token < cfg.d_vocab]:
            raise PathPatchError(
                f"token {wrong[0]} is outside the {cfg.d_vocab} tokens of {cfg.model_name}; the "
                f"prompts were made with another tokenizer, or this one has more than the model"
            )
        if longest is not None and (length := self.ids.shape[1]) > longest:
            raise PathPatchError(
                f"the longest prompt has {length} tokens; {cfg.model_name} knows {longest} "
                f"positions, or computes positions in another way from there on"
            )

    def index(self, where: str | int) -> tuple[Int[Tensor, "batch"], Int[Tensor, "batch"]]:
        """What picks a position of every prompt out of [batch, pos, ...]. Raises: as `at`."""
        return torch.arange(len(self), device=self.ids.device), self.at(where)

    def at(self, where: str | int) -> Int[Tensor, "batch"]:
        """The token index of a label, or of a plain index, in every prompt.

        Raises: PathPatchError for an unknown label, a label that some prompts lack, and an index
        outside a prompt.
        """
        if isinstance(where, Integral) and not isinstance(where, bool):
            last = int(self.positions[END].min())
            if not 0 <= where <= last:
                tokens = f"the shortest has the tokens 0 to {last}"
                raise PathPatchError(f"position {where} is outside a prompt: {tokens}")
            return torch.full_like(self.positions[END], int(where))
        if not isinstance(where, str) or where not in self.positions:
            hint = did_you_mean(str(where), self.positions)
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

    def __post_init__(self) -> None:
        if not self.pairs:
            raise PathPatchError(EMPTY)
        if self.direction not in OTHER:
            raise PathPatchError(f"unknown direction {self.direction!r}; known: {', '.join(OTHER)}")
        ids = len(self), self.orig.ids.shape[1]
        _check_whole("the token ids of x_orig", self.orig.ids, ids)
        _check_whole("the token ids of x_new", self.new.ids, ids)
        for name in ("answer", "foil"):
            _check_whole(f"{name}, one token for each pair,", getattr(self, name), [len(self)])
        here, there = (
            {label: index.tolist() for label, index in side.positions.items()}
            for side in (self.orig, self.new)
        )
        if here != there:
            raise PathPatchError(f"x_orig and x_new have other positions, {here} and {there}")

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, rows: slice | list[int]) -> "Prompts":
        """Some of the prompts: a slice shares its tensors with these, a list has copies."""
        rows = _in_range(rows, len(self))
        pairs = tuple(self.pairs[i] for i in rows) if isinstance(rows, list) else self.pairs[rows]
        tokens = self.orig[rows], self.new[rows]
        return Prompts(*tokens, self.answer[rows], self.foil[rows], pairs, self.direction)

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
        return replace(self, orig=self.new, new=self.orig, direction=OTHER[self.direction])


def _in_range(rows: Any, n: int) -> Any:
    """Rows of n as torch takes them. Raises: PathPatchError for those that are not there."""
    if isinstance(rows, slice):
        return rows if (rows.step or 1) > 0 else list(range(n))[rows]  # torch goes forward only
    if isinstance(rows, list):
        return [check_number("the number of a prompt", row, -n, n - 1, whole=True) for row in rows]
    if not isinstance(rows, Tensor):
        raise PathPatchError(f"prompts are taken as a slice, such as prompts[:8], not {rows!r}")
    return rows


def _check_whole(what: str, values: Any, shape: Sequence[int], *more: str) -> None:
    """Raises: PathPatchError for what is not whole numbers of a shape (and more, of any length)."""
    came = (values.dtype, tuple(values.shape)) if isinstance(values, Tensor) else (type(values), ())
    whole = came[0] in (torch.int64, torch.int32) and len(came[1]) == len(shape) + len(more)
    if not whole or came[1][: len(shape)] != tuple(shape):
        wanted = ", ".join([*map(str, shape), *more])
        raise PathPatchError(
            f"{what} are whole numbers of the shape [{wanted}], got {came[0]} of {list(came[1])}"
        )
