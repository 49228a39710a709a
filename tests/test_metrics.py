"""Metrics by hand."""

from random import Random

import pytest
import torch

from pathpatch import answer_prob, ioi_prompts, logit_diff, recovered
from pathpatch.models.tiny import tiny_tokenizer


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
