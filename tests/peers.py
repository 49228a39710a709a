"""Oracles that nobody here wrote: numbers of other projects' code, and the same from this library.

Their numbers are in tests/golden/peers, with a README that says whose they are. A definition of
theirs that differs from ours is computed here from our parts, and `why` says what differs.

python tests/peers.py     writes book/data/peers.json, which the appendix prints (two minutes)

The tests compare a twentieth of the experiments, and with PATHPATCH_AUDIT=1 all of them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from pathpatch import (
    LOGITS,
    Ablation,
    EdgeKnockout,
    Knockout,
    Link,
    Node,
    Pair,
    Prompts,
    SweepOptions,
    Tokens,
    activation_sweep,
    answer_prob,
    causal_trace,
    edge_attribution,
    grid,
    ioi_prompts,
    logit_diff,
    minimality,
    node_attribution,
    path_sweep,
    run,
    windows,
    wrap,
)
from pathpatch.circuits import attribution
from pathpatch.circuits.gradients import gradients
from pathpatch.circuits.links import step
from pathpatch.models.tiny import tiny_hf, tiny_tokenizer, word_tokenizer
from pathpatch.nodes import FROZEN, Model
from pathpatch.tasks.ioi import TEMPLATES
from pathpatch.tracing import CODE

GOLDEN = Path(__file__).parent / "golden" / "peers"
TABLE = Path(__file__).parents[1] / "book" / "data" / "peers.json"
FILES = sorted(path.stem for path in GOLDEN.glob("*.json"))
WHOLE = "PATHPATCH_AUDIT" in os.environ or __name__ == "__main__"
EXACT = 1e-10  # in float64, in units of the values
EMBED = Node("embed")
# How a definition of theirs differs: book/a_peers.md says it under these words.
LINE = "points on the line"
INPUT = "MLPs"
REDRAWN = "noise"


@dataclass(frozen=True)
class Compared:
    """Numbers of theirs beside ours, in the same units. `why`: how their definition differs."""

    what: str
    theirs: Any
    ours: Any
    why: str = ""

    @property
    def numbers(self) -> int:
        return np.asarray(self.theirs).size

    @property
    def apart(self) -> float:
        """The largest difference.

        Raises: ValueError for another number of numbers, for none, and for NaN or infinity.
        """
        theirs, ours = np.asarray(self.theirs, float), np.asarray(self.ours, float)
        if theirs.shape != ours.shape or not theirs.size:
            raise ValueError(f"{self.what}: {theirs.shape} numbers of theirs, {ours.shape} of ours")
        if not np.isfinite(theirs - ours).all():
            raise ValueError(f"{self.what}: some are not finite numbers")
        return float(abs(theirs - ours).max())


@cache
def golden(file: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{file}.json").read_text(encoding="utf-8"))


def experiments(file: str) -> list[dict[str, Any]]:
    """All of a file, or a twentieth: kinds, models and directions take turns."""
    every = golden(file)["experiments"]
    some = max(1, len(every) // 20)
    return every if WHOLE else [every[i * (some + 1) % len(every)] for i in range(some)]


@cache
def original(kind: str) -> Any:
    """The random model before it is wrapped: "gpt2", "llama", or ROME's ("rome")."""
    if kind != "rome":
        return tiny_hf(kind, seed=3)
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = {"n_layer": 12, "n_embd": 24, "n_head": 4, "n_positions": 32, "vocab_size": 27}
    model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=None, eos_token_id=None)).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            one = float("ln_" in name and name.endswith("weight"))
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(one + 0.3 * noise)
    return model.eval()


@cache
def fingerprint(kind: str) -> str:
    """SHA-256 of the names and weights, before the model is wrapped."""
    found = hashlib.sha256()
    for name, weight in sorted(original(kind).state_dict().items()):
        found.update(name.encode() + weight.numpy().astype("<f8").tobytes())
    return found.hexdigest()


