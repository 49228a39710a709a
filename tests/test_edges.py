"""Circuits of edges: against the hook-free oracle, against nodes, and what is refused."""

from collections.abc import Iterable
from dataclasses import replace
from random import Random

import numpy as np
import oracle
import pytest
import torch
from conftest import Tiny, ends

from pathpatch import (
    LOGITS,
    Ablation,
    Circuit,
    Edge,
    EdgeKnockout,
    Knockout,
    Link,
    Node,
    PathPatchError,
    completeness,
    faithfulness,
    ioi_prompts,
    logit_diff,
    minimality,
    path_sweep,
    run,
)
from pathpatch.circuits.ablation import CHOICES, REFERENCES, references
from pathpatch.circuits.assessment import assess
from pathpatch.circuits.links import parts, step
from pathpatch.circuits.subsets import Search
from pathpatch.engine.spec import SweepOptions
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.nodes import FROZEN, Model, grid
from pathpatch.tasks.ioi import TEMPLATES

EXACT = 1e-10
EMBED, END = Node("embed"), LOGITS.everywhere()
CANDIDATES = ("heads", "heads+mlps")
# Two prompts of every template and order; the templates put S2 and END at different tokens.
MIXED = ioi_prompts(tiny_tokenizer(), 12, Random(5), [TEMPLATES[i] for i in (13, 3, 4)])
PLACES = (None, "IO", "S2", "END")


def rules(reference: str, candidates: str, **more) -> Ablation:
    generator = np.random.default_rng(3)
    return Ablation(reference, candidates=candidates, generator=generator, **more)


def every_edge(model: Model, candidates: str) -> list[Link]:
    """All edges, each at all positions."""
    kinds = ["q", "k", "v", *["mlp_in"] * (candidates != "heads")]
    receivers = [node for kind in kinds for node in grid(model, kind)] + [END]
    senders = [EMBED, *FROZEN[candidates](model)]
    return [Link(s, r) for s in senders for r in receivers if step(s) < step(r)]


def some_edges(model: Model, candidates: str, share: float, seed: int) -> list[Link]:
    """Edges drawn at random, at all positions or at one."""
    random = Random(seed)
    drawn = [link for link in every_edge(model, candidates) if random.random() < share]
    ends = (None, "END")  # the logits are read there
    return [
        at_place(link, random.choice(ends if link.receiver == END else PLACES)) for link in drawn
    ]


def at_place(link: Link, at: str | None) -> Link:
    return Link(*(replace(node, at=at) for node in (link.sender, link.receiver)))


def by_the_oracle(tiny: Tiny, asked: Ablation, kept, without: Iterable[Link]) -> np.ndarray:
    """The logit difference, from sums of what every part sends to every receiver."""
    ids, prompts = MIXED.orig.ids, MIXED

    def places(links: Iterable[Link], sender: oracle.Key, receiver: oracle.Key) -> torch.Tensor:
        found = torch.zeros_like(ids, dtype=torch.bool)
        for link in links:
            keys = [(n.kind, n.layer, n.head) for n in (link.sender, link.receiver)]
            if keys == [sender, receiver]:
                found[slice(None) if link.at is None else prompts.orig.index(link.at)] = True
        return found

    def carries(sender: oracle.Key, receiver: oracle.Key) -> torch.Tensor:
        start = (
            torch.ones_like(ids, dtype=torch.bool)
            if kept is None
            else places(kept, sender, receiver)
        )
        return start & ~places(without, sender, receiver)

    nodes = [EMBED, *FROZEN["heads+mlps"](tiny.model)]
    of = references(tiny.model, prompts, asked, nodes)  # test_knockouts works these out by hand
    reference = {(n.kind, n.layer, n.head): value for n, value in of.items()}
    frozen_mlps = asked.candidates != "heads"
    logits = oracle.edge_circuit(tiny.weights, ids, reference, carries, frozen_mlps)
    return logit_diff(ends(logits, prompts.orig), prompts).numpy()


