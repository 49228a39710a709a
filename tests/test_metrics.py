"""Metrics by hand."""

from random import Random

import numpy as np
import pytest
import torch
from conftest import Tiny

from pathpatch import (
    Ablation,
    Circuit,
    Edge,
    Knockout,
    PathPatchError,
    SweepOptions,
    activation_sweep,
    answer_prob,
    causal_trace,
    edge_attribution,
    edge_effects,
    five_treatments,
    ioi_prompts,
    logit_diff,
    node_attribution,
    path_sweep,
    recovered,
)
from pathpatch.metrics import per_prompt
from pathpatch.models.tiny import tiny_tokenizer

ASKED = {"senders": ["0.1", "0.2@S2"], "receivers": ["2.0.q@END"]}
QUIET = SweepOptions(quiet=True)


def test_metrics_by_hand():
    prompts = ioi_prompts(tiny_tokenizer(), 2, Random(0))
    logits = torch.zeros(2, len(tiny_tokenizer()), dtype=torch.float64)
    logits[0, prompts.answer[0]], logits[1, prompts.foil[1]] = 3.0, 2.0
    assert logit_diff(logits, prompts).tolist() == [3.0, -2.0]
    others = len(tiny_tokenizer()) - 1
    e2, e3 = (float(torch.tensor(float(x), dtype=torch.float64).exp()) for x in (2, 3))
    expected = [e3 / (e3 + others), 1 / (e2 + others)]
    assert answer_prob(logits, prompts).tolist() == pytest.approx(expected, abs=1e-12)


def test_metrics_take_a_stack_of_senders():
    prompts = ioi_prompts(tiny_tokenizer(), 3, Random(0))
    logits = torch.randn(5, 3, len(tiny_tokenizer()))
    for metric in (logit_diff, answer_prob):
        assert torch.equal(metric(logits, prompts)[4], metric(logits[4], prompts))


def test_recovered_is_0_at_corrupt_and_1_at_clean():
    corrupt, clean = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 2.0])
    assert recovered(corrupt, corrupt, clean).tolist() == [0, 0]
    assert recovered(clean, corrupt, clean).tolist() == [1, 1]
    assert recovered(torch.tensor([2.0, -1.0]), corrupt, clean).tolist() == [0.5, 0.25]


def centred(logits, prompts):
    values = logit_diff(logits, prompts)
    return values - values.mean(-1, keepdim=True)


def in_spreads(logits, prompts):
    values = logit_diff(logits, prompts)
    return values / logits.std()


def share(logits, prompts):
    values = answer_prob(logits, prompts)
    return values / values.sum(-1, keepdim=True)


def from_the_first(logits, prompts):
    values = logit_diff(logits, prompts)
    return values - values[..., :1]


def rank(logits, prompts):
    return logit_diff(logits, prompts).argsort(-1).argsort(-1)


def stored(logits, prompts):
    return logit_diff(logits, prompts) - torch.arange(6)


def drawn(logits, prompts):
    return logit_diff(logits, prompts) + torch.randn(logits.shape[:-1])


OF_THE_BATCH = [centred, in_spreads, share, from_the_first, rank, stored, drawn]


def everything(tiny: Tiny, metric):
    """Every table that takes a metric."""
    model, prompts = tiny.model, tiny.prompts
    circuit = Circuit([Edge("0.1.z@END", "2.0.q@END", 1.0, 0.0, 2.0, 1.0, 0.01)])
    literal = SweepOptions("literal", quiet=True)
    yield lambda: path_sweep(model, prompts, **ASKED, metric=metric, options=QUIET)
    yield lambda: path_sweep(model, prompts, **ASKED, metric=metric, options=literal)
    yield lambda: activation_sweep(model, prompts, nodes=["0.1"], metric=metric)
    yield lambda: causal_trace(model, prompts, ["0.1@S1"], noise=None, metric=metric)
    yield lambda: five_treatments(model, prompts, **ASKED, metric=metric)
    yield lambda: edge_effects(model, prompts, circuit, metric)
    yield lambda: node_attribution(model, prompts, ["0.1"], metric=metric)
    yield lambda: edge_attribution(model, prompts, **ASKED, metric=metric)
    yield lambda: Knockout(model, prompts, Ablation(metric=metric)).score()


@pytest.mark.sample(3)
@pytest.mark.parametrize("metric", OF_THE_BATCH, ids=lambda metric: metric.__name__)
def test_a_metric_with_something_of_the_batch_inside_is_refused(tiny: Tiny, metric):
    for task in everything(tiny, metric):
        with pytest.raises(PathPatchError, match=f"the metric {metric.__name__} on the prompt"):
            task()


@pytest.mark.parametrize("metric", OF_THE_BATCH[:4], ids=lambda metric: metric.__name__)
def test_it_is_refused_in_blocks_of_one_prompt_too(tiny: Tiny, metric):
    with pytest.raises(PathPatchError, match="when other prompts are beside it"):
        path_sweep(
            tiny.model, tiny.prompts[:1], **ASKED, metric=metric, options=SweepOptions("literal")
        )


def half(logits, prompts):
    return logit_diff(logits.half(), prompts)


def log_odds(logits, prompts):
    p = answer_prob(logits, prompts)
    return (p / (1 - p)).log()


def entropy(logits, prompts):
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def won(logits, prompts):
    return logit_diff(logits, prompts) > 0


@pytest.mark.sample(3)
@pytest.mark.parametrize("metric", [half, log_odds, entropy, won], ids=lambda m: m.__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_other_metrics_pass_in_every_dtype(metric, dtype):
    prompts = ioi_prompts(tiny_tokenizer(), 7, Random(0))
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(3, 7, len(tiny_tokenizer()), generator=generator).to(dtype)
    assert torch.equal(per_prompt(metric, logits, prompts), metric(logits, prompts))


def writes_logits(logits, prompts):
    logits -= logits.mean(-1, keepdim=True)
    logits *= 2
    return logit_diff(logits, prompts)


def writes_prompts(logits, prompts):
    values = 2 * logit_diff(logits, prompts)
    prompts.answer[:] = prompts.foil
    prompts.orig.ids.zero_()
    prompts.orig.positions["END"].zero_()
    return values


def wants_gradients(logits, prompts):
    return (2 * logit_diff(logits, prompts)).requires_grad_()


@pytest.mark.sample(3)
@pytest.mark.parametrize("metric", [writes_logits, writes_prompts, wants_gradients])
@pytest.mark.parametrize("engine", ["fast", "literal"])
def test_what_a_metric_writes_or_wants_changes_nothing(tiny: Tiny, engine: str, metric):
    model, prompts, options = tiny.model, tiny.prompts, SweepOptions(engine, quiet=True)
    kept = prompts.sha256()
    expected = path_sweep(model, prompts, **ASKED, options=options)
    found = path_sweep(model, prompts, **ASKED, metric=metric, options=options)
    assert np.allclose(found.patched, 2 * expected.patched, atol=1e-9)
    assert np.allclose(found.base, 2 * expected.base, atol=1e-9)
    assert prompts.sha256() == kept
    tasks = list(everything(tiny, metric))
    if metric is writes_prompts:  # torch itself refuses to go back through what was written over
        tasks = tasks[:6] + tasks[8:]
    for task in tasks:
        task()
    assert prompts.sha256() == kept


def imaginary(logits, prompts):
    return logit_diff(logits, prompts) * 1j


def test_a_complex_metric_is_refused(tiny: Tiny):
    for task in everything(tiny, imaginary):
        with pytest.raises(PathPatchError, match="returned complex numbers of shape"):
            task()