@cache
def model_of(kind: str) -> Model:
    fingerprint(kind)  # wrapping changes the model
    return wrap(original(kind), rome_tokenizer() if kind == "rome" else tiny_tokenizer(), kind)


def rome_tokenizer() -> Any:
    words = "The Eiffel Tower is in the city of Paris Rome near Big Old".split()
    return word_tokenizer([form for word in words for form in (word, f" {word}")])


@cache
def prompts_of(file: str) -> Prompts:
    """The prompts of a file (ROME's come from its file)."""
    if "knockouts" in file:
        return ioi_prompts(tiny_tokenizer(), 24, Random(5), TEMPLATES[:3])
    return ioi_prompts(tiny_tokenizer(), 12, Random(1))


def prompt_hashes(prompts: Prompts) -> dict[str, Any]:
    """SHA-256 of the tokens, answers and labelled positions, as the files have them."""
    positions = [where for _, where in sorted(prompts.orig.positions.items())]
    parts = {
        "clean_ids": [prompts.orig.ids],
        "corrupt_ids": [prompts.new.ids],
        "answer_then_foil": [prompts.answer, prompts.foil],
        "positions_by_sorted_label": positions,
    }
    found: dict[str, Any] = {}
    for name, tensors in parts.items():
        data = b"".join(tensor.numpy().astype("<i8").tobytes() for tensor in tensors)
        found[name] = hashlib.sha256(data).hexdigest()
    return found | {"shape": list(prompts.orig.ids.shape)}


def check_inputs(file: str) -> None:
    """Raises: AssertionError when a model or the prompts are not those of the other project."""
    if file == "rome":
        assert fingerprint("rome") == golden(file)["model_sha256"], "ROME's model is another"
        return
    for kind, digest in golden(file)["models_sha256"].items():
        assert fingerprint(kind) == digest, f"tiny-{kind} is another model than the one of {file}"
    found, wanted = prompt_hashes(prompts_of(file)), golden(file)["prompts_sha256"]
    assert found == wanted, f"these are not the prompts of {file}"


def side(file: str, direction: str) -> Prompts:
    prompts = prompts_of(file)
    return prompts if direction == "noising" else prompts.swapped()


def base(file: str) -> Iterator[Compared]:
    """The logit difference without a patch."""
    for kind, directions in golden(file)["base"].items():
        for direction, values in directions.items():
            prompts = side(file, direction)
            logits = run(model_of(kind), prompts.orig, reads=[LOGITS])[LOGITS]
            yield Compared("no patch", values, logit_diff(logits, prompts))


def sweeps(file: str) -> Iterator[Compared]:
    """Path patching, edges and activation patching: the same sweep, in both of our engines."""
    what = {"heads": "path patching", "heads+mlps": "edges"}
    for asked in experiments(file):
        model, prompts = model_of(asked["model"]), side(file, asked["direction"])
        for engine in ("fast", "literal"):
            options = SweepOptions(engine, quiet=True)
            if not asked["receivers"]:
                if engine == "literal":
                    found = activation_sweep(model, prompts, nodes=asked["senders"])
                    yield Compared("activation patching", asked["values"], found.patched)
                continue
            ends = {"senders": asked["senders"], "receivers": asked["receivers"]}
            frozen = FROZEN[asked["frozen"]](model)
            found = path_sweep(model, prompts, **ends, frozen=frozen, options=options)
            assert found.about.engine == engine
            yield Compared(f"{what[asked['frozen']]}, {engine}", asked["values"], found.patched)


def all_but_one(file: str) -> Iterator[Compared]:
    """A patched edge is a circuit of all other edges, of which the rest is resampled."""
    rules = Ablation("resample", candidates="heads+mlps")
    for asked in experiments(file):
        (receiver,) = asked["receivers"]
        if "resid_post@" in receiver:  # they read END whatever the position; here there is no edge
            continue
        end = "logits" if "resid_post" in receiver else receiver
        model, prompts = model_of(asked["model"]), side(file, asked["direction"])
        knockout = EdgeKnockout(model, prompts, rules)
        ours = [knockout.score(None, [(sender, end)]) for sender in asked["senders"]]
        yield Compared("circuits of edges, all but one", asked["values"], ours)