@pytest.mark.sample(5)
@pytest.mark.parametrize("candidates", CANDIDATES)
@pytest.mark.parametrize("reference", REFERENCES)
def test_scores_are_the_oracles(tiny: Tiny, reference: str, candidates: str):
    for seed, share in enumerate((0.2, 0.9)):
        circuit = some_edges(tiny.model, candidates, share, seed)
        removed = Random(seed).sample(circuit, len(circuit) // 4)
        kept = (circuit, None)[seed]
        found = EdgeKnockout(tiny.model, MIXED, rules(reference, candidates))
        asked = rules(reference, candidates)  # shuffle draws the same again
        expected = by_the_oracle(tiny, asked, kept, removed)
        assert np.abs(found.score(kept, removed) - expected).max() < EXACT


@pytest.mark.sample(5)
@pytest.mark.parametrize("candidates", CANDIDATES)
def test_all_edges_are_the_model_and_none_are_the_other_prompt(tiny: Tiny, candidates: str):
    knockout = EdgeKnockout(tiny.model, MIXED, rules("resample", candidates))
    model, other = (
        logit_diff(run(tiny.model, side, reads=[LOGITS])[LOGITS], MIXED).numpy()
        for side in (MIXED.orig, MIXED.new)
    )
    whole = every_edge(tiny.model, candidates)
    for values in (knockout.score(), knockout.score(whole), knockout.score([], whole)):
        expected = (
            other if values is not knockout.score() and abs(values - model).max() > 1 else model
        )
        assert np.abs(values - expected).max() < EXACT
    assert np.abs(knockout.score([]) - other).max() < EXACT
    assert np.abs(knockout.score(None, whole) - other).max() < EXACT


@pytest.mark.sample(5)
@pytest.mark.parametrize("reference", ["resample", "zero", "mean"])
@pytest.mark.parametrize("candidates", CANDIDATES)
def test_all_that_some_nodes_send_is_the_circuit_of_these_nodes(
    tiny: Tiny, candidates: str, reference: str
):
    """What goes into a node that nobody hears does not matter."""
    asked, whole = rules(reference, candidates), every_edge(tiny.model, candidates)
    for seed in range(2):
        nodes = Random(seed).sample(FROZEN[candidates](tiny.model), 6)
        links = [link for link in whole if link.sender in [EMBED, *nodes]]
        found = EdgeKnockout(tiny.model, MIXED, asked).score(links)
        expected = Knockout(tiny.model, MIXED, replace(asked, positions="all")).score(nodes)
        assert np.abs(found - expected).max() < EXACT
        assert np.abs(found - EdgeKnockout(tiny.model, MIXED, asked).score()).max() > 0.01


@pytest.mark.sample(5)
@pytest.mark.parametrize("candidates", CANDIDATES)
def test_all_but_one_edge_is_a_path_patch(tiny: Tiny, candidates: str):
    knockout = EdgeKnockout(tiny.model, MIXED, rules("resample", candidates))
    for link in some_edges(tiny.model, candidates, 0.02, 4):
        effects = path_sweep(
            tiny.model,
            MIXED,
            senders=[link.sender],
            receivers=[LOGITS if link.receiver.kind == "logits" else link.receiver],
            frozen=FROZEN[candidates](tiny.model),
            options=SweepOptions("literal", quiet=True),
        )
        assert np.abs(knockout.score(None, [link]) - effects.patched[0]).max() < EXACT


def test_a_shared_key_is_the_copies_of_all_who_read_it(llama: Tiny):
    knockout = EdgeKnockout(llama.model, MIXED, rules("resample", "heads"))
    group, shared = llama.group, parts(["0.1.z@S2 -> 2.kv1.k@S2"])
    copies = [f"0.1.z@S2 -> 2.{head}.k@S2" for head in range(group, 2 * group)]
    assert np.abs(knockout.score(None, shared) - knockout.score(None, copies)).max() < EXACT
    assert np.abs(knockout.score(None, shared) - knockout.score(None, copies[:1])).max() > 1e-6


def test_positions_may_be_meant_as_all(tiny: Tiny):
    asked = rules("resample", "heads", positions="all")
    wide = EdgeKnockout(tiny.model, MIXED, asked).score(None, ["0.1.z@S2 -> 2.0.k@S2"])
    all_places = EdgeKnockout(tiny.model, MIXED, rules("resample", "heads"))
    assert (wide == all_places.score(None, ["0.1.z -> 2.0.k"])).all()
    assert np.abs(wide - all_places.score(None, ["0.1.z@S2 -> 2.0.k@S2"])).max() > 1e-6


def test_many_prompts_are_the_same_as_few(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    circuit = some_edges(tiny.model, "heads+mlps", 0.5, 1)
    whole = EdgeKnockout(tiny.model, MIXED, rules("mean", "heads+mlps")).score(circuit)
    monkeypatch.setattr("pathpatch.circuits.knockouts.BLOCK", 5)
    cut = EdgeKnockout(tiny.model, MIXED, rules("mean", "heads+mlps")).score(circuit)
    assert np.abs(cut - whole).max() < EXACT


def test_edges_as_they_may_be_given():
    link = Link(Node("z", 0, 1, at="S2"), Node("k", 2, 0, at="S2"))
    measured = Edge("0.1.z@S2", "2.0.k@S2", 1.0, 0.5, 1.5, 10.0, 0.01)
    given = [link, str(link), ("0.1.z@S2", "2.0.k@S2"), measured, "0.1@S2->2.0.k@S2"]
    assert parts(given) == [link] and str(link) == "0.1.z@S2 -> 2.0.k@S2"
    assert parts(["0.1", link]) == [Node("z", 0, 1), link]
    assert parts(Circuit([measured]).edges) == [link]
    assert Link(EMBED, Node("q", 0, 0, at="END")).at == "END"


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        ("0.1.z@S2 -> 2.0.k@S1", "a direct path stays in its position"),
        ("2.0.z -> 1.0.q", "the receiver does not come after the sender"),
        ("1.0.z -> 1.1.q", "the receiver does not come after the sender"),
        ("0.0.q -> 2.0.q", "0.0.q does not send; embed, z, mlp_out do"),
        ("0.0.z -> 2.0.z", "2.0.z does not receive; q, k, v, mlp_in, logits do"),
        ("0.0.z -> 2.9.q", "head 9 of node 2.9.q is out of range"),
        ("0.mlp_out -> 2.0.q", "MLPs belong to the paths between them"),
        ("0.0.z -> 1.mlp_in", "MLPs belong to the paths between them"),
        ("0.0.z@S2 -> logits", "logits are read at END"),
        ("0.0.z -> 1.0.q -> 2.0.q", "as an edge: an edge looks like"),
        ("0.0.z", "0.0.z is a node, and edges are knocked out here"),
    ],
)
def test_what_is_no_edge_is_refused(tiny: Tiny, edge: str, words: str):
    knockout = EdgeKnockout(tiny.model, MIXED, rules("resample", "heads"))
    with pytest.raises(PathPatchError, match=words):
        knockout.score([edge])


