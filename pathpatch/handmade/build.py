"""Transformers whose weights are written by hand, so that every path effect is known.

They are TransformerLens's own ("native") models, which can do without norms: with LayerNorm or
RMSNorm everywhere, as in GPT-2 and Llama, the numbers would not stay whole. Attention is
saturated: scores that should differ do so by at least 200, so that softmax gives 0 and 1 (and
halves where two positions tie) to the last bit. Without norms all activations are whole numbers.
Book: chapter 1.
"""

import math

import torch
from torch import Tensor

from pathpatch.handmade.designs import SHARP, Design
from pathpatch.models.load import native
from pathpatch.models.tiny import word_tokenizer
from pathpatch.nodes import Model


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
    model = native(shape, weights, word_tokenizer(design.words), design.name, design.group)
    model.cfg.design = design
    return model


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
    return 1 + max([h.layer for h in design.heads] + [u.layer for u in design.units])


def _head_sizes(design: Design) -> tuple[int, int]:
    """How many heads a layer has, and d_head: the square that every match and copy fits in."""
    widths = [1]
    for head in design.heads:
        widths.append(sum(design.view(key).shape[1] for _, key, _ in head.match))
        widths.append(design.view(head.copy[0]).shape[1] if head.copy else 0)
    n_heads = 1 + max(head.head for head in design.heads)
    return -(-n_heads // design.group) * design.group, math.ceil(math.sqrt(max(widths))) ** 2