def all_that_send(model: Model, circuit: list[str]) -> list[Link]:
    """Every edge out of the embedding and some nodes."""
    senders = [EMBED, *map(Node.parse, circuit)]
    receivers = [node for kind in ("q", "k", "v", "mlp_in", "logits") for node in grid(model, kind)]
    return [Link(h, r) for h in senders for r in receivers if step(h) < step(r)]


def theirs_on_the_line(ends: list[int], steps: int) -> Callable[..., Any]:
    """A stand-in for `attribution._line`: these of the points k/steps from x_new to x_orig."""

    def line(a: Any, b: Any, _: int) -> Iterator[tuple[float, dict[Node, Tensor]]]:
        for k in ends:
            yield 1 / len(ends), {EMBED: a[EMBED] + k / steps * (b[EMBED] - a[EMBED])}

    return line


def slope_at_input(model: Model, prompts: Prompts, embed: Tensor, layer: int) -> Tensor:
    """The gradient of the logit difference where the MLP of a layer reads."""
    node = Node("mlp_in", layer)

    def of(logits: Tensor) -> Tensor:
        return logit_diff(logits, prompts)

    return gradients(model, prompts.orig, of, nodes=[node], writes={EMBED: embed})[node]


def written(model: Model, prompts: Prompts, sender: str) -> Tensor:
    """x_new minus x_orig of what a sender writes into the residual stream."""
    node = Node.parse(sender)
    change = run(model, prompts.new, reads=[node])[node]
    change = change - run(model, prompts.orig, reads=[node])[node]
    return change @ model.blocks[node.layer].attn.W_O[node.head] if node.kind == "z" else change


def embeddings(model: Model, prompts: Prompts, points: list[float]) -> list[Tensor]:
    """At each point of the line from x_new (0) to x_orig (1)."""
    new, orig = (run(model, t, reads=[EMBED])[EMBED] for t in (prompts.new, prompts.orig))
    return [new + point * (orig - new) for point in points]


def known(theirs: Any, ours: Any) -> tuple[Any, Any]:
    """Only where their graph has an edge."""
    theirs = np.array(theirs, dtype=float)
    there = ~np.isnan(theirs)
    return theirs[there], np.asarray(ours)[there]


def edge_scores(asked: dict[str, Any], model: Model, prompts: Prompts) -> Iterator[Compared]:
    """Into heads and the end, and into MLPs."""
    into_mlps = [f"{i}.mlp_in" for i in range(model.cfg.n_layers)]
    why = LINE if asked.get("steps") else ""
    for name, key, receivers in (
        (asked["name"], "scores", asked["receivers"]),
        (asked["name"].replace("edges", "edges into MLPs"), "scores_into_mlps", into_mlps),
    ):
        ours = [mean_change(asked, model, prompts, receiver) for receiver in receivers]
        yield Compared(name, *known(asked[key], np.stack(ours, 1)), why)


def mean_change(asked: dict[str, Any], model: Model, prompts: Prompts, receiver: str) -> np.ndarray:
    """Of every sender to one receiver, exact or estimated."""
    ends, steps = {"senders": asked["senders"], "receivers": [receiver]}, asked.get("steps", 0)
    if asked["name"] == "exact edges":
        frozen, options = FROZEN["heads+mlps"](model), SweepOptions(quiet=True)
        found = path_sweep(model, prompts, **ends, frozen=frozen, options=options)
        assert found.about.engine == "fast"
    elif steps:
        with patch.object(attribution, "_line", theirs_on_the_line(list(range(steps)), steps)):
            found = edge_attribution(model, prompts, **ends, steps=steps)
    else:
        found = edge_attribution(model, prompts, **ends)
    return (found.patched - found.base).mean(1)