def test_nodes_and_edges_are_not_mixed_up(tiny: Tiny):
    with pytest.raises(PathPatchError, match="is an edge, and nodes are knocked out here"):
        Knockout(tiny.model, MIXED, rules("resample", "heads")).score(["0.1.z -> 2.0.k"])


def test_the_tests_of_circuits_take_edges(tiny: Tiny):
    knockout = EdgeKnockout(tiny.model, MIXED, rules("mean", "heads"))
    circuit = ["0.1.z@S2 -> 2.0.k@S2", "2.0.z@END -> logits@END", "embed -> 2.0.v"]
    links = parts(circuit)
    found = faithfulness(knockout, circuit)
    assert (found.circuit == knockout.score(links)).all()
    gaps = completeness(knockout, circuit, {"one": circuit[:1]})
    assert (gaps["one"].one == knockout.score(links[1:])).all()
    assert (gaps["one"].other == knockout.score(None, links[:1])).all()
    needed = minimality(knockout, circuit)
    assert list(needed) == links and (needed[links[0]].other == knockout.score(links[1:])).all()
    with pytest.raises(PathPatchError, match="not among"):
        completeness(knockout, circuit, {"more": ["0.0.z -> 2.0.k"]})


def test_everything_about_a_circuit_of_edges(tiny: Tiny):
    circuit = ["0.1.z@S2 -> 2.0.k@S2", "1.mlp_out -> 2.0.q", "2.0.z@END -> logits@END"]
    asked = rules("mean", "heads+mlps")
    search = Search(np.random.default_rng(0), runs=1, steps=1, nodes_per_step=1)
    found = assess(EdgeKnockout(tiny.model, MIXED, asked), circuit, search, 1)
    assert list(found.minimality) == parts(circuit) and len(found.completeness) == 2
    means = {tuple(row[choice] for choice in CHOICES): row["circuit"] for row in found.choices}
    same = means["mean", "heads+mlps", "labelled"]
    assert same == pytest.approx(float(found.faithfulness.circuit.mean()), abs=EXACT)
    heads_alone = EdgeKnockout(tiny.model, MIXED, rules("mean", "heads"))
    expected = heads_alone.score([circuit[0], circuit[2]]).mean()
    assert means["mean", "heads", "labelled"] == pytest.approx(float(expected), abs=EXACT)
