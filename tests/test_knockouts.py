"""Knock-outs: reference values worked out again one number at a time, masks, the oracle."""

from random import Random

import numpy as np
import oracle
import pytest
import torch
from conftest import Tiny, ends, examples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_handmade import make

from pathpatch import (
    Ablation,
    Knockout,
    Node,
    Pair,
    PathPatchError,
    Prompts,
    baseline,
    completeness,
    faithfulness,
    heads,
    ioi_prompts,
    logit_diff,
    make_prompts,
    minimality,
    mlps,
    run,
)
from pathpatch.circuits.ablation import POSITIONS, REFERENCES, donors, references
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.nodes import as_nodes
from pathpatch.tasks.ioi import TEMPLATES

EXACT = 1e-10
# Two prompts of every template and order; the templates put S2 and END at different tokens.
MIXED = ioi_prompts(tiny_tokenizer(), 12, Random(5), [TEMPLATES[i] for i in (13, 3, 4)])


def same(found, expected) -> bool:
    return bool(np.abs(np.asarray(found) - np.asarray(expected)).max() < EXACT)


def rules(reference: str, **more) -> Ablation:
    return Ablation(reference, generator=np.random.default_rng(3), **more)


def literal_reference(tiny: Tiny, prompts: Prompts, reference: str, drawn=None) -> dict:
    """[batch, pos, ...] of every head and MLP, one prompt and one position after another."""
    new = oracle.forward(tiny.weights, prompts.new.ids)
    found = {}
    for key, value in new.items():
        if key[0] not in ("z", "mlp_out"):
            continue
        result = torch.zeros_like(value)
        for i, pair in enumerate(prompts.pairs):
            group = [j for j, other in enumerate(prompts.pairs) if other.group == pair.group]
            assert len(group) == 2
            for pos in range(int(prompts.orig.at("END")[i]) + 1):
                if reference == "mean":
                    result[i, pos] = (value[group[0], pos] + value[group[1], pos]) / 2
                elif reference == "resample":
                    result[i, pos] = value[i, pos]
                elif reference == "shuffle":
                    result[i, pos] = value[drawn[i], pos]
        found[key] = result
    return found


def literal_score(tiny: Tiny, prompts: Prompts, kept: list, reference: dict, kinds) -> np.ndarray:
    """Climb the layers: each component keeps what was computed at its own positions only.

    kept: (kind, layer, head, label or None), the label looked up in each prompt by itself.
    """
    ids, edits = prompts.orig.ids, []
    for layer in range(len(tiny.weights.layers)):
        for kind in kinds:
            trace = oracle.forward(tiny.weights, ids, edits)
            for key in [key for key in reference if key[:2] == (kind, layer)]:
                value = reference[key].clone()
                for i in range(len(prompts)):
                    for *node, label in kept:
                        if tuple(node) == key and label is None:
                            value[i] = trace[key][i]
                        elif tuple(node) == key:
                            at = int(prompts.orig.positions[label][i])
                            value[i, at] = trace[key][i, at]
                edits.append(((*key, None), value))
    logits = oracle.forward(tiny.weights, ids, edits)[oracle.LOGITS]
    return logit_diff(ends(logits, prompts.orig), prompts).numpy()


KEPT = ["0.1@S1", "0.2@S2", "0.2@END", "1.0@S1+1", "1.3", "2.0@END", "2.1@IO"]


@pytest.mark.parametrize("candidates", ["heads", "heads+mlps"])
@pytest.mark.parametrize("reference", REFERENCES)
def test_equals_the_oracle(tiny: Tiny, reference: str, candidates: str):
    how = rules(reference, candidates=candidates)
    kept = KEPT + ["0.mlp_out", "1.mlp_out@S2"] * (candidates == "heads+mlps")
    knockout = Knockout(tiny.model, MIXED, how)
    drawn = donors(MIXED, rules(reference)).argmax(1).tolist()
    literal = literal_reference(tiny, MIXED, reference, drawn)
    kinds = ("z", "mlp_out")[: 1 + (candidates == "heads+mlps")]
    for nodes in (as_nodes(kept), []):
        tuples = [(n.kind, n.layer, n.head, n.at) for n in nodes]
        expected = literal_score(tiny, MIXED, tuples, literal, kinds)
        assert same(knockout.score(nodes), expected)
    assert knockout.score(kept).std() > 1e-3
    assert not same(knockout.score(kept), knockout.score([]))


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference_values_equal_the_literal_ones(tiny: Tiny, reference: str):
    drawn = donors(MIXED, rules(reference)).argmax(1).tolist()
    literal = literal_reference(tiny, MIXED, reference, drawn)
    nodes = heads(tiny.model) + mlps(tiny.model)
    found = references(tiny.model, MIXED, rules(reference), nodes)
    assert set(found) == {*heads(tiny.model), *mlps(tiny.model)}
    for node, value in found.items():
        for i, end in enumerate(MIXED.orig.at("END")):
            expected = literal[node.kind, node.layer, node.head][i, : end + 1]
            assert same(value[i, : end + 1], expected)


