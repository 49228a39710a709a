"""A set of nodes is a set of places: naming a place twice changes nothing, in whatever order."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
import torch
from conftest import Tiny, as_oracle, ends
from test_attribution import edge_slope

from pathpatch import (
    LOGITS,
    Knockout,
    PathPatchError,
    Prompts,
    Tokens,
    activation_patch,
    activation_sweep,
    causal_trace,
    edge_attribution,
    edge_effects,
    five_treatments,
    heads,
    logit_diff,
    mlps,
    path_patch,
    path_sweep,
    run,
)
from pathpatch.circuits.circuit import Circuit, Edge
from pathpatch.engine.spec import Spec, SweepOptions
from pathpatch.nodes import Node, as_nodes
from pathpatch.pictures.passes import four_passes
from pathpatch.prompts import FIRST, LAST

EXACT = 1e-10


def with_twins(tiny: Tiny) -> Prompts:
    """The prompts with two more labels for S1, as a subject of one token has, and one for END."""
    prompts = tiny.prompts
    index = prompts.orig.positions
    more = {FIRST: index["S1"], LAST: index["S1"], "last": index["END"]}

    def side(tokens: Tokens) -> Tokens:
        return Tokens(tokens.ids, tokens.positions | more)

    return replace(prompts, orig=side(prompts.orig), new=side(prompts.new))


# (senders, the same places named once, receivers); position 4 is S1 in some prompts only.
OVERLAPS = {
    "a head everywhere and at END": ("0.1+0.1@END", "0.1", ["2.3.q@END"]),
    "the first is the last": (f"0.0@{FIRST}+0.0@{LAST}", "0.0@S1", ["1.2.k@S1", "2.0.v@S1"]),
    "an embedding": (f"embed@{FIRST}+embed@{LAST}+embed@S1", "embed@S1", ["1.0.v@S1"]),
    "an MLP": ("1.mlp_out@END+1.mlp_out@last", "1.mlp_out@END", ["2.0.q@END"]),
    "an embedding everywhere": ("embed+embed@S2", "embed", ["2.1.k"]),
    "to the logits": ("2.1@END+2.1@last+2.1", "2.1", ["logits@END"]),
    "shared and own keys": ("0.1@S1", f"0.1@{LAST}", ["2.kv0.k@S1", "2.0.k@S1", f"2.0.k@{LAST}"]),
    "a receiver everywhere": ("0.1", "0.1", ["2.kv0.v", "2.0.v@END", "1.0.q", "1.0.q@last"]),
    "a stream under two names": ("0.1", "0.1", ["1.resid_post@END", "1.resid_post@last"]),
    "the final stream": ("0.1", "0.1", ["2.resid_post@last", "2.resid_post@END"]),
}


def truth(tiny: Tiny, prompts: Prompts, senders: str, receivers, edges: bool) -> np.ndarray:
    sent = [as_oracle(n, prompts.orig) for n in as_nodes(senders.split("+"))]
    received = [as_oracle(n, prompts.orig) for n in as_nodes(receivers)]
    ids = prompts.orig.ids, prompts.new.ids
    logits = oracle.path_patch(tiny.weights, *ids, sent, received, edges)
    return logit_diff(ends(logits, prompts.orig), prompts).numpy()


@pytest.mark.sample(3)
@pytest.mark.parametrize("edges", [False, True], ids=["recompute-mlps", "freeze-mlps"])
@pytest.mark.parametrize("engine", ["fast", "literal"])
@pytest.mark.parametrize("case", OVERLAPS)
def test_a_place_named_twice_counts_once(tiny: Tiny, case: str, engine: str, edges: bool):
    (twice, once, receivers), prompts = OVERLAPS[case], with_twins(tiny)
    frozen = heads(tiny.model) + (mlps(tiny.model) if edges else [])
    asked = {"senders": [twice, once], "receivers": receivers, "frozen": frozen}
    found = path_sweep(tiny.model, prompts, **asked, options=SweepOptions(engine))
    assert found.about.engine == engine
    expected = truth(tiny, prompts, once, receivers, edges)
    assert np.abs(found.patched - expected).max() < EXACT
    assert np.abs(found.change).max() > 1e-3


def test_places_that_meet_in_some_prompts_only(tiny: Tiny):
    prompts = with_twins(tiny)
    meet = (prompts.orig.at("S1") == 4).tolist()
    assert set(meet) == {True, False}
    for receivers in (["2.1.v@S1"], ["2.1.v"], ["1.0.k@S1", "1.0.k@4"]):
        for edges in (False, True):
            frozen = heads(tiny.model) + (mlps(tiny.model) if edges else [])
            senders = "0.1@S1+0.1@4+embed@S1+embed@4"
            found = path_sweep(
                tiny.model, prompts, senders=[senders], receivers=receivers, frozen=frozen
            )
            expected = truth(tiny, prompts, senders, receivers, edges)
            assert np.abs(found.patched - expected).max() < EXACT


@pytest.mark.sample(3)
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("case", OVERLAPS)
def test_edge_attribution_counts_a_place_once(tiny: Tiny, case: str, steps: int):
    (twice, once, receivers), prompts = OVERLAPS[case], with_twins(tiny)
    asked = {"senders": [twice, once], "receivers": receivers, "steps": steps}
    found = edge_attribution(tiny.model, prompts, **asked)
    expected = edge_slope(tiny, prompts, once.split("+"), receivers, steps)
    assert np.abs(found.change - expected).max() < EXACT
    assert np.abs(expected).max() > 1e-8


def test_the_edges_of_a_circuit_count_a_place_once(tiny: Tiny):
    prompts, numbers = with_twins(tiny), (0.0,) * 5
    edge = Edge("0.1.z+0.1.z@END", "2.1.q@last", *numbers)
    found = edge_effects(tiny.model, prompts, Circuit([edge]))
    expected = truth(tiny, prompts, "0.1", ["2.1.q@END"], False)
    assert np.abs(found.patched - expected).max() < EXACT


# -------------------------------------------------------- written twice, with different values


FROZEN = (["0.1@END", "0.1@last"], ["0.1@END", "0.1"], ["0.1@last", "0.1", "0.1@END"])


@pytest.mark.sample(3)
@pytest.mark.parametrize("frozen", FROZEN, ids=" ".join)
@pytest.mark.parametrize("senders", ["0.1@END", "0.1@last", "0.1"])
def test_a_sender_is_patched_however_its_place_is_frozen(tiny: Tiny, senders: str, frozen):
    """Frozen: heads of layer 0 only, and nothing above, so any order of names must agree."""
    prompts, found = with_twins(tiny), []
    for order in (frozen, frozen[::-1]):
        asked = {"senders": [senders], "receivers": ["1.1.q@END"], "frozen": order}
        found.append(path_sweep(tiny.model, prompts, **asked))
    expected = truth(tiny, prompts, senders, ["1.1.q@END"], False)
    for effects in found:
        assert np.abs(effects.patched - expected).max() < EXACT
    assert np.abs(found[0].change).max() > 1e-3


def test_the_diagram_patches_the_sender_too(tiny: Tiny):
    prompts = with_twins(tiny)[:1]
    asked = {"senders": ["0.1@END"], "receivers": ["1.1.q@END"], "frozen": FROZEN[0]}
    d = four_passes(tiny.model, prompts, **asked).passes[-1]
    found = logit_diff(d.found[LOGITS], prompts).numpy()
    expected = truth(tiny, prompts, "0.1@END", ["1.1.q@END"], False)
    assert np.abs(found - expected).max() < EXACT


def test_what_is_restored_is_not_severed(tiny: Tiny):
    """A subject of one token: its first and its last state are the same place."""
    prompts = with_twins(tiny)
    noise = torch.randn(
        (1, *prompts.orig.ids.shape, tiny.model.cfg.d_model),
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )
    both = f"1.mlp_out@{FIRST}+2.mlp_out@{LAST}"
    for entry in (both, "1.mlp_out@S1+2.mlp_out@S1"):
        trace = causal_trace(tiny.model, prompts, [entry], noise=noise, severed=["mlp_out"])
        if entry == both:
            first = trace.restored
            at = prompts.orig.at("S1").tolist()
            for i, token in enumerate(at):
                length = int(prompts.orig.at("END")[i]) + 1
                logits = oracle.causal_trace(
                    tiny.weights,
                    prompts.orig.ids[i, :length],
                    noise[0, i, token : token + 1],
                    range(token, token + 1),
                    [("mlp_out", 1, token), ("mlp_out", 2, token)],
                    ["mlp_out"],
                )
                prob = logits.softmax(-1)[prompts.answer[i]]
                assert abs(trace.restored[0, 0, i] - prob) < EXACT
        else:
            assert np.abs(trace.restored - first).max() < EXACT
    assert np.abs(first - trace.corrupted).max() > 1e-6


# ------------------------------------------------------------------ sets that were right before


def test_activation_patching_knockouts_and_treatments(tiny: Tiny):
    prompts, model = with_twins(tiny), tiny.model
    sets = ["1.kv0.k@S1+1.0.k@S1", f"1.0.k@{FIRST}+1.kv0.k@{LAST}", "1.kv0.k@S1"]
    found = activation_sweep(model, prompts, nodes=sets)
    assert np.abs(found.patched - found.patched[-1]).max() < EXACT
    assert np.abs(found.change).max() > 1e-3
    knockout = Knockout(model, prompts)
    whole = knockout.score(["0.1", "1.2@S1"])
    for kept in (["0.1", "0.1@END", "1.2@S1"], [f"1.2@{FIRST}", f"1.2@{LAST}", "0.1@last", "0.1"]):
        assert np.array_equal(knockout.score(kept), whole)
    less = knockout.score(["0.1", "1.2@S1"], ["1.2@S1"])
    assert np.array_equal(knockout.score(["0.1", f"1.2@{FIRST}"], [f"1.2@{LAST}"]), less)
    asked = {"receivers": ["2.kv0.v@S1", f"2.0.v@{LAST}"]}
    twice = five_treatments(model, prompts, senders=["0.1@S1", f"0.1@{FIRST}"], **asked)
    once = five_treatments(model, prompts, senders=["0.1@S1"], receivers=["2.kv0.v@S1"])
    for name, values in once.items():
        assert np.abs(values - twice[name]).max() < EXACT


def test_the_logits_receive_at_the_end_only(tiny: Tiny):
    with pytest.raises(PathPatchError, match="logits@S1 cannot be a receiver: END is read"):
        Spec.of(tiny.model, tiny.prompts, ["0.1"], ["logits@S1"])
    whole = run(tiny.model, tiny.prompts.orig, reads=[Node("logits")])
    assert torch.equal(whole[LOGITS], ends(whole["logits"], tiny.prompts.orig))


JOINED = "0.1.z@END+0.2.z@S2"
FORMS = {
    "tuple": ("0.1.z@END", "0.2.z@S2"),
    "list": ["0.1@END", Node.parse("0.2.z@S2")],
    "nodes": [Node("z", 0, 1, at="END"), Node("z", 0, 2, at="S2")],
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("form", FORMS)
def test_a_set_may_be_a_list_of_its_nodes(tiny: Tiny, form: str):
    model, prompts, names = tiny.model, tiny.prompts, FORMS[form]
    for sweep, keys in (
        (path_sweep, {"receivers": ["2.1.q@END"]}),
        (edge_attribution, {"receivers": ["2.1.q@END"]}),
        (activation_sweep, {}),
    ):
        key = "senders" if keys else "nodes"
        expected = sweep(model, prompts, **{key: [JOINED, "0.1@END"]}, **keys)
        found = sweep(model, prompts, **{key: [names, Node.parse("0.1@END")]}, **keys)
        assert found.names == expected.names == [JOINED, "0.1.z@END"]
        assert np.array_equal(found.patched, expected.patched)
    if form == "tuple":
        found, expected = (
            causal_trace(model, prompts, [entry], noise=None) for entry in (names, JOINED)
        )
        assert np.array_equal(found.restored, expected.restored)


def test_a_name_that_joins_nodes_means_all_of_them(tiny: Tiny):
    model, prompts = tiny.model, tiny.prompts
    two = JOINED.split("+")
    ways = {"receivers": ["2.1.q@END", "2.0.k@S1+1"]}
    found = path_patch(model, prompts, senders=[JOINED], receivers=["2.1.q@END+2.0.k@S1+1"])
    assert torch.equal(found, path_patch(model, prompts, senders=two, **ways))
    found = activation_patch(model, prompts, nodes=[JOINED, "0.1@END"])
    assert torch.equal(found, activation_patch(model, prompts, nodes=two))
    assert as_nodes([JOINED, "0.1@END"]) == as_nodes(two)
