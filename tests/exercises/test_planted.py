"""Planted machines: one wiring for each key, and the truth about it by brute force."""

import os
import subprocess
import sys

import pytest

from exercises.checks.ch06_planted import true_edges
from exercises.planted import planted
from pathpatch import Circuit, Edge, edge_effects, grid, heads, logit_diff, run
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import LOGITS

KEYS = ("ada", "grace", "Émilie", "0", "x" * 100, "alan", "kurt", "emmy")
NOTHING = (0.0,) * 5  # what is known of an edge before it is measured
SPEAKS_AGAINST = -1.0  # what a mover says of the answer's name, in some machines


def every_edge(made) -> Circuit:
    """All pairs of a head and a later head's input, or the logits, at all positions."""
    found = []
    for at in ("IO", "S1", "S1+1", "S2", "END"):
        for sender in heads(made.model, at):
            doors = [node for door in "qkv" for node in grid(made.model, door, [at])]
            later = [node for node in doors if node.layer > sender.layer]
            later += [LOGITS] if at == "END" else []
            found += [Edge(str(sender), str(receiver), *NOTHING) for receiver in later]
    return Circuit(found)


@pytest.mark.parametrize("key", KEYS)
def test_the_truth_is_what_brute_force_finds(key):
    made = planted(key)
    prompts = made.prompts["abc"][::4]
    effects = edge_effects(made.model, prompts, every_edge(made))
    changes = effects.patched - effects.base
    assert abs(changes - changes[:, :1]).max() < 1e-9, "the same on every prompt"
    found = {
        tuple(name.split(" -> ")): round(float(change), 9)
        for name, change in zip(effects.names, changes[:, 0], strict=True)
        if abs(change) > 1e-9
    }
    assert found == true_edges(key)


def test_these_keys_bring_every_kind_of_machine():
    doors = {r.split("@")[0][-1] for key in KEYS for _, r in true_edges(key) if r[0] == "1"}
    assert doors == {"k", "v"}
    bases = {(planted(key).design.spaces["seen"]) for key in KEYS}
    assert bases == {1, 8, 10}, "keys, token and position"
    against = [key for key in KEYS if -SPEAKS_AGAINST in true_edges(key).values()]
    assert against and set(against) != set(KEYS)
    sizes = {len(true_edges(key)) for key in KEYS}
    assert sizes == {5, 7}


def test_the_machine_solves_the_task():
    for key in KEYS:
        made = planted(key)
        prompts = made.prompts["abc"]
        before = logit_diff(run(made.model, prompts.orig, reads=[LOGITS])[LOGITS], prompts)
        total = -min(true_edges(key).values())
        assert abs(before - total).max() < 1e-9 and total > 0


def test_the_same_key_brings_the_same_machine_in_every_process():
    code = "from exercises.planted import *; from pathpatch.models.weights import fingerprint; "
    code += "print(fingerprint(planted('ada').model))"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert run.stdout.decode().strip() == fingerprint(planted("ada").model)


def test_different_keys_bring_different_wirings():
    wirings = [tuple(sorted(true_edges(f"learner {i}").items())) for i in range(60)]
    assert len(set(wirings)) >= 55