@pytest.mark.parametrize("reference", REFERENCES)
def test_keeping_everything_changes_nothing(tiny: Tiny, reference: str):
    knockout = Knockout(tiny.model, MIXED, rules(reference, candidates="heads+mlps"))
    before = baseline(tiny.model, MIXED)["logit_diff"]
    assert same(knockout.score(), before)
    assert same(knockout.score(heads(tiny.model) + mlps(tiny.model)), before)
    labels = [node for at in range(9) for node in heads(tiny.model, at)]
    assert not same(knockout.score(labels + mlps(tiny.model)), before)


@given(st.lists(st.sampled_from(KEPT), unique=True), st.lists(st.sampled_from(KEPT), unique=True))
@settings(max_examples=examples(30))
def test_masks_are_sets_of_prompts_and_positions(kept: list[str], without: list[str]):
    made = make("machine token")  # three layers, two heads: kept nodes beyond it are left out
    prompts = made.prompts["abc"][::9]
    kept, without = ([n for n in names if int(n[2]) < 2] for names in (kept, without))
    for mine in (None, as_nodes(kept)):
        for positions in POSITIONS:
            knockout = Knockout(made.model, prompts, rules("zero", positions=positions))
            masks = knockout.masks(mine, as_nodes(without))

            def has(names, node: Node, i: int, pos: int, positions: str = positions) -> bool:
                return any(
                    n.everywhere() == node
                    and (n.at is None or positions == "all" or prompts.orig.at(n.at)[i] == pos)
                    for n in as_nodes(names)
                )

            for node, mask in masks.items():
                for i in range(0, len(prompts), 5):
                    for pos in range(prompts.orig.ids.shape[1]):
                        inside = mine is None or has(mine, node, i, pos)
                        expected = inside and not has(without, node, i, pos)
                        assert mask[i, pos].item() == expected


@pytest.mark.parametrize("reference", ["zero", "resample"])
def test_a_prompt_scores_the_same_in_any_company(tiny: Tiny, reference: str):
    """It would not if its mask held the positions of the others (S2 is at 9 tokens or so)."""
    assert len(MIXED.orig.at("S2").unique()) > 2
    together = Knockout(tiny.model, MIXED, rules(reference)).score(["0.1@S2", "1.2@S1", "2.0@END"])
    for i in range(len(MIXED)):
        alone = Knockout(tiny.model, MIXED[i : i + 1], rules(reference))
        assert same(alone.score(["0.1@S2", "1.2@S1", "2.0@END"]), together[i])


@pytest.mark.usefixtures("as_users_run")
def test_none_is_no_circuit(tiny: Tiny):
    knockout = Knockout(tiny.model, MIXED, rules("mean"))
    for ask in (
        lambda: faithfulness(knockout, None),
        lambda: completeness(knockout, None, {}),
        lambda: minimality(knockout, None),
    ):
        with pytest.raises(PathPatchError, match="expected a list of nodes or edges, got None"):
            ask()


def test_without_takes_away(tiny: Tiny):
    knockout = Knockout(tiny.model, MIXED, rules("mean"))
    all_but = [node for node in heads(tiny.model) if str(node) != "1.2.z"]
    assert same(knockout.score(None, ["1.2"]), knockout.score(all_but))
    assert same(knockout.score(KEPT, ["2.0@END", "1.3"]), knockout.score(KEPT[:4] + KEPT[6:]))
    assert not same(knockout.score(None, ["1.2@END"]), knockout.score(None, ["1.2"]))
    where = Knockout(tiny.model, MIXED, rules("mean", positions="all"))
    assert same(where.score(None, ["1.2@END"]), knockout.score(None, ["1.2"]))
    assert same(where.score(["1.2@END", "0.0@S2"]), knockout.score(["1.2", "0.0"]))


def test_means_over_other_prompts(tiny: Tiny):
    """The same as in one set; and padding is cut or added where the sets differ in length."""
    nodes = ["0.1@S2", "1.2@S1", "2.0@END"]
    whole = Knockout(tiny.model, MIXED, rules("mean")).score(nodes)
    short = [i for i, pair in enumerate(MIXED.pairs) if not pair.group.endswith(" 2")]
    part = make_prompts(tiny.model.tokenizer, [MIXED.pairs[i] for i in short])
    assert part.orig.ids.shape[1] == MIXED.orig.ids.shape[1] - 5
    assert same(Knockout(tiny.model, part, rules("mean", over=MIXED)).score(nodes), whole[short])
    first = MIXED[short[0] : short[0] + 1]  # a slice keeps its padding
    found = Knockout(tiny.model, first, rules("mean", over=part)).score(nodes)
    assert same(found, whole[short[0]])
    for reference in ("resample", "zero"):  # these need no other prompts
        found = Knockout(tiny.model, MIXED, rules(reference, over=part)).score(nodes)
        assert same(found, Knockout(tiny.model, MIXED, rules(reference)).score(nodes))
    with pytest.raises(PathPatchError, match=r"prompts \[2, 3, 8, 9\] find no prompt"):
        Knockout(tiny.model, MIXED, rules("mean", over=part))


