"""Path patching against the oracle, identities, mutants, and messages."""

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
    activation_patch,
    heads,
    mlps,
    path_patch,
    run,
)

EXACT = 1e-10


@pytest.mark.parametrize("denoise", [False, True], ids=["noising", "denoising"])
@pytest.mark.parametrize("edges", [False, True], ids=["recompute-mlps", "freeze-mlps"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_oracle_and_matters(tiny: Tiny, case: str, edges: bool, denoise: bool):
    found, expected, base = patch_both_ways(path_patch, tiny, case, edges, denoise)
    assert (found - expected).abs().max() < EXACT
    moved = (found - base).abs().max()
    assert moved > 1e-3


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
        st.builds(Node, st.just("resid_post"), layer, none, plain, POSITIONS),
        st.just(LOGITS),
    )
    lists = (st.lists(nodes, min_size=1, max_size=3, unique=True) for nodes in (senders, receivers))
    return tuple(draw(nodes) for nodes in lists), draw(st.booleans())


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_agrees_with_the_oracle_on_random_questions(tiny: Tiny, data):
    model, tokens = tiny.model, tiny.prompts.orig
    n_heads = model.cfg.n_heads
    (senders, receivers), edges = data.draw(questions(n_heads, n_heads // tiny.group))
    frozen = heads(model) + (mlps(model) if edges else [])
    base = run(model, tokens, reads=frozen)
    source = run(model, tiny.prompts.new, reads=senders)
    found = path_patch(
        model, tokens, base, source, senders=senders, receivers=receivers, frozen=frozen
    )
    sent, received = ([as_oracle(n, tokens) for n in nodes] for nodes in (senders, receivers))
    expected = oracle.path_patch(
        tiny.weights, tokens.ids, tiny.prompts.new.ids, sent, received, edges
    )
    assert (found - ends(expected, tokens)).abs().max() < EXACT


def patch(tiny: Tiny, senders, receivers, *, same=False, frozen=None):
    prompts = tiny.prompts
    frozen = heads(tiny.model) if frozen is None else frozen
    base = run(tiny.model, prompts.orig, reads=[*frozen, LOGITS])
    source = run(tiny.model, prompts.orig if same else prompts.new, reads=senders)
    kwargs = {"senders": senders, "receivers": receivers, "frozen": frozen}
    return path_patch(tiny.model, prompts.orig, base, source, **kwargs), base, source


def test_patching_a_run_with_itself_changes_nothing(tiny: Tiny):
    found, base, _ = patch(tiny, ["0.0", "1.mlp_out", "embed"], ["1.1.q", "2.0.v"], same=True)
    assert (found - base[LOGITS]).abs().max() < EXACT


@pytest.mark.parametrize("receiver", ["1.0.q@END", "1.0.k@END", "1.3.v@END", "0.kv0.v@END"])
@pytest.mark.parametrize("sender", ["1.0@END", "2.1@END", "1.mlp_out@END"])
def test_a_sender_at_or_above_its_receiver_changes_nothing(tiny: Tiny, sender, receiver):
    found, base, _ = patch(tiny, [sender], [receiver])
    assert (found - base[LOGITS]).abs().max() < EXACT


def test_a_sender_at_another_position_changes_nothing(tiny: Tiny):
    found, base, _ = patch(tiny, ["0.0@S1"], ["1.0.q@END", "2.1.v@S2"])
    assert (found - base[LOGITS]).abs().max() < EXACT


def test_last_layer_head_to_the_final_residual_is_activation_patching(tiny: Tiny):
    found, base, source = patch(tiny, ["2.1@END"], ["2.resid_post@END"])
    total = activation_patch(tiny.model, tiny.prompts.orig, source, nodes=["2.1@END"])
    assert (found - total).abs().max() < EXACT
    assert (found - base[LOGITS]).abs().max() > 1e-3


def test_an_earlier_head_to_the_final_residual_is_not_activation_patching(tiny: Tiny):
    found, _, source = patch(tiny, ["0.1@END"], ["2.resid_post@END"])
    total = activation_patch(tiny.model, tiny.prompts.orig, source, nodes=["0.1@END"])
    assert (found - total).abs().max() > 1e-3


def test_logits_and_final_residual_receive_the_same(tiny: Tiny):
    logits, base, _ = patch(tiny, ["0.1@END"], ["logits"])
    residual, *_ = patch(tiny, ["0.1@END"], ["2.resid_post@END"])
    assert (logits - residual).abs().max() < EXACT
    assert (logits - base[LOGITS]).abs().max() > 1e-3


def test_everything_sent_along_every_edge_is_the_receiver_on_x_new(tiny: Tiny):
    frozen = heads(tiny.model) + mlps(tiny.model)
    found, *_ = patch(tiny, [*frozen, "embed"], ["2.1.q", "2.3.v"], frozen=frozen)
    source = run(tiny.model, tiny.prompts.new, reads=["2.1.q", "2.3.v"])
    nodes = ["2.1.q", "2.3.v"]
    expected = activation_patch(tiny.model, tiny.prompts.orig, source, nodes=nodes)
    assert (found - expected).abs().max() < EXACT


def test_the_copy_of_one_query_head_is_not_the_shared_vector(llama: Tiny):
    one, base, _ = patch(llama, ["0.3@S2"], ["2.0.v@S2"])
    shared, *_ = patch(llama, ["0.3@S2"], ["2.kv0.v@S2"])
    copies, *_ = patch(llama, ["0.3@S2"], ["2.0.v@S2", "2.1.v@S2", "2.2.v@S2"])
    assert (shared - copies).abs().max() < EXACT
    assert (shared - one).abs().max() > 1e-3 < (one - base[LOGITS]).abs().max()


def test_with_multi_head_attention_the_two_are_the_same(gpt2: Tiny):
    one, *_ = patch(gpt2, ["0.3@S2"], ["2.2.v@S2"])
    shared, *_ = patch(gpt2, ["0.3@S2"], ["2.kv2.v@S2"])
    assert torch.equal(one, shared)


def test_prompts_of_different_lengths_give_what_they_give_alone(tiny: Tiny):
    senders, receivers = ["0.1@END", "0.2@S2"], ["1.0.q@END", "2.1.v@S2"]
    together, *_ = patch(tiny, senders, receivers)
    lengths = set()
    for i in range(len(tiny.prompts)):
        prompt = tiny.prompts[i : i + 1]
        length = int(prompt.orig.at("END")) + 1
        lengths.add(length)
        sides = (type(s)(s.ids[:, :length], s.positions) for s in (prompt.orig, prompt.new))
        clean, corrupt = sides
        base = run(tiny.model, clean, reads=heads(tiny.model))
        source = run(tiny.model, corrupt, reads=senders)
        alone = path_patch(
            tiny.model,
            clean,
            base,
            source,
            senders=senders,
            receivers=receivers,
            frozen=heads(tiny.model),
        )
        assert (alone - together[i]).abs().max() < EXACT
    assert len(lengths) > 1


def test_the_exam_accepts_the_library(tiny: Tiny):
    exam(path_patch, tiny)


@pytest.mark.parametrize("mutant", mutants.ALL, ids=lambda mutant: mutant.__name__)
def test_the_exam_rejects_a_wrong_path_patch(llama: Tiny, mutant):
    try:
        with pytest.raises(AssertionError):
            exam(mutant, llama)
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
    model, tokens = gpt2.model, gpt2.prompts.orig
    base = run(model, tokens, reads=heads(model))
    with pytest.raises(PathPatchError, match=words):
        path_patch(
            model, tokens, base, base, senders=senders, receivers=receivers, frozen=heads(model)
        )


def test_refuses_runs_that_do_not_fit(gpt2: Tiny):
    model, prompts = gpt2.model, gpt2.prompts
    kwargs = {"senders": ["0.0@END"], "receivers": ["2.0.q@END"], "frozen": heads(model)}
    base = run(model, prompts.orig, reads=heads(model))
    source = run(model, prompts.new, reads=heads(model))
    with pytest.raises(PathPatchError, match=r"base \(pass B\) was not run on these tokens"):
        path_patch(model, prompts.orig, source, base, **kwargs)
    short = run(model, prompts[:2].new, reads=heads(model))
    with pytest.raises(PathPatchError, match=r"source \(pass A\) ran on tokens of shape"):
        path_patch(model, prompts.orig, base, short, **kwargs)
    with pytest.raises(PathPatchError, match=r"did not read 0\.mlp_out"):
        path_patch(model, prompts.orig, base, source, **{**kwargs, "frozen": mlps(model)})