def node_scores(asked: dict[str, Any], model: Model, prompts: Prompts) -> Iterator[Compared]:
    senders, steps, why = asked["senders"], asked.get("steps", 0), ""
    if "at the input" in asked["name"]:
        points = [k / steps for k in range(1, steps + 1)] if steps else [1.0]
        lines, found = embeddings(model, prompts, points), []
        for sender in senders:
            change = written(model, prompts, sender)
            layer = Node.parse(sender).layer
            slopes = [slope_at_input(model, prompts, e, layer) for e in lines]
            found.append(np.mean([(change * s).flatten(1).sum(1).mean() for s in slopes]))
        yield Compared(asked["name"], asked["scores"], found, INPUT)
        return
    if steps:
        line, why = theirs_on_the_line(list(range(1, steps + 1)), steps), LINE
        with patch.object(attribution, "_line", line):
            table = node_attribution(model, prompts, senders, steps=steps)
    else:
        table = node_attribution(model, prompts, senders)
    yield Compared(asked["name"], asked["scores"], (table.patched - table.base).mean(1), why)


def eap_ig(file: str) -> Iterator[Compared]:
    for asked in experiments(file):
        model, prompts = model_of(asked["model"]), side(file, asked["direction"])
        name = asked["name"]
        if "edges" in name and "nodes" not in name:
            yield from edge_scores(asked, model, prompts)
        elif "scores" in asked:
            yield from node_scores(asked, model, prompts)
        elif "circuits" in asked:
            reference = {"patching": "resample", "zero": "zero"}[asked["intervention"]]
            rules = Ablation(reference, positions="all", candidates="heads+mlps")
            knockout = Knockout(model, prompts, rules)
            ours = [knockout.score(circuit) for circuit in asked["circuits"]]
            yield Compared(f"circuits of nodes, {reference}", asked["values"], ours)
            edges = EdgeKnockout(model, prompts, rules)
            ours = [edges.score(all_that_send(model, circuit)) for circuit in asked["circuits"]]
            yield Compared(f"circuits of edges, {reference}", asked["values"], ours)
        else:
            found = activation_sweep(model, prompts, nodes=asked["senders"])
            yield Compared("exact nodes", asked["values"], found.patched)


def knockouts(file: str) -> Iterator[Compared]:
    """F, per prompt, with the mean over the corrupt prompts of a template in place of a head."""
    data = golden(file)
    wholes = {kind: Knockout(model_of(kind), prompts_of(file)) for kind in data["base"]}
    for kind, values in data["base"].items():
        yield Compared("no knock-out", values["F(M)"], wholes[kind].score())
        yield Compared("knock-outs", values["F(nothing)"], wholes[kind].score([]))
    for asked in experiments(file):
        whole, c, k, v = wholes[asked["model"]], asked["circuit"], asked["K"], asked.get("v")
        sets = {"F(C)": (c, []), "F(C\\K)": (c, k), "F(M\\K)": (None, k)}
        if v is not None:
            sets["F(C\\(K+v))"] = (c, [*k, v])
        for name in sets.keys() & asked.keys():
            yield Compared("knock-outs", asked[name], whole.score(*sets[name]))
        if "minimality" in asked:
            gap = minimality(whole, c, {v: k})[Node.parse(v)]
            yield Compared("minimality", [asked["minimality"]], [gap.size])


def rome_noise(more: bool = False) -> Tensor:
    """[1, draw, pos, d_model]: the generator's first numbers, or its next ones. Each draw is a
    prompt of the batch here, so that all are in one pass."""
    noise, (first, last) = golden("rome")["noise"], golden("rome")["subject_tokens"]
    generator = np.random.RandomState(1)
    for _ in range(1 + more):
        drawn = generator.randn(noise["draws"], last - first, 24) * noise["level"]
    if not more:
        assert hashlib.sha256(drawn.astype("<f8").tobytes()).hexdigest() == noise["sha256_f8"]
    shape = 1, noise["draws"], len(golden("rome")["ids"][0]), 24
    found = torch.zeros(shape, dtype=torch.float64)
    found[0, :, first:last] = torch.from_numpy(drawn)
    return found


