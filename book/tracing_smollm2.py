"""The traces of chapter 4: causal tracing in SmolLM2-135M, into data/tracing_smollm2.npz.

    python book/tracing_smollm2.py    15 minutes on one core

Facts that SmolLM2 knows well, whose subjects have three tokens or more. States, and windows of MLP
and attention outputs, are restored at three positions; for one fact at all of its tokens. Noise on
the subject, and another subject in its place. What is in the file already is not made again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pathpatch import (
    Fact,
    Pair,
    causal_trace,
    embedding_std,
    fact_prompts,
    gaussian_noise,
    load_facts,
    load_model,
    make_prompts,
    windows,
)
from pathpatch.effects import About
from pathpatch.engine.traces import Trace
from pathpatch.nodes import Model, grid, names, node_set
from pathpatch.prompts import Prompts

FILE = Path(__file__).resolve().parent / "data" / "tracing_smollm2.npz"
BEFORE = "subject_before_last"
AT = (BEFORE, "subject_last", "END")
SURE, LONG = 1 / 2, 3  # at least: probability of the answer, tokens of the subject
ONE = "The Eiffel Tower"
MARY, JOHN = 1, 9  # where the name stands; that John is the second one
CASE = Pair(
    clean="When Mary and John went to the store, John gave a drink to",
    corrupt="When Alice and Kevin went to the store, Susan gave a drink to",
    answer=" Mary",
    foil=" John",
)


def the_facts(model: Model) -> list[Fact]:
    """Those that SmolLM2 is sure of, with subjects long enough to have a first and a last token."""
    facts = [fact for fact in load_facts() if fact.probability >= SURE]
    prompts = fact_prompts(model.tokenizer, facts)
    size = prompts.orig.at("subject_last") - prompts.orig.at("subject_first") + 1
    return [fact for fact, n in zip(facts, size.tolist(), strict=True) if n >= LONG]


def one_fact(model: Model) -> Prompts:
    """The fact of the first figure."""
    return fact_prompts(model.tokenizer, [f for f in the_facts(model) if f.subject == ONE])


def the_case(model: Model, subject: int = MARY) -> Prompts:
    """The sentence of all chapters; the name at this place is the subject that gets the noise."""
    at = {"subject_first": subject, "subject_last": subject}
    return make_prompts(model.tokenizer, [replace(CASE, positions=at)])


def the_noise(model: Model, prompts: Prompts) -> Tensor:
    """Two draws for each of many prompts, five for one, with three standard deviations of the
    embeddings of all subjects that we have facts about."""
    draws = 2 if len(prompts) > 1 else 5
    scale = 3 * embedding_std(model, [fact.subject for fact in load_facts()])
    return gaussian_noise(model, prompts.orig, scale, torch.Generator().manual_seed(0), draws)


def the_prompts(model: Model) -> Prompts:
    """The facts, with a label for the last token but one of the subject."""
    prompts = fact_prompts(model.tokenizer, the_facts(model))
    orig, new = (
        replace(side, positions=side.positions | {BEFORE: side.at("subject_last") - 1})
        for side in (prompts.orig, prompts.new)
    )
    return replace(prompts, orig=orig, new=new)


def questions(model: Model) -> dict[str, tuple[Prompts, list[str], bool, list[str]]]:
    """Name of a trace -> its prompts, its entries, whether there is noise, and what is severed."""
    case, one, facts = the_case(model), one_fact(model), the_prompts(model)
    everywhere = list(range(one.orig.ids.shape[1]))

    def single(kind: str, at: Sequence[str | int]) -> list[str]:
        return [str(node) for node in grid(model, kind, at)]

    asked = {
        "case, states": (case, single("resid_post", ["subject_last", "END"]), True, []),
        "one fact, states": (one, single("resid_post", everywhere), True, []),
        "one fact, MLPs": (one, windows(model, "mlp_out", everywhere), True, []),
        "one fact, attention": (one, windows(model, "attn_out", everywhere), True, []),
    }
    # Of the facts' states all layers with noise; of the rest every second layer is enough.
    last = ["subject_last"]
    asked["facts, states, noise"] = (facts, single("resid_post", AT), True, [])
    asked["facts, MLPs, noise"] = (facts, windows(model, "mlp_out", last)[::2], True, [])
    asked["facts, single MLPs, noise"] = (facts, single("mlp_out", last)[::2], True, [])
    for kind in ("mlp_out", "attn_out"):
        entries = single("resid_post", last)[::2]
        asked[f"facts, states, {kind} severed"] = (facts, entries, True, [kind])
    for kind, entries in (
        ("states", single("resid_post", last)[::2] + single("resid_post", ["END"])[::2]),
        ("MLPs", windows(model, "mlp_out", last)[::2]),
    ):
        asked[f"facts, {kind}, other subject"] = (facts, entries, False, [])
    return asked


def save(traces: dict[str, Trace]) -> None:
    """Probabilities in ten-thousandths, as whole numbers: small."""
    arrays, facts = {}, {}
    for name, found in traces.items():
        for part in ("clean", "corrupted", "restored"):
            arrays[f"{name}, {part}"] = np.round(1e4 * getattr(found, part)).astype(np.int16)
        facts[name] = (names(found.nodes), asdict(found.about), found.templates)
    np.savez_compressed(FILE, facts=json.dumps(facts), **arrays)


def load() -> dict[str, Trace]:
    """Name of a trace -> its Trace, to a ten-thousandth."""
    if not FILE.exists():
        return {}
    with np.load(FILE) as found:
        return {
            name: Trace(
                [node_set(entry) for entry in nodes],
                *(found[f"{name}, {part}"] / 1e4 for part in ("clean", "corrupted", "restored")),
                About(**details),
                templates,
            )
            for name, (nodes, details, templates) in json.loads(str(found["facts"])).items()
        }


if __name__ == "__main__":
    model, traces = load_model("smollm2"), load()
    for name, (prompts, entries, noisy, severed) in questions(model).items():
        if name not in traces:
            noise = the_noise(model, prompts) if noisy else None
            traces[name] = causal_trace(model, prompts, entries, noise=noise, severed=severed)
            save(traces)
