"""Transformers whose weights are written by hand, so that every path effect is known.

A design is data: named subspaces of the residual stream, heads that match one of them against
another and copy a third, MLPs of a few units. `build` writes it out as an ordinary model.

Attention is saturated: scores that should differ do so by at least 200, so softmax gives 0 and 1
to the last bit (and halves where two positions tie). Without norms all activations are integers.

Source: RASP (Weiss et al. 2021) and tracr (Lindner et al. 2023) write transformers as programs;
here the program is short enough for a pencil. Book: chapter 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.models import Model, native
from pathpatch.prompts import Prompts
from pathpatch.tiny import word_tokenizer

SHARP = 1000.0  # what a match of strength 1 adds to an attention score

Entry: TypeAlias = tuple[str, str, int, float]  # word, subspace, coordinate, amount


@dataclass(frozen=True)
class Head:
    """Attend where queries match keys; copy a view of what is there into a subspace.

    match: (query view, key view, strength); each adds strength * SHARP * (query . key) to the
    score. copy: (view, subspace, times); nothing: the head adds nothing.
    """

    layer: int
    head: int
    match: tuple[tuple[str, str, float], ...]
    copy: tuple[str, str, float] | None


@dataclass(frozen=True)
class Unit:
    """MLP neurons: into += times * relu(sign * view + bias), for each coordinate of the view."""

    layer: int
    view: str
    into: str
    times: float = 1
    sign: float = 1
    bias: float = 0


@dataclass(frozen=True)
class Effect:
    """A true effect, derived from the wiring: the change of the logit difference, in logits.

    senders and receivers: nodes, several joined by +. No receivers: activation patching of the
    senders (the total effect). prompts: the name of the pairs it holds for, on every one of them.
    """

    senders: str
    receivers: str
    change: float
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
    views: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    group: int = 1
    scale: float | None = None
    before: Mapping[str, float] = field(default_factory=dict)
    effects: tuple[Effect, ...] = ()

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


def build(design: Design) -> Model:
    """The model of a design, in float64, ready to be patched.

    Raises: KeyError for a view or subspace that the design does not define.
    """
    weights = hand_weights(design)
    n_heads, d_head = _head_sizes(design)
    shape = {
        "d_model": weights["tok_embed.weight"].shape[1],
        "d_head": d_head,
        "n_heads": n_heads,
        "n_layers": _n_layers(design),
        "n_ctx": design.spaces["position"],
        "d_vocab": 1 + len(design.words),
        "d_mlp": len(weights.get("layers.0.mlp.fc_in.bias", [0])),
        "act_fn": "relu",
        "attn_only": not design.units,
        "normalization_type": None if design.scale is None else "RMS",
        "eps": 0.0,
    }
    return native(shape, weights, word_tokenizer(design.words), design.name, design.group)


def hand_weights(design: Design) -> dict[str, Tensor]:
    """All weights, under the names of TransformerLens's own architecture; most entries are 0."""
    d_model = sum(design.spaces.values())
    weights = {}
    for name, entries in (("tok_embed", design.embed), ("head", design.unembed)):
        table = torch.zeros(1 + len(design.words), d_model, dtype=torch.float64)
        for word, space, i, amount in entries:
            table[1 + design.words.index(word), design.where(space).start + i] = amount
        weights[f"{name}.weight"] = table
    weights["pos.weight"] = design.view("position").T.contiguous()
    for layer in range(_n_layers(design)):
        at = f"layers.{layer}."
        weights |= {f"{at}attn.{k}": w for k, w in _attention(design, layer).items()}
        if design.units:
            weights |= {f"{at}mlp.{k}": w for k, w in _mlp(design, layer).items()}
    if design.scale is not None:
        gain = torch.full((d_model,), design.scale / math.sqrt(d_model), dtype=torch.float64)
        norms = ("ln1", "ln2")[: 2 if design.units else 1]
        names = [f"layers.{i}.{norm}" for i in range(_n_layers(design)) for norm in norms]
        weights |= {f"{name}.weight": gain for name in (*names, "ln_out")}
    return weights


def _attention(design: Design, layer: int) -> dict[str, Tensor]:
    (n_heads, d_head), d_model = _head_sizes(design), sum(design.spaces.values())
    q, k, v, o = torch.zeros(4, n_heads, d_head, d_model, dtype=torch.float64)
    sharp = SHARP * math.sqrt(d_head)  # d_head is a square, so this is a whole number
    for head in [head for head in design.heads if head.layer == layer]:
        start = 0
        for query, key, strength in head.match:
            keys = design.view(key).T
            rows = slice(start, start + len(keys))
            q[head.head, rows] = sharp * strength * design.view(query).T
            k[head.head, rows] = keys
            start = rows.stop
        if head.copy:
            view, space, times = head.copy
            values = design.view(view).T
            v[head.head, : len(values)] = times * values
            o[head.head, : len(values)] = design.view(space).T
    first = torch.arange(n_heads) // design.group * design.group  # whose keys and values are shared
    parts = {"q": q, "k": k[first], "v": v[first], "o": o}
    found = {f"{name}.weight": part.flatten(0, 1) for name, part in parts.items()}
    found["o.weight"] = found["o.weight"].T.contiguous()
    return found | {k.replace("weight", "bias"): w.new_zeros(len(w)) for k, w in found.items()}


def _mlp(design: Design, layer: int) -> dict[str, Tensor]:
    widths = [0] * _n_layers(design)
    for unit in design.units:
        widths[unit.layer] += design.view(unit.view).shape[1]
    d_model = sum(design.spaces.values())
    into, out = torch.zeros(2, max(widths), d_model, dtype=torch.float64)
    bias, start = into.new_zeros(max(widths)), 0
    for unit in [unit for unit in design.units if unit.layer == layer]:
        read = design.view(unit.view).T
        rows = slice(start, start + len(read))
        into[rows], bias[rows] = unit.sign * read, unit.bias
        out[rows] = unit.times * design.view(unit.into).T
        start = rows.stop
    matrices = {"fc_in.weight": into, "fc_out.weight": out.T.contiguous()}
    return matrices | {"fc_in.bias": bias, "fc_out.bias": bias.new_zeros(d_model)}


def _n_layers(design: Design) -> int:
    return 1 + max(part.layer for part in (*design.heads, *design.units))


def _head_sizes(design: Design) -> tuple[int, int]:
    """How many heads a layer has, and d_head: the square that every match and copy fits in."""
    widths = [1]
    for head in design.heads:
        widths.append(sum(design.view(key).shape[1] for _, key, _ in head.match))
        widths.append(design.view(head.copy[0]).shape[1] if head.copy else 0)
    n_heads = 1 + max(head.head for head in design.heads)
    return -(-n_heads // design.group) * design.group, math.ceil(math.sqrt(max(widths))) ** 2
