"""The sweeps of chapter 3: activation patching in SmolLM2-135M, into data/activation_smollm2.npz.

    python book/activation_smollm2.py    25 minutes on one core

All heads at END, on 60 prompts with three corruptions in both directions; states and the outputs
of attention and MLPs at five positions, and the heads of two layers, on 30 prompts. Finished blocks
are kept in out/activation, so a run that was stopped goes on where it was.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from tqdm import tqdm

from pathpatch import (
    Effects,
    SweepOptions,
    activation_sweep,
    ioi_prompts,
    load_model,
    make_prompts,
)
from pathpatch.effects import About
from pathpatch.nodes import Model, Node, grid, heads, names, node_set
from pathpatch.prompts import Prompts

BOOK = Path(__file__).resolve().parent
FILE, OUT = BOOK / "data" / "activation_smollm2.npz", BOOK.parent / "out" / "activation"
AT = ("IO", "S1", "S1+1", "S2", "END")
CORRUPTIONS = ("p_ABC", "S2", "S1")  # all three names, or only this one, become other names
WAYS = ("noising", "denoising")
LARGE, SMALL = 60, 30  # prompts: each of 15 frames in 2 orders twice, or once


def the_prompts(
    model: Model, n: int, corruption: str = "p_ABC", way: str = "noising", seed: int = 0
) -> Prompts:
    """n prompts of p_IOI. In the corrupt ones all names, or that at one label, are others."""
    prompts = ioi_prompts(model.tokenizer, n, Random(seed))
    if corruption != "p_ABC":
        prompts = third_name(model, prompts, corruption)
    return prompts.swapped() if way == "denoising" else prompts


def third_name(model: Model, prompts: Prompts, label: str) -> Prompts:
    """The same clean prompts; in the corrupt ones only the name at the label is another one."""
    ids, at = prompts.orig.ids.clone(), prompts.orig.at(label)  # [batch, pos], [batch]
    rows = torch.arange(len(prompts))
    ids[rows, at] = prompts.new.ids[rows, at]
    ends = prompts.orig.at("END").tolist()
    texts = [model.tokenizer.decode(row[: end + 1]) for row, end in zip(ids, ends, strict=True)]
    pairs = [replace(p, corrupt=text) for p, text in zip(prompts.pairs, texts, strict=True)]
    return make_prompts(model.tokenizer, pairs)


def questions(model: Model) -> dict[str, tuple[Prompts, list[Node]]]:
    """Name of a table -> its prompts and its nodes."""
    asked = {}
    for corruption in CORRUPTIONS:
        for way in WAYS:
            prompts = the_prompts(model, LARGE, corruption, way)
            asked[f"heads at END, {corruption}, {way}"] = (prompts, heads(model, "END"))
    for way in WAYS:
        prompts = the_prompts(model, SMALL, "p_ABC", way)
        asked[f"resid_post, {way}"] = (prompts, grid(model, "resid_post", AT))
    prompts = the_prompts(model, SMALL)
    inside = heads(model, "S1+1")[9 * 16 : 9 * 17] + heads(model, "S2")[9 * 17 : 9 * 18]
    asked["z, noising"] = (prompts, inside)  # layers 16 and 17, of 9 heads: the map points at them
    for kind in ("attn_out", "mlp_out"):
        asked[f"{kind}, noising"] = (prompts, grid(model, kind, AT))
    return asked


def save(tables: dict[str, Effects]) -> None:
    """Base in logits, changes in thousandths of a logit, as whole numbers: small."""
    arrays = {}
    for name, effects in tables.items():
        arrays[f"{name}, base"] = effects.base
        arrays[name] = np.round(1000 * effects.change).astype(np.int16)
    facts = {name: (names(e.senders), asdict(e.about), e.templates) for name, e in tables.items()}
    np.savez_compressed(FILE, facts=json.dumps(facts), **arrays)


def load() -> dict[str, Effects]:
    """Name of a table -> its Effects."""
    tables = {}
    with np.load(FILE) as found:
        for name, (senders, about, templates) in json.loads(str(found["facts"])).items():
            base = found[f"{name}, base"]
            rows, patched = [node_set(row) for row in senders], base + found[name] / 1000
            tables[name] = Effects(rows, base, patched, About(**about), templates)
    return tables


def rows(effects: Effects, chosen: Sequence[int]) -> Effects:
    """The Effects of some rows."""
    senders = [effects.senders[i] for i in chosen]
    return replace(effects, senders=senders, patched=effects.patched[list(chosen)])


if __name__ == "__main__":
    model = load_model("smollm2")
    tables = {}
    for name, (prompts, nodes) in tqdm(questions(model).items(), mininterval=10):
        how = SweepOptions(folder=OUT / name.replace(", ", "_").replace(" ", "_"), quiet=True)
        tables[name] = activation_sweep(model, prompts, nodes=nodes, options=how)
    save(tables)
