"""Path patching against the oracle, identities, mutants, and messages."""

from dataclasses import replace

import mutants
import oracle
import pytest
import torch
from conftest import Tiny, as_oracle, ends, examples
from exam import CASES, exam, patch_both_ways
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathpatch import (
    LOGITS,
    Node,
    PathPatchError,
    Tokens,
    activation_patch,
    heads,
    mlps,
    path_patch,
    run,
)
from pathpatch.paths import passes_c_and_d

EXACT = 1e-10


@pytest.mark.parametrize("denoise", [False, True], ids=["noising", "denoising"])
@pytest.mark.parametrize("edges", [False, True], ids=["recompute-mlps", "freeze-mlps"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_oracle_and_matters(tiny: Tiny, case: str, edges: bool, denoise: bool):
    found, expected, base = patch_both_ways(path_patch, tiny, case, edges, denoise)
    assert (found - expected).abs().max() < EXACT
    moved = (found - base).abs().max()
    assert moved > 1e-3


STREAM = ["mlp_in", "resid_pre", "resid_post"]
POSITIONS = st.sampled_from([None, "IO", "S1", "S1+1", "S2", "END", 0, 3])


@st.composite
def questions(draw, n_heads: int, n_kv: int):
    """Random sender sets and receiver sets over all kinds, layers, heads and positions."""
    layer, head = st.integers(0, 2), st.integers(0, n_heads - 1)
    kv = st.integers(0, n_kv - 1)
    plain, shared = st.just(False), st.just(True)
    none = st.none()
    senders = st.one_of(
        st.builds(Node, st.just("z"), layer, head, plain, POSITIONS),
        st.builds(Node, st.just("mlp_out"), layer, none, plain, POSITIONS),
        st.builds(Node, st.just("embed"), none, none, plain, POSITIONS),
    )
    receivers = st.one_of(
        st.builds(Node, st.sampled_from("qkv"), layer, head, plain, POSITIONS),
        st.builds(Node, st.sampled_from("kv"), layer, kv, shared, POSITIONS),
        st.builds(Node, st.sampled_from(STREAM), layer, none, plain, POSITIONS),
        st.just(LOGITS),
    )
    lists = (st.lists(nodes, min_size=1, max_size=3, unique=True) for nodes in (senders, receivers))
    return tuple(draw(nodes) for nodes in lists), draw(st.booleans())


@settings(max_examples=examples(30), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_agrees_with_the_oracle_on_random_questions(tiny: Tiny, data):
    model, tokens = tiny.model, tiny.prompts.orig
    n_heads = model.cfg.n_heads
    (senders, receivers), edges = data.draw(questions(n_heads, n_heads // tiny.group))
    frozen = heads(model) + (mlps(model) if edges else [])
    found = path_patch(model, tiny.prompts, senders=senders, receivers=receivers, frozen=frozen)
    sent, received = ([as_oracle(n, tokens) for n in nodes] for nodes in (senders, receivers))
    expected = oracle.path_patch(
        tiny.weights, tokens.ids, tiny.prompts.new.ids, sent, received, edges
    )
    assert (found - ends(expected, tokens)).abs().max() < EXACT


def patch(tiny: Tiny, senders, receivers, *, frozen=None):
    """The logits of passes D and B."""
    b = run(tiny.model, tiny.prompts.orig, reads=[LOGITS])
    ends = {"senders": senders, "receivers": receivers, "frozen": frozen}
    return path_patch(tiny.model, tiny.prompts, **ends), b[LOGITS]


def total(tiny: Tiny, nodes):
    return activation_patch(tiny.model, tiny.prompts, nodes=nodes)


def test_the_same_prompt_on_both_sides_changes_nothing(tiny: Tiny):
    same = replace(tiny.prompts, new=tiny.prompts.orig)
    ends = {"senders": ["0.0", "1.mlp_out", "embed"], "receivers": ["1.1.q", "2.0.v"]}
    b = run(tiny.model, same.orig, reads=[LOGITS])
    assert (path_patch(tiny.model, same, **ends) - b[LOGITS]).abs().max() < EXACT


def test_all_heads_are_frozen_unless_you_say_otherwise(tiny: Tiny):
    ends = (["0.1@END"], ["2.3.q@END"])
    found, _ = patch(tiny, *ends)
    assert torch.equal(found, patch(tiny, *ends, frozen=heads(tiny.model))[0])
    assert (found - patch(tiny, *ends, frozen=[])[0]).abs().max() > 1e-6


def test_many_senders_share_one_run_of_a_and_of_b(tiny: Tiny):
    """With runs that read more than one question needs, C and D give the same to the last bit."""
    model, prompts = tiny.model, tiny.prompts
    a = run(model, prompts.new, reads=heads(model))
    b = run(model, prompts.orig, reads=[*heads(model), *mlps(model), LOGITS])
    for sender in ("0.1@END", "1.2@END"):
        ends = {"senders": [sender], "receivers": ["2.3.q@END"], "frozen": heads(model)}
        assert torch.equal(passes_c_and_d(model, a, b, **ends), path_patch(model, prompts, **ends))


@pytest.mark.parametrize("receiver", ["1.0.q@END", "1.0.k@END", "1.3.v@END", "0.kv0.v@END"])
@pytest.mark.parametrize("sender", ["1.0@END", "2.1@END", "1.mlp_out@END"])
def test_a_sender_at_or_above_its_receiver_changes_nothing(tiny: Tiny, sender, receiver):
    found, base = patch(tiny, [sender], [receiver])
    assert (found - base).abs().max() < EXACT


def test_a_sender_at_another_position_changes_nothing(tiny: Tiny):
    found, base = patch(tiny, ["0.0@S1"], ["1.0.q@END", "2.1.v@S2"])
    assert (found - base).abs().max() < EXACT


def test_last_layer_head_to_the_final_residual_is_activation_patching(tiny: Tiny):
    found, base = patch(tiny, ["2.1@END"], ["2.resid_post@END"])
    assert (found - total(tiny, ["2.1@END"])).abs().max() < EXACT
    assert (found - base).abs().max() > 1e-3


def test_an_earlier_head_to_the_final_residual_is_not_activation_patching(tiny: Tiny):
    found, _ = patch(tiny, ["0.1@END"], ["2.resid_post@END"])
    assert (found - total(tiny, ["0.1@END"])).abs().max() > 1e-3


def test_logits_and_final_residual_receive_the_same(tiny: Tiny):
    logits, base = patch(tiny, ["0.1@END"], ["logits"])
    residual, _ = patch(tiny, ["0.1@END"], ["2.resid_post@END"])
    assert (logits - residual).abs().max() < EXACT
    assert (logits - base).abs().max() > 1e-3


def test_everything_sent_along_every_edge_is_the_receiver_on_x_new(tiny: Tiny):
    frozen = heads(tiny.model) + mlps(tiny.model)
    found, _ = patch(tiny, [*frozen, "embed"], ["2.1.q", "2.3.v"], frozen=frozen)
    assert (found - total(tiny, ["2.1.q", "2.3.v"])).abs().max() < EXACT


def test_the_copy_of_one_query_head_is_not_the_shared_vector(llama: Tiny):
    one, base = patch(llama, ["0.3@S2"], ["2.0.v@S2"])
    shared, _ = patch(llama, ["0.3@S2"], ["2.kv0.v@S2"])
    copies, _ = patch(llama, ["0.3@S2"], ["2.0.v@S2", "2.1.v@S2", "2.2.v@S2"])
    assert (shared - copies).abs().max() < EXACT
    assert (shared - one).abs().max() > 1e-3 < (one - base).abs().max()


def test_with_multi_head_attention_the_two_are_the_same(gpt2: Tiny):
    one, _ = patch(gpt2, ["0.3@S2"], ["2.2.v@S2"])
    shared, _ = patch(gpt2, ["0.3@S2"], ["2.kv2.v@S2"])
    assert torch.equal(one, shared)


def test_prompts_of_different_lengths_give_what_they_give_alone(tiny: Tiny):
    senders, receivers = ["0.1@END", "0.2@S2"], ["1.0.q@END", "2.1.v@S2"]
    together, _ = patch(tiny, senders, receivers)
    lengths = set()
    for i in range(len(tiny.prompts)):
        prompt = tiny.prompts[i : i + 1]
        length = int(prompt.orig.at("END")) + 1
        lengths.add(length)
        sides = (Tokens(x.ids[:, :length], x.positions) for x in (prompt.orig, prompt.new))
        orig, new = sides
        prompt = replace(prompt, orig=orig, new=new)
        alone = path_patch(tiny.model, prompt, senders=senders, receivers=receivers)
        assert (alone - together[i]).abs().max() < EXACT
    assert len(lengths) > 1


def test_the_exam_accepts_the_library(tiny: Tiny):
    exam(path_patch, tiny)


@pytest.mark.parametrize("mutant", mutants.ALL, ids=lambda mutant: mutant.__name__)
def test_the_exam_rejects_a_wrong_path_patch(llama: Tiny, mutant):
    try:
        with pytest.raises((AssertionError, PathPatchError)) as caught:
            exam(mutant, llama)
        if isinstance(caught.value, PathPatchError):  # and for no other reason
            assert "somebody else's hook" in str(caught.value)
    finally:
        llama.model.reset_hooks()


@pytest.mark.parametrize(
    ("senders", "receivers", "words"),
    [
        ([], ["2.0.q"], "at least one sender"),
        (["0.0"], [], "at least one receiver"),
        (["0.0.q@END"], ["2.0.q"], "0.0.q@END cannot be a sender"),
        (["0.0"], ["2.0.z"], "2.0.z cannot be a receiver"),
        (["7.0"], ["2.0.q"], "layer 7 of node 7.0.z is out of range"),
        (["0.0"], ["2.kv9.v"], "key/value head 9 of node 2.kv9.v is out of range"),
        (["0.0@S3"], ["2.0.q"], "no position 'S3'; known: END, IO"),
        (["0.0@99"], ["2.0.q"], "position 99 is outside"),
        ("0.0", ["2.0.q"], "expected a list of nodes"),
    ],
)
def test_refuses(gpt2: Tiny, senders, receivers, words):
    with pytest.raises(PathPatchError, match=words):
        path_patch(gpt2.model, gpt2.prompts, senders=senders, receivers=receivers)


def test_refuses_runs_that_do_not_fit(gpt2: Tiny):
    model, prompts = gpt2.model, gpt2.prompts
    ends = {"senders": ["0.0@END"], "receivers": ["2.0.q@END"], "frozen": heads(model)}
    a, b = (run(model, x, reads=heads(model)) for x in (prompts.new, prompts.orig))
    short = run(model, prompts[:2].new, reads=heads(model))
    with pytest.raises(PathPatchError, match=r"a \(pass A\) ran on tokens of shape \[2, "):
        passes_c_and_d(model, short, b, **ends)
    with pytest.raises(PathPatchError, match=r"did not read 0\.mlp_out"):
        passes_c_and_d(model, a, b, **{**ends, "frozen": mlps(model)})
    with pytest.raises(PathPatchError, match="cannot be a sender"):
        passes_c_and_d(model, a, b, **{**ends, "senders": ["0.0.q@END"]})