def rome_prompts() -> Prompts:
    data = golden("rome")
    (ids,), (first, last), end = data["ids"], data["subject_tokens"], len(data["ids"][0]) - 1
    where = {"END": end, "subject_first": first, "subject_last": last - 1}
    draws = data["noise"]["draws"]
    positions = {label: torch.tensor([at] * draws) for label, at in where.items()}
    tokens, answer = Tokens(torch.tensor([ids] * draws), positions), data["answer"]
    answers, pair = torch.tensor([answer] * draws), Pair(data["prompt"], data["prompt"], "", "")
    return Prompts(tokens, tokens, answers, answers, (pair,) * draws)


def redrawn(node: str, severed: list[str]) -> float:
    """What is severed comes from a run on the first noise; the run that counts has the second."""
    model, prompts, node = model_of("rome"), rome_prompts(), Node.parse(node)
    clean = run(model, prompts.orig, reads=[EMBED, node])
    cut = [Node(kind, i, at=node.at) for kind in severed for i in range(12)]
    (first,), (second,) = rome_noise(), rome_noise(more=True)
    low = run(model, prompts.orig, reads=cut, writes={EMBED: clean[EMBED] + first})
    writes = {EMBED: clean[EMBED] + second} | dict(low) | {node: clean[node]}
    logits = run(model, prompts.orig, reads=[LOGITS], writes=writes)[LOGITS]
    return float(answer_prob(logits, prompts).mean())


def rome(file: str) -> Iterator[Compared]:
    data, model, prompts = golden(file), model_of("rome"), rome_prompts()
    positions = range(len(data["ids"][0]))
    for asked in experiments(file):
        reach, severed = CODE if "window" in asked["name"] else (0, 0), asked["severed"]
        nodes = windows(model, asked["restored_kind"], positions, reach)
        what = "causal tracing" + (f", {'+'.join(severed)} severed" if severed else "")
        why = REDRAWN if "as published" in asked["name"] else ""
        if why:
            found = np.array([redrawn(node, severed) for node in nodes])
        else:
            trace = causal_trace(model, prompts, nodes, noise=rome_noise(), severed=severed)
            found = trace.restored.mean((1, 2))
        yield Compared(what, asked["values"], found.reshape(12, -1).T, why)
    ends = data["clean_probability"], data["corrupted_probability"]
    yield Compared("causal tracing, both ends", ends, (trace.clean.mean(), trace.corrupted.mean()))


COMPARE: dict[str, list[Callable[[str], Iterator[Compared]]]] = {
    "arena": [base, sweeps],
    "arena_knockouts": [knockouts],
    "auto_circuit": [base, sweeps, all_but_one],
    "eap_ig": [base, eap_ig],
    "easy_transformer": [base, sweeps],
    "easy_transformer_knockouts": [knockouts],
    "path_patching": [base, sweeps],
    "rome": [rome],
    "transformer_lens": [base, sweeps],
}


@cache
def rows(file: str) -> list[dict[str, Any]]:
    """The table of one file: a row for each thing that was computed."""
    check_inputs(file)
    found: dict[tuple[str, str], list[Compared]] = {}
    for one in chain.from_iterable(compare(file) for compare in COMPARE[file]):
        found.setdefault((one.what, one.why), []).append(one)
    return [
        {
            "file": file,
            "repository": golden(file)["repository"],
            "what": what,
            "numbers": sum(one.numbers for one in some),
            "apart": max(one.apart for one in some),
            "why": why,
        }
        for (what, why), some in found.items()
    ]


def main() -> None:
    table = [{**row, "apart": f"{row['apart']:.1e}"} for file in FILES for row in rows(file)]
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
