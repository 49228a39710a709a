"""Designs: transformers on paper, as data, with the true effect of their paths.

Named subspaces of the residual stream, heads that match one of them against another and copy a
third, MLPs of a few units. `handmade.build` writes a design out as an ordinary model.

Source: RASP (Weiss et al. 2021) and tracr (Lindner et al. 2023) write transformers as programs;
here the program is short enough for a pencil. Book: chapter 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.nodes import Model
from pathpatch.prompts import Prompts

SHARP = 1000.0  # what a match of strength 1 adds to an attention score

Number: TypeAlias = int | float
Entry: TypeAlias = tuple[str, str, int, Number]  # word, subspace, coordinate, amount


@dataclass(frozen=True)
class Head:
    """Attend where queries match keys; copy a view of what is there into a subspace.

    match: (query view, key view, strength); each adds strength * SHARP * (query . key) to the
    score. copy: (view, subspace, times); nothing: the head adds nothing.
    """

    layer: int
    head: int
    match: tuple[tuple[str, str, Number], ...]
    copy: tuple[str, str, Number] | None


@dataclass(frozen=True)
class Unit:
    """MLP neurons: into += times * relu(sign * view + bias), for each coordinate of the view."""

    layer: int
    view: str
    into: str
    times: Number = 1
    sign: Number = 1
    bias: Number = 0


@dataclass(frozen=True)
class TrueEffect:
    """A true effect, derived from the wiring: the change of the logit difference, in logits.

    senders and receivers: nodes, several joined by +. No receivers: activation patching of the
    senders (the total effect). prompts: the name of the pairs it holds for, on every one of them.
    """

    senders: str
    receivers: str
    change: Number
    prompts: str = "abc"
    frozen: str = "heads"


@dataclass(frozen=True)
class Design:
    """A model on paper. All sizes and weights follow from it.

    spaces: subspace -> size; `position` must be one, and holds which position it is, one-hot.
    views: name -> the weights of a sum over subspaces. A subspace is a view of itself; `one`
    (always 1) and `first` (1 at position 0, a resting place for heads) are given.
    embed, unembed: what a word writes, and what its logit reads. group: query heads that share
    keys and values. scale: None, or RMSNorms that give every residual vector this length.
    """

    name: str
    circuit: str
    words: tuple[str, ...]
    spaces: Mapping[str, int]
    embed: tuple[Entry, ...]
    unembed: tuple[Entry, ...]
    heads: tuple[Head, ...]
    units: tuple[Unit, ...] = ()
    views: Mapping[str, Mapping[str, Sequence[Number]]] = field(default_factory=dict)
    group: int = 1
    scale: Number | None = None
    before: Mapping[str, Number] = field(default_factory=dict)
    effects: tuple[TrueEffect, ...] = ()

    def where(self, space: str) -> slice:
        """The coordinates of a subspace in the residual stream."""
        names = list(self.spaces)
        start = sum(self.spaces[name] for name in names[: names.index(space)])
        return slice(start, start + self.spaces[space])

    def view(self, name: str) -> Float[Tensor, "d_model width"]:
        """The matrix that reads a view off a residual vector."""
        if name in self.spaces:
            return torch.eye(sum(self.spaces.values()), dtype=torch.float64)[:, self.where(name)]
        positions = self.spaces["position"]
        given = {"one": {"position": [1] * positions}, "first": {"position": [1]}}
        read = torch.zeros(sum(self.spaces.values()), 1, dtype=torch.float64)
        for space, weights in {**given, **self.views}[name].items():
            for i, weight in enumerate(weights):
                read[self.where(space).start + i] = weight
        return read


@dataclass(frozen=True)
class HandMade:
    """A model written by hand, its prompts, and the truth about them.

    before: for each kind of prompts, the logit difference of the run that gets patched, in logits.
    `design.effects` are the true changes.
    """

    model: Model
    design: Design
    prompts: Mapping[str, Prompts]
