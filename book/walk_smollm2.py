"""The sweeps of chapter 7: the walk backward through SmolLM2-135M, into data/walk_smollm2.npz.

The direct effects are written a second time, for the exercises: `exercises.measured`.

    python book/walk_smollm2.py                       all of them, and the file
    python book/walk_smollm2.py logits@END 23.3.v@S2   only these receivers, no file yet

Finished blocks are kept in out/walk, so a run that was stopped goes on where it was.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import numpy as np
from tqdm import tqdm

from exercises import measured
from pathpatch import (
    Effects,
    SweepOptions,
    activation_sweep,
    heads,
    ioi_prompts,
    load_model,
    path_sweep,
)
from pathpatch.effects import About
from pathpatch.nodes import node_set

BOOK = Path(__file__).resolve().parent
FILE, OUT = BOOK / "data" / "walk_smollm2.npz", BOOK.parent / "out" / "walk"

GROUPS = 30  # 15 frames in 2 orders take turns

# Receivers, in the order of the walk; the senders are all heads below, at the same position.
RECEIVERS = [
    "logits@END",
    *("23.3.q@END", "23.3.k@S2", "23.3.v@S2"),
    *("23.0.q@END", "23.0.k@IO", "23.0.v@IO"),
    *("24.4.q@END", "24.4.k@IO", "24.4.v@IO"),
    *("20.0.q@END", "20.0.k@S2", "20.0.v@S2"),
    *("17.4.q@S2", "17.4.k@S1+1", "17.4.v@S1+1"),
]
# Whole doors, overwritten with their value on x_new: the query where a head acts, keys and values
# where it looks.
LOOKS = {
    "23.3": "S2", "23.0": "IO", "23.2": "IO", "23.7": "IO", "23.5": "IO", "24.4": "IO",
    "24.5": "S1", "24.7": "S1", "29.1": "END", "29.0": "END", "20.0": "S2", "17.4": "S1+1",
}  # fmt: skip
DOORS = [
    door
    for head, at in LOOKS.items()
    for door in (
        f"{head}.q@{'S2' if head == '17.4' else 'END'}",
        f"{head}.k@{at}",
        f"{head}.v@{at}",
    )
]


def the_prompts(model):
    """15 frames, both orders, 7 of each."""
    return ioi_prompts(model.tokenizer, 210, Random(0))


def senders(model, receiver):
    """Every head below by itself, then all of them together, and the embedding."""
    name, at = receiver.split("@")
    layer = model.cfg.n_layers if name == "logits" else int(name.split(".")[0])
    below = [str(node) for node in heads(model, at) if node.layer < layer]
    return [*below, "+".join(below), f"embed@{at}"]


def sweep_in_groups(model, prompts, receiver):
    """One frame and order after another: then the prompts of a block have one length."""
    parts = []
    for j in tqdm(range(GROUPS), unit="group", desc=receiver):
        part, how = prompts[j::GROUPS], SweepOptions(folder=OUT / receiver / str(j), quiet=True)
        if receiver == "whole":
            parts.append(activation_sweep(model, part, nodes=DOORS, options=how))
        else:
            asked = {"senders": senders(model, receiver), "receivers": [receiver]}
            parts.append(path_sweep(model, part, **asked, options=how))
    base, patched = np.empty(len(prompts)), np.empty((len(parts[0].senders), len(prompts)))
    for j, found in enumerate(parts):
        base[j::GROUPS], patched[:, j::GROUPS] = found.base, found.patched
    about = replace(parts[0].about, prompts_sha256=prompts.sha256())
    return Effects(parts[0].senders, base, patched, about, prompts.templates)


def save(tables):
    """Changes in thousandths of a logit, as whole numbers: all that the page needs, and small."""
    facts = {name: (e.names, asdict(e.about)) for name, e in tables.items()}
    base = tables["whole"].base
    arrays = {name: np.round(1000 * e.change).astype(np.int16) for name, e in tables.items()}
    np.savez_compressed(FILE, facts=json.dumps(facts), base=base, **arrays)


def load(prompts):
    """Receiver -> its Effects, and under "whole" those of whole doors."""
    with np.load(FILE) as found:
        base, facts, groups = found["base"], json.loads(str(found["facts"])), prompts.templates
        tables = {}
        for name, (names, about) in facts.items():
            sets, patched = [node_set(sender) for sender in names], base + found[name] / 1000
            tables[name] = Effects(sets, base, patched, About(**about), groups)
        return tables


def rows(effects, chosen):
    """The Effects of some rows."""
    i = sorted(chosen)
    return replace(effects, senders=[effects.senders[k] for k in i], patched=effects.patched[i])


if __name__ == "__main__":
    model = load_model("smollm2")
    prompts = the_prompts(model)
    asked = sys.argv[1:] or [*RECEIVERS, "whole"]
    tables = {receiver: sweep_in_groups(model, prompts, receiver) for receiver in asked}
    if not sys.argv[1:]:
        save(tables)
        orders = [pair.group.split()[0] for pair in prompts.pairs]
        measured.save(tables["logits@END"], orders)
