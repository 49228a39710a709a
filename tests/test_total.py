"""Activation patching and causal tracing: the fast engine gives the literal form's numbers."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Tiny, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_resume import counted  # noqa: F401
from test_tracing import MLPS, STATES, some_noise, subjects

from pathpatch import (
    Node,
    PathPatchError,
    SweepOptions,
    activation_sweep,
    answer_prob,
    causal_trace,
    grid,
    logit_diff,
    tiny_model,
)
from pathpatch.engine import suffix
from pathpatch.engine.cost import plan_spec
from pathpatch.engine.literal import literal_passes
from pathpatch.engine.scene import steps_each
from pathpatch.engine.spec import Corruption, Spec
from pathpatch.engine.total import patch_nodes
from pathpatch.engine.verify_total import why_not_total
from pathpatch.engine.work import forward_multiply_adds, layer_weights
from pathpatch.nodes import KINDS, node_set

EXACT = 1e-10
QUIET, LITERAL = SweepOptions(quiet=True), SweepOptions("literal", quiet=True)
WRITTEN = [kind for kind in KINDS if kind != "logits"]


PLACES = [None, "IO", "S1", "S2", "S2", "END", "END", 2, "subject_last"]
NODES = st.tuples(
    st.sampled_from([*WRITTEN, "z", "resid_post"]),
    st.integers(0, 99),
    st.sampled_from(PLACES),
    st.booleans(),
)
QUESTIONS = st.tuples(
    st.lists(st.lists(NODES, min_size=1, max_size=3), min_size=1, max_size=4),
    st.sampled_from([(), ("mlp_out",), ("attn_out",), ("mlp_out", "attn_out")]),
    st.sampled_from(["patched", "noise", "replaced"]),
    st.sampled_from([1, 200, 2048]),
    st.booleans(),
)


def as_node(tiny: Tiny, kind: str, number: int, at, shared: bool) -> Node:
    """One of all nodes of a kind; of keys and values sometimes those that a group shares."""
    every = grid(tiny.model, kind, [at])
    node = every[number % len(every)]
    if shared and kind in ("k", "v"):
        return replace(node, head=node.head // tiny.group, shared=True)
    return node


def both(tiny: Tiny, prompts, spec: Spec):
    """The base [batch] and the metric [set, batch] by both engines; a row must come once."""
    found = []
    with torch.no_grad():
        for engine in (patch_nodes, literal_passes):
            base, parts = engine(tiny.model, prompts, spec)
            values = torch.full((len(spec.senders), len(prompts)), torch.nan, dtype=torch.float64)
            for rows, part in parts:
                assert values[rows].isnan().all()
                values[rows] = part
            found.append(torch.cat([base[None], values]))
    return found


@settings(max_examples=examples(3), deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=QUESTIONS)
def test_random_sets(tiny: Tiny, asked):
    """Any kinds at any positions, alone and together, patched or restored, with modules severed."""
    drawn, severed, how, rows, swap = asked
    prompts = subjects(tiny.prompts.swapped() if swap else tiny.prompts)
    sets = [[as_node(tiny, *one) for one in nodes] for nodes in drawn]
    noise = some_noise(tiny, 1)[0] if how == "noise" else None
    corruption = None if how == "patched" else Corruption(noise, severed)
    spec = Spec(sets, [], [], "", answer_prob, corruption=corruption, rows=rows)
    fast, literal = both(tiny, prompts, spec)
    assert (fast - literal).abs().max() < EXACT


def test_what_cannot_reach_the_end_changes_nothing_at_all(tiny: Tiny):
    """Not even the last digit, which would have a sign and get a small p."""
    last = tiny.model.cfg.n_layers - 1
    kinds = ("q", "pattern", "z", "attn_out", "mlp_in", "mlp_out", "resid_post")
    nodes = [node for kind in kinds for node in grid(tiny.model, kind, ["S2"])]
    dumb = [str(node) for node in nodes if node.layer == last]
    heard = [f"{last}.0.k@S2", f"{last}.0.v@S2", f"{last}.resid_pre@S2", "0.0.z@S2"]
    effects = activation_sweep(tiny.model, tiny.prompts, nodes=[*dumb, *heard], options=QUIET)
    assert effects.about.engine == "activation patching, fast"
    assert (effects.change[: len(dumb)] == 0).all()
    assert (abs(effects.change[len(dumb) :]).max(1) > 0).all()


def test_a_restored_label_wins_over_what_is_severed_under_another(tiny: Tiny):
    prompts = subjects(tiny.prompts)
    entries = ["1.mlp_out@S1+2.resid_post@subject_first", "1.mlp_out@subject_first"]
    asked = {"noise": some_noise(tiny), "severed": ["mlp_out"]}
    fast, literal = (
        causal_trace(tiny.model, prompts, entries, **asked, options=options)
        for options in (QUIET, LITERAL)
    )
    assert np.abs(fast.restored - literal.restored).max() < EXACT
    assert np.abs(literal.restored - literal.corrupted).max() > 1e-6


@pytest.mark.parametrize("kind", ["pattern", "attn_out"])
def test_a_kind_that_the_engine_gets_wrong_is_not_trusted(monkeypatch, kind: str, gpt2: Tiny):
    real = suffix._write

    def deaf(scene, writes, here, values):
        real(scene, [] if here == kind else writes, here, values)

    model = tiny_model("gpt2", seed=5)  # nothing is known of this one
    monkeypatch.setattr(suffix, "_write", deaf)
    entries = [f"1.{'1.' * (kind == 'pattern')}{kind}@S2", "0.1.v@S1"]
    reason = why_not_total(model, gpt2.prompts, [node_set(entry) for entry in entries])
    assert f"the logits with {kind} patched differs" in reason
    fast, literal = (
        activation_sweep(model, gpt2.prompts, nodes=entries, options=options)
        for options in (QUIET, LITERAL)
    )
    assert fast.about.engine == "activation patching, literal"
    assert np.array_equal(fast.patched, literal.patched)


def test_the_plan_counts_what_is_run(gpt2: Tiny):
    model, prompts = gpt2.model, gpt2.prompts

    def cost(*entries: str):
        spec = Spec([node_set(entry) for entry in entries], [], [], "nothing", logit_diff)
        planned = plan_spec(model, prompts, spec, QUIET)
        assert planned.spec.engine == "fast"
        return planned.multiply_adds - 2 * forward_multiply_adds(model, prompts)

    layer, mlp, _ = layer_weights(model)
    n, last = len(prompts), model.cfg.n_layers - 1
    assert steps_each(model) == 2
    assert cost(f"{last}.resid_post@END") == 0
    assert cost(f"{last}.mlp_out@END") == n * mlp
    assert cost(f"{last}.0.z@END") == n * layer
    assert cost("1.0.z@END", "1.1.z@END") == 2 * n * 2 * layer
    assert cost("0.resid_post@END") == cost("1.resid_pre@END")
    assert cost("0.0.z@END") < cost("0.0.z@S2") < cost("0.0.z")


def test_a_trace_goes_on_where_it_stopped(tiny: Tiny, tmp_path, counted):  # noqa: F811
    prompts, noise = subjects(tiny.prompts), some_noise(tiny)
    asked = {"noise": noise, "options": SweepOptions(folder=tmp_path, quiet=True)}
    first = causal_trace(tiny.model, prompts, [*STATES, *MLPS], **asked)
    again = causal_trace(tiny.model, prompts, [*STATES, *MLPS], **asked)
    assert len(counted) == 1, "nothing was computed again"
    assert np.array_equal(first.restored, again.restored)
    with ThreadPoolExecutor(1) as pool:
        there = SweepOptions(executor=pool, quiet=True)
        other = causal_trace(tiny.model, prompts, [*STATES, *MLPS], noise=noise, options=there)
    assert np.array_equal(first.restored, other.restored)
    asked["noise"] = 2 * noise
    with pytest.raises(PathPatchError, match="another sweep, which differs in noise"):
        causal_trace(tiny.model, prompts, [*STATES, *MLPS], **asked)
    asked["noise"] = noise
    with pytest.raises(PathPatchError, match="which differs in frozen"):
        causal_trace(tiny.model, prompts, [*STATES, *MLPS], severed=["mlp_out"], **asked)
