"""Every exercise: the stub fails with our words, right answers pass, wrong ones are named."""

import os
import random
import warnings
from pathlib import Path

import mutants.ch01_sum
import mutants.ch02_task
import mutants.ch03_activation_patching
import mutants.ch04_causal_tracing
import mutants.ch05_by_hooks
import mutants.ch05_four_passes
import mutants.ch06_choosing_receivers
import mutants.ch07_ioi_walk  # noqa: F401  each registers its answers
import numpy as np
import pytest
import torch
from mutants.answers import ANSWERS, Answer

from exercises.catalogue import Exercise, exercises, pages
from exercises.checks.judge import LIMIT, judge

EXERCISES = list(exercises().values())
RIGHT = [answer for answer in ANSWERS if not answer.phrase]
WRONG = [answer for answer in ANSWERS if answer.phrase]
SOME = WRONG if "EXERCISES_SEED" in os.environ else WRONG[::7]  # `make audit` judges all of them
SOLUTIONS = Path(__file__).parent.parent.parent / "solutions"

by_id = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)


@by_id
def test_the_untouched_stub_fails_with_our_words(exercise: Exercise, tmp_path, record_property):
    path = tmp_path / f"{exercise.stem}.py"
    path.write_text(pages()[exercise.stem])
    verdict = judge(exercise, path, limit=600)
    assert not verdict.trouble
    if exercise.kind == "repair":
        found = verdict.state == "failed" and "still as it was given" in verdict.text
    else:
        label = f"{exercise.id} {exercise.function}"
        found = (verdict.state, verdict.text) == ("untouched", f"{label}: not written yet.")
    record_property(exercise.id, ("stub fails", found))
    assert found, verdict.text


@by_id
def test_the_solution_passes(exercise: Exercise, record_property):
    verdict = judge(exercise, SOLUTIONS / f"{exercise.stem}.py", limit=600)
    assert not verdict.trouble
    record_property(exercise.id, ("solution passes", verdict.right))
    assert verdict.right, verdict.text


@pytest.mark.parametrize("answer", RIGHT, ids=str)
def test_a_right_answer_written_differently_passes(answer: Answer, record_property):
    verdict = judge(exercises()[answer.exercise], answer.function, limit=600)
    record_property(answer.exercise, ("alternatives accepted", verdict.right))
    assert verdict.right, verdict.text


@pytest.mark.parametrize("answer", SOME, ids=str)
def test_a_wrong_answer_is_rejected_and_named(answer: Answer, record_property, capsys):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what warns a learner must not stop the check
        limit = 1.0 if "never ends" in answer.phrase else LIMIT
        verdict = judge(exercises()[answer.exercise], answer.function, limit)
    record_property(answer.exercise, ("mutants killed", verdict.state == "failed"))
    record_property(answer.exercise, ("mutants named", answer.phrase in verdict.text))
    assert verdict.state == "failed", f"this wrong answer passes: {verdict.text}"
    assert answer.phrase in verdict.text, f"the mistake is not named:\n{verdict.text}"
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


@by_id
def test_every_exercise_has_enough_answers(exercise: Exercise):
    wrong = [answer for answer in WRONG if answer.exercise == exercise.id]
    assert len(wrong) >= 4
    assert len({answer.phrase for answer in wrong}) >= 3, "these all make the same mistake"
    assert any(answer.exercise == exercise.id for answer in RIGHT)
