"""Discovery finds the circuit of every machine and nothing else, and nothing in noise."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from conftest import AUDIT, machine
from scipy import stats

from pathpatch import (
    Circuit,
    Edge,
    PathPatchError,
    Rule,
    discover,
    edge_effects,
    path_patch,
    path_sweep,
    run,
)
from pathpatch.circuits.discovery import _doors, _passing
from pathpatch.handmade.ioi_variants import NORM_LD, ONE_LEFT, VARIANTS, _soft
from pathpatch.nodes import LOGITS, Node, heads

MOVERS = "q@END k@IO v@IO k@S1 v@S1", "q@END v@IO k@S1"  # where movers look; what matters


def mover(name: str, said: int) -> dict:
    """What a mover that says IO does to the logit difference, and what acts through it."""
    return {
        (f"{name}.z@END", "logits@END"): -said,
        ("1.0.z@END", f"{name}.q@END"): -said,  # it says IO and S alike
        ("embed@IO", f"{name}.v@IO"): -said,  # it says another name
        ("embed@S1", f"{name}.k@S1"): -said,  # the name there is not inhibited
    }


def duplicate(change: int) -> dict:
    """What acts through 0.0, which finds the name at S2 once more at S1, and copies it."""
    return {
        ("0.0.z@S2", "1.0.v@S2"): change,
        ("embed@S2", "0.0.q@S2"): change,  # a name that stands nowhere else
        ("embed@S1", "0.0.k@S1"): change,  # the same from the other side
        ("embed@S1", "0.0.v@S1"): change,  # found, but another name is copied
    }


TOKEN = mover("2.0", 4) | mover("2.1", 2) | duplicate(-6)
BY_KEYS = {("0.0.z@S2", "1.0.k@S2"): -6, ("embed@S2", "1.0.v@S2"): -6}
NOT_BY_KEYS = {("0.0.z@S2", "1.0.v@S2"), ("embed@S1", "0.0.v@S1")}
BY_NAME = {("embed@S1", f"2.{i}.k@S1") for i in (0, 1)} | {("embed@S1", "0.0.v@S1")}
NORM = {
    ("2.0.z@END", "logits@END"): -NORM_LD,
    ("embed@S1", "2.0.k@S1"): -NORM_LD,
    # With three quarters on IO and one on S, 2.0 says 3 and 1; one of them is then another name.
    ("embed@IO", "2.0.v@IO"): -1 * np.sqrt(1 / 8) - NORM_LD,
    ("embed@S1", "2.0.v@S1"): 3 * np.sqrt(1 / 8) - NORM_LD,
    **{(f"1.{i}.z@END", "logits@END"): _soft(3 / 4, 1) - NORM_LD for i in (0, 1)},
    **{(f"1.{i}.z@END", "2.0.q@END"): _soft(ONE_LEFT, 2) - NORM_LD for i in (0, 1)},
    **{("0.0.z@S2", f"1.{i}.v@S2"): _soft(ONE_LEFT, 1) - NORM_LD for i in (0, 1)},
    **{key: -NORM_LD for key in duplicate(0) if key[1].startswith("0.0")},
}
TRUE = {
    "token": TOKEN,
    "keys": {k: v for k, v in TOKEN.items() if k not in NOT_BY_KEYS} | BY_KEYS,
    "position": {k: v for k, v in TOKEN.items() if k not in BY_NAME},
    "mlp": TOKEN,  # the MLP between 1.0 and 2.1 belongs to the path
    "negative": mover("2.0", 4) | mover("2.1", 2) | mover("2.2", -2) | duplicate(-4),
    "backup": TOKEN,  # 3.0 rests unless both movers fail: no single path shows it
    "grouped": mover("2.0", 4) | duplicate(-4),  # 2.1 says both names, whatever happens
    "norm": NORM,
}


@cache
def found(name: str, **changes: float) -> Circuit:
    made, rule = machine(name), Rule(**changes)
    return discover(made.model, made.prompts["abc"][::7], np.random.default_rng(0), rule=rule)


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_machine_is_recovered_without_a_false_edge(name: str):
    circuit = found(name)
    edges = {(edge.sender, edge.receiver): edge.change for edge in circuit.edges}
    assert len(edges) == len(circuit.edges)
    assert edges == pytest.approx(TRUE[name], abs=1e-10)
    for edge in circuit.edges:  # every prompt shows the same change
        assert edge.low == pytest.approx(edge.change) == pytest.approx(edge.high)
        assert edge.percent == pytest.approx(100 * edge.change / circuit.about["base"])


def test_each_edge_is_the_path_patch_of_its_sender_and_receiver():
    made = machine("negative")
    prompts = made.prompts["abc"][:4]
    everything = heads(made.model)
    b = run(made.model, prompts.orig, reads=[LOGITS])
    rows = torch.arange(4)
    for edge in found("negative").edges:
        nodes = {"senders": [edge.sender], "receivers": [edge.receiver], "frozen": everything}
        logits = path_patch(made.model, prompts, **nodes) - b[LOGITS]
        change = logits[rows, prompts.answer] - logits[rows, prompts.foil]
        assert change.tolist() == pytest.approx([edge.change] * 4)


@pytest.mark.parametrize("name", ["negative", "grouped", "norm"])
def test_edges_are_measured_again_on_other_prompts(name: str):
    made, circuit = machine(name), found(name)
    other = made.prompts["abc"][3::11]
    effects = edge_effects(made.model, other, circuit)
    assert effects.base == pytest.approx([circuit.about["base"]] * len(other))
    assert effects.names == [f"{e.sender} -> {e.receiver}" for e in circuit.edges]
    for row, edge in zip(effects.change, circuit.edges, strict=True):
        assert row == pytest.approx([edge.change] * len(other), abs=1e-10)


def test_edges_of_random_models_are_sweeps(tiny):
    """Any edges: several senders, receivers at all positions, senders that no receiver can see."""
    rows = [
        ("0.1.z@END", "1.0.q@END"),
        ("embed@S2", "1.1.k@S2"),
        ("0.0.z+0.1.z@S2", "2.0.v"),
        ("1.mlp_out@END", "logits@END"),
        ("2.0.z@END", "1.0.q@END"),
        ("0.1.z@END", "logits"),
    ]
    circuit = Circuit([Edge(*row, 0.0, 0.0, 0.0, 0.0, 0.0) for row in rows])
    effects = edge_effects(tiny.model, tiny.prompts, circuit)
    for row, (sender, receiver) in zip(effects.patched, rows, strict=True):
        alone = path_sweep(tiny.model, tiny.prompts, senders=[sender], receivers=[receiver])
        assert row == pytest.approx(alone.patched[0], abs=1e-10)
        assert effects.base == pytest.approx(alone.base)
    assert abs(effects.change[:4]).min(1).max() > 1e-6


def test_errors_of_edge_effects(tiny):
    with pytest.raises(PathPatchError, match="no edges"):
        edge_effects(tiny.model, tiny.prompts, Circuit([]))
    odd = Circuit([Edge("0.0.z@END", "9.0.q@END", 0.0, 0.0, 0.0, 0.0, 0.0)])
    with pytest.raises(PathPatchError, match=r"layer 9 .* out of range"):
        edge_effects(tiny.model, tiny.prompts, odd)


def test_the_walk_ends_by_itself_and_says_what_it_asked():
    about = found("token").about
    doors, asked = ([set(step[key]) for step in about["rounds"]] for key in ("doors", "receivers"))
    movers = [{f"2.{i}.{k}" for i in (0, 1) for k in kinds.split()} for kinds in MOVERS]
    assert doors == [
        {"logits@END"},
        movers[0],
        {"1.0.q@END", "1.0.k@S2", "1.0.v@S2"},
        {"0.0.q@S2", "0.0.k@S1", "0.0.v@S1"},
    ]
    # The keys of the inhibited name alone decide, and the values where a mover looks.
    assert asked == [{"logits@END"}, movers[1], {"1.0.v@S2"}, doors[3]]
    # To END from six heads, or the two or four below, or none, each time with the embedding.
    assert [step["paths"] for step in about["rounds"]] == [7, 6 * 5, 3, 3 * 1]
    assert about["prompts"] == 32
    assert about["rule"] == {"error": 0.05, "least": 1, "least_attention": 0.1, "rounds": 8}


def test_the_rule_is_obeyed():
    assert {e.receiver for e in found("token", rounds=1).edges} == {"logits@END"}
    # 2.1 has a third of the effect: 33.3 percent.
    assert [e.sender for e in found("token", rounds=1, least=33).edges] == [
        "2.0.z@END",
        "2.1.z@END",
    ]
    assert [e.sender for e in found("token", rounds=1, least=34).edges] == ["2.0.z@END"]
    # Both movers attend to S1 with one half, and only on x_new.
    receivers = {e.receiver for e in found("token", least_attention=0.51).edges}
    assert "2.0.k@S1" not in receivers and "2.0.v@IO" in receivers
    assert not found("token", error=1e-4).edges  # 5,000 sign flips cannot show this


def test_doors_follow_the_attention_of_both_prompts():
    made = machine("token")
    some = made.prompts["flip"][::7]
    doors = _doors(made.model, some, [Node("z", 1, 0, at="END")], 0.1)
    assert [str(node) for node in doors] == ["1.0.q@END", "1.0.k@S2", "1.0.v@S2"]
    doors = _doors(made.model, some, [Node("z", 2, 0, at="END")], 0.9)
    assert [str(node) for node in doors] == [  # S1 on x_new
        "2.0.q@END",
        "2.0.k@IO",
        "2.0.v@IO",
        "2.0.k@S1",
        "2.0.v@S1",
    ]


def test_nothing_is_found_where_answer_and_foil_mean_nothing():
    """The error rate: exchange answer and foil at random, so that every change averages to zero."""
    made = machine("negative")
    some = made.prompts["abc"][::7]
    generator, runs, errors = np.random.default_rng(0), 200 if AUDIT else 60, 0
    for _ in range(runs):
        turn = torch.tensor(generator.random(len(some)) < 0.5)
        answer = torch.where(turn, some.foil, some.answer)
        null = replace(some, answer=answer, foil=some.answer + some.foil - answer)
        rule = Rule(least=0, rounds=1)
        errors += bool(discover(made.model, null, generator, rule=rule).edges)
    # At most 5 % may err on average; more than 19 of 200 would be seen once in 100 times.
    assert errors <= stats.binom.ppf(0.99, runs, 0.05)


def test_the_null_is_not_silent_by_construction():
    """With an error rate of one half the same walk does find something."""
    made = machine("negative")
    some = made.prompts["abc"][::7]
    turn = torch.arange(len(some)) % 32 < 12
    answer = torch.where(turn, some.foil, some.answer)
    null = replace(some, answer=answer, foil=some.answer + some.foil - answer)
    rule = Rule(error=0.5, least=0, rounds=1)
    assert discover(made.model, null, np.random.default_rng(0), rule=rule).edges


def test_one_test_for_all_receivers_of_a_round():
    """Many receivers that do nothing, and a chance effect: the correction counts them all."""
    from pathpatch.effects import About, Effects

    noise = np.random.default_rng(1).normal(size=(60, 24))
    about = [About("m", "", [f"1.{i}.q@END"], "END", "heads", "", "x", "fast") for i in range(60)]
    sweeps = [
        Effects([[Node.parse("0.0.z@END")]], np.ones(24), 1 + row[None], part)
        for row, part in zip(noise, about, strict=True)
    ]
    alone = [_passing([one], np.random.default_rng(0), Rule()) for one in sweeps]
    assert sum(map(len, alone)) >= 2  # by itself, one in twenty passes
    assert not _passing(sweeps, np.random.default_rng(0), Rule())


def test_a_circuit_is_read_back(tmp_path):
    circuit = found("token")
    circuit.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json") == circuit
    assert [str(node) for node in circuit.heads()] == [
        "0.0.z@S2",
        "1.0.z@END",
        "2.0.z@END",
        "2.1.z@END",
    ]


def test_a_sweep_that_was_done_is_not_done_again(tmp_path, monkeypatch):
    from pathpatch import SweepOptions
    from pathpatch.engine import jobs

    made = machine("token")
    some = made.prompts["abc"][::7]
    how = SweepOptions(folder=tmp_path)
    first = discover(made.model, some, np.random.default_rng(0), options=how)
    monkeypatch.setattr(jobs, "compute", None)  # would fail if it were called
    assert discover(made.model, some, np.random.default_rng(0), options=how) == first
    assert isinstance(first.edges[0], Edge)
