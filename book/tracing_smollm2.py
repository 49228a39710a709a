"""The traces of chapter 4: causal tracing in SmolLM2-135M, into data/tracing_smollm2.npz.

    python book/tracing_smollm2.py    15 minutes on one core

Facts that SmolLM2 knows well, whose subjects have three tokens or more. States, and windows of MLP
and attention outputs, are restored at three positions; for one fact at all of its tokens. Noise on
the subject, and another subject in its place. What is in the file already is not made again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from pathpatch import (
    Fact,
    answer_prob,
    embedding_std,
    fact_prompts,
    gaussian_noise,
    load_facts,
    load_model,
    windows,
)
from pathpatch.effects import About
from pathpatch.engine.blocks import about
from pathpatch.engine.traces import Trace
from pathpatch.forward import run
from pathpatch.metrics import per_prompt
from pathpatch.nodes import LOGITS, Model, Node, grid, names, node_set
from pathpatch.prompts import Prompts
from pathpatch.tracing import EMBED, _on_subject, _severed
from pathpatch.uncertainty import clusters

FILE = Path(__file__).resolve().parent / "data" / "tracing_smollm2.npz"
AT = ("subject_first", "subject_last", "END")
DRAWS, SURE, LONG = 4, 1 / 2, 3  # of the noise; probability of the answer; tokens of the subject
ONE = "The Eiffel Tower"


def the_facts(model: Model) -> list[Fact]:
    """Those that SmolLM2 is sure of, with subjects long enough to have a first and a last token."""
    facts = [fact for fact in load_facts() if fact.probability >= SURE]
    prompts = fact_prompts(model.tokenizer, facts)
    size = prompts.orig.at("subject_last") - prompts.orig.at("subject_first") + 1
    return [fact for fact, n in zip(facts, size.tolist(), strict=True) if n >= LONG]


def one_fact(model: Model) -> Prompts:
    """The fact of the first figure."""
    return fact_prompts(model.tokenizer, [f for f in the_facts(model) if f.subject == ONE])


def the_noise(model: Model, prompts: Prompts, draws: int = DRAWS) -> Tensor:
    """Three standard deviations of the embeddings of all subjects that we have facts about."""
    scale = 3 * embedding_std(model, [fact.subject for fact in load_facts()])
    return gaussian_noise(model, prompts.orig, scale, torch.Generator().manual_seed(0), draws)


def questions(model: Model) -> dict[str, tuple[Prompts, list[str], bool, list[str]]]:
    """Name of a trace -> its prompts, its entries, whether there is noise, and what is severed."""
    facts, one = fact_prompts(model.tokenizer, the_facts(model)), one_fact(model)
    everywhere = list(range(one.orig.ids.shape[1]))
    asked = {}
    for name, prompts, at in (("one fact", one, everywhere), ("facts", facts, AT)):
        entries = {
            "states": names([[n] for n in grid(model, "resid_post", at)]),
            "MLP windows": windows(model, "mlp_out", at),
            "attention windows": windows(model, "attn_out", at),
        }
        for kind, chosen in entries.items():
            asked[f"{name}, {kind}, noise"] = (prompts, chosen, True, [])
            if name == "facts":
                asked[f"{name}, {kind}, other subject"] = (prompts, chosen, False, [])
    last = ["subject_last"]
    alone = names([[n] for n in grid(model, "mlp_out", last)])
    asked["facts, single MLPs, noise"] = (facts, alone, True, [])
    states = names([[n] for n in grid(model, "resid_post", last)])
    for kind in ("mlp_out", "attn_out"):
        asked[f"facts, states, noise, {kind} severed"] = (facts, states, True, [kind])
    return asked


@torch.no_grad()
def trace(
    model: Model, prompts: Prompts, entries: Sequence[str], noisy: bool, severed: Sequence[str]
) -> Trace:
    """`causal_trace` by another road: all draws at once, and each restored run begins in the layer
    of its first change, with the state of the corrupted run there. Llama only.
    """
    sets = [node_set(entry) for entry in entries]
    kinds = sorted({node.kind for nodes in sets for node in nodes} | {"resid_pre", *severed})
    reads = [node for kind in kinds for node in grid(model, kind)]
    clean = run(model, prompts.orig, reads=[EMBED, LOGITS, *reads])
    if noisy:
        change = _on_subject(prompts.orig, the_noise(model, prompts))
        embed = clean[EMBED] + change  # [draw, batch, pos, d_model]
    else:
        embed = run(model, prompts.new, reads=[EMBED])[EMBED][None]
    below, low, rows = [], [], []
    for draw in embed:
        found = run(model, prompts.orig, reads=[LOGITS, *reads], writes={EMBED: draw})
        below.append([found[node] for node in grid(model, "resid_pre")])
        low.append(found)
    corrupted = torch.stack([per_prompt(answer_prob, found[LOGITS], prompts) for found in low])
    states = [torch.stack(draws) for draws in zip(*below, strict=True)]  # [draw, batch, pos, d]
    for nodes in tqdm(sets, mininterval=10, desc="restored runs"):
        cut = [node for node in _severed(model, severed, nodes) if node not in nodes]
        writes = {n: torch.stack([found[n] for found in low]) for n in cut}  # [draw, batch, d]
        writes |= {n: clean[n].expand(len(low), -1, -1) for n in nodes}
        rows.append(per_draw(model, prompts, upward(model, prompts, states, writes)))
    details = about(
        model,
        prompts,
        sets,
        answer_prob,
        receivers=[],
        frozen="+".join(severed) or "nothing",
        engine="causal tracing",
    )
    values = [a.numpy() for a in (per_prompt(answer_prob, clean[LOGITS], prompts), corrupted)]
    return Trace(sets, *values, torch.stack(rows).numpy(), details, clusters(prompts))


def upward(
    model: Model, prompts: Prompts, states: Sequence[Tensor], writes: Mapping[Node, Tensor]
) -> Float[Tensor, "draw batch pos d_model"]:
    """The state after the last layer. states: those below each layer, [draw, batch, pos, d_model].

    writes: at one position each, [draw, batch, d_model].
    """
    network, start = model.original_model.model, min(node.layer for node in writes)
    x, batch = states[start].flatten(0, 1), torch.arange(len(prompts))  # [draw * batch, pos, d]
    angles = network.rotary_emb(x, torch.arange(x.shape[1])[None])
    later = torch.full((x.shape[1], x.shape[1]), -torch.inf, dtype=x.dtype).triu(1)  # [pos, pos]

    def written(kind: str, layer: int, x: Tensor) -> Tensor:
        x = x.unflatten(0, (-1, len(prompts)))  # [draw, batch, pos, d_model]
        for node, value in writes.items():
            if (node.kind, node.layer) == (kind, layer):
                x[:, batch, prompts.orig.at(node.at)] = value
        return x.flatten(0, 1)

    for i, layer in enumerate(network.layers[start:], start):
        ready = layer.input_layernorm(x)
        heard = layer.self_attn(
            ready, position_embeddings=angles, attention_mask=later[None, None]
        )[0]
        x = x + written("attn_out", i, heard)
        x = x + written("mlp_out", i, layer.mlp(layer.post_attention_layernorm(x)))
        x = written("resid_post", i, x)
    return x.unflatten(0, (-1, len(prompts)))


def per_draw(model: Model, prompts: Prompts, x: Tensor) -> Float[Tensor, "draw batch"]:
    """The probability of the answer, from the states after the last layer."""
    end = x[:, torch.arange(len(prompts)), prompts.orig.at("END")]  # [draw, batch, d_model]
    logits = model.unembed(model.ln_final(end))  # [draw, batch, vocab]
    return torch.stack([per_prompt(answer_prob, row, prompts) for row in logits])


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
    for name, asked in questions(model).items():
        if name not in traces:
            traces[name] = trace(model, *asked)
            save(traces)