def test_who_counts_for_whom():
    texts = ("Then, Anna and Paul said to", "Then, Lucy and Mary said to", " Anna", " Paul")
    other = ("Then, Anna and Paul said", "Then, Lucy and Mary said", " Anna", " Paul")
    pairs = [
        Pair(*texts, {"S2": 3}, "ABBA 1"),
        Pair(*texts, {"S2": 3}, "ABBA 1"),
        Pair(*texts, {"S2": 4}, "ABBA 1"),  # the same group, but S2 elsewhere
        Pair(*other, {"S2": 3}, "ABBA 1"),  # the same group, but shorter
        Pair(*texts, {"S2": 3}, "ABBA 2"),
        Pair(*texts, {"S2": 3}),
        Pair(*texts, {"S2": 3}),  # no group: alone
    ]
    prompts = make_prompts(tiny_tokenizer(), pairs)
    expected = torch.eye(7, dtype=torch.float64)
    expected[:2, :2] = 0.5
    assert torch.equal(donors(prompts, rules("mean")), expected)
    assert torch.equal(donors(prompts, rules("resample")), torch.eye(7, dtype=torch.float64))
    assert not donors(prompts, rules("zero")).any()
    with pytest.raises(PathPatchError, match=r"prompts \[5, 6\] find no prompt of their template"):
        donors(prompts, rules("mean", over=prompts[:7]))


def test_shuffling_draws_from_the_template_with_its_generator():
    made = make("machine token")
    prompts = made.prompts["abc"]
    first = donors(prompts, rules("shuffle"))
    assert torch.equal(first, donors(prompts, rules("shuffle")))
    generator = np.random.default_rng(4)
    drawn = [donors(prompts, Ablation("shuffle", generator=generator)) for _ in range(2)]
    assert not torch.equal(*drawn)
    mean = donors(prompts, rules("mean"))
    assert (first.sum(1) == 1).all() and (first.max(1).values == 1).all()
    assert (mean[first.bool()] == 1 / 56).all(), "56 pairs of names in each template and order"
    assert first.argmax(1).unique().numel() > 100


def test_a_score_is_measured_once(tiny: Tiny, monkeypatch):
    knockout = Knockout(tiny.model, MIXED)
    first = knockout.score(["0.1@S2", "1.2"], ["1.2"])
    monkeypatch.setattr("pathpatch.circuits.knockouts.run", None)
    assert knockout.score(as_nodes(["1.2", "0.1@S2"]), {Node("z", 1, 2)}) is first


def test_blocks_of_prompts():
    made = make("machine backup")
    prompts = made.prompts["abc"]
    whole = Knockout(made.model, prompts, rules("resample")).score(["0.0", "2.0@END"])
    part = Knockout(made.model, prompts[30:40], rules("resample")).score(["0.0", "2.0@END"])
    assert len(whole) == 224 and same(whole[30:40], part)
    values = references(made.model, prompts, rules("resample"), heads(made.model))
    a = run(made.model, prompts.new, reads=list(values))
    assert all(torch.equal(value, a[node]) for node, value in values.items())


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"reference": "means"}, "unknown reference 'means'; did you mean 'mean'"),
        ({"positions": "label"}, "unknown positions 'label'; did you mean 'labelled'"),
        ({"candidates": "mlps"}, "unknown candidates 'mlps'"),
        ({"reference": "shuffle"}, "shuffle draws at random: give Ablation a generator"),
    ],
)
def test_refuses_choices_that_are_not_there(asked: dict, words: str):
    with pytest.raises(PathPatchError, match=words):
        Ablation(**asked)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("0.1.q@END", "0.1.q@END cannot be kept or knocked out: candidates are heads, by"),
        ("1.mlp_out", r"1.mlp_out cannot be kept .* such as 0.0.z \(choices: heads, heads\+mlps"),
        ("0.9@END", "head 9 of node"),
        ("0.1@S3", "no position 'S3'"),
        ("0.1@40", "position 40 is outside a prompt"),
    ],
)
def test_refuses_nodes_that_cannot_be_knocked_out(tiny: Tiny, node: str, words: str):
    knockout = Knockout(tiny.model, MIXED)
    for kept, without in (([node], []), (None, [node]), (["0.1"], [node])):
        with pytest.raises(PathPatchError, match=words):
            knockout.score(kept, without)
    with pytest.raises(PathPatchError, match="got the string"):
        knockout.score("0.1")
