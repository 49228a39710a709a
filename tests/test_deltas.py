"""The fast engine gives the literal form's numbers."""

from collections.abc import Sequence
from random import Random

import pytest
import torch
from conftest import Tiny, examples
from exam import CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_paths import questions

from pathpatch import LOGITS, answer_prob, heads, ioi_prompts, logit_diff, mlps, run
from pathpatch.engine.fast import patch_all
from pathpatch.engine.jobs import literal_passes
from pathpatch.engine.spec import Spec
from pathpatch.models.load import wrap
from pathpatch.models.tiny import tiny_hf, tiny_tokenizer
from pathpatch.nodes import as_nodes

EXACT = 1e-10


def both(tiny: Tiny, sets: Sequence, receivers: Sequence, edges: bool, swap: bool, **more):
    """The metric [sender, batch] by the fast and by the literal engine; NaN: left out."""
    prompts = tiny.prompts.swapped() if swap else tiny.prompts
    frozen = heads(tiny.model) + (mlps(tiny.model) if edges else [])
    spec = Spec(sets, receivers, frozen, "", **{"metric": logit_diff, **more})
    found, bases = [], []
    for engine in (patch_all, literal_passes):
        base, parts = engine(tiny.model, prompts, spec)
        values = torch.full((len(sets), len(prompts)), torch.nan, dtype=torch.float64)
        for rows, part in parts:
            values[rows] = part
        found.append(values)
        bases.append(base)
    assert torch.equal(*bases)
    return found


@pytest.mark.sample(5)
@pytest.mark.parametrize("metric", [logit_diff, answer_prob])
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_question(tiny: Tiny, case: str, metric):
    senders, receivers = map(as_nodes, CASES[case])
    sets = [senders, *([node] for node in senders)]
    for edges in (False, True):
        for swap in (False, True):
            fast, literal = both(tiny, sets, receivers, edges, swap, metric=metric)
            reached = ~fast.isnan().any(1)
            assert reached[0]
            assert (fast - literal)[reached].abs().max() < EXACT


@settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_questions(tiny: Tiny, data):
    n_heads = tiny.model.cfg.n_heads
    asked = questions(n_heads, n_heads // tiny.group)
    drawn = data.draw(st.tuples(asked, asked, st.booleans()))
    ((first, receivers), edges), ((second, _), _), swap = drawn
    fast, literal = both(tiny, [first, second], receivers, edges, swap)
    left_out = fast.isnan().all(1)
    assert torch.equal(left_out, fast.isnan().any(1))
    prompts = tiny.prompts.swapped() if swap else tiny.prompts
    base = logit_diff(run(tiny.model, prompts.orig, reads=[LOGITS])[LOGITS], prompts)
    fast[left_out] = base
    assert (fast - literal).abs().max() < EXACT


def test_who_is_left_out_changes_nothing(tiny: Tiny):
    sets = [as_nodes([name]) for name in ("0.0", "1.0", "1.mlp_out", "2.0", "embed")]
    fast, literal = both(tiny, sets, as_nodes(["1.1.q", "1.2.v"]), False, False)
    assert fast.isnan().any(1).tolist() == [False, True, True, True, False]
    unchanged = both(tiny, sets, as_nodes(["0.1.q"]), False, False)[1][1]
    assert (literal[1:4] - unchanged).abs().max() < EXACT


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_only_layer_is_the_last_and_still_has_keys(kind: str):
    hf_model = tiny_hf(kind)
    layers = hf_model.transformer.h if kind == "gpt2" else hf_model.model.layers
    del layers[1:]
    hf_model.config.num_hidden_layers = 1
    model = wrap(hf_model, tiny_tokenizer(), "one-layer")
    prompts = ioi_prompts(tiny_tokenizer(), 6, Random(2))
    one = Tiny(model, None, prompts)
    for receiver in ("0.1.k@S2", "0.1.v@IO", "0.1.v", "0.1.q@END"):
        sets = [as_nodes(["embed@S2"]), as_nodes(["embed"])]
        fast, literal = both(one, sets, as_nodes([receiver]), False, False)
        assert (fast - literal).abs().max() < EXACT, receiver


def test_small_batches_give_the_same(tiny: Tiny):
    sets = [[node] for node in heads(tiny.model, "S2")]
    receivers = as_nodes(["2.0.v@S2", "1.1.k@S2"])
    whole, literal = both(tiny, sets, receivers, False, False)
    parts, _ = both(tiny, sets, receivers, False, False, rows=1)
    reached = ~whole.isnan().any(1)
    assert (whole - literal)[reached].abs().max() < EXACT
    assert (whole - parts)[reached].abs().max() < EXACT
