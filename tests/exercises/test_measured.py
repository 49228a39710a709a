"""The file with which the exercises of chapter 7 work is what the book has measured."""

import json

import numpy as np
import pytest
import walk_smollm2

from exercises.checks.ch07_conclude import truth
from exercises.measured import direct_effects
from pathpatch import PathPatchError, ioi_prompts
from pathpatch.models.tiny import tiny_tokenizer


def test_it_has_the_numbers_of_the_walk():
    with np.load(walk_smollm2.FILE) as walk:
        names, about = json.loads(str(walk["facts"]))["logits@END"]
        change, base = walk["logits@END"][:270], walk["base"]
    effects = direct_effects()
    assert effects.names == names[:270] and effects.about.prompts_sha256 == about["prompts_sha256"]
    assert (np.round(1000 * effects.change) == change).all()
    assert abs(effects.base - base).max() < 1e-6


def test_the_orders_and_frames_are_those_of_the_prompts():
    drawn = ioi_prompts(tiny_tokenizer(), 210, walk_smollm2.Random(0)).pairs
    effects = direct_effects()
    assert effects.templates == [pair.template for pair in drawn]
    for order in ("ABBA", "BABA"):
        of = [pair.group.startswith(order) for pair in drawn]
        assert (direct_effects(order).change == effects.change[:, of]).all() and sum(of) == 105


def test_another_order_is_refused():
    with pytest.raises(PathPatchError, match="no prompts have the order 'abba'"):
        direct_effects("abba")


def test_two_statements_follow_and_six_do_not():
    assert [key[0] for key, true in truth().items() if true] == ["a", "f"]
