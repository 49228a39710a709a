"""Plain values: what leaves the room, and what is the same."""

import json

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from exercises.checks.compare import contrast, describe, form, rows_off, same
from exercises.room.plain import from_plain, to_plain
from pathpatch import Node


def plain(thing):
    return from_plain(json.loads(json.dumps(to_plain(thing))))


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text(max_size=2))
ANYTHING |= st.floats(-9, 9)
ANYTHING |= st.lists(ANYTHING, max_size=2) | st.dictionaries(st.text(max_size=1), ANYTHING)
ANYTHING |= st.tuples(ANYTHING) | st.builds(np.array, st.lists(st.integers(-2, 2), max_size=2))
ANYTHING |= st.builds(torch.tensor, st.lists(st.floats(-2, 2), max_size=2))
ANYTHING |= st.sets(st.integers()) | st.complex_numbers() | st.binary(max_size=3)


@given(ANYTHING, ANYTHING)
def test_anything_can_be_told_compared_and_described(x, y):
    x, y = plain(x), plain(y)
    assert same(x, y) in (True, False) and form(x) and describe(x)
    assert len(contrast(x, y)) == 2 and isinstance(rows_off(x, y), str)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=4))
def test_a_value_is_the_same_as_itself_and_not_as_another(numbers):
    for make in (torch.tensor, np.array, list, tuple, lambda x: {"k": x}):
        assert same(plain(make(numbers)), plain(make(numbers)))
        assert not same(plain(make(numbers)), plain(make([*numbers[:-1], numbers[-1] + 1e-3])))
        assert not same(plain(make(numbers)), plain(make([*numbers, 1.0])))
        assert not same(plain(make([*numbers, np.nan])), plain(make([*numbers, np.nan])))


def test_forms_that_mean_the_same():
    assert same(plain(torch.ones(2, dtype=torch.float32)), plain(np.ones(2)))
    assert same(plain(torch.tensor(3)), plain(3.0)) and same(plain(np.float64(3)), plain(3))
    assert same(plain((1, [2])), plain([1, (2,)]))
    assert same(plain({Node.parse("0.1@END"): 1}), plain({"0.1.z@END": 1}))
    assert not same(plain(True), plain(1)) and not same(plain("1"), plain(1))
    assert not same(plain(torch.ones(2)), plain([1.0, 1.0]))
    assert same(plain(torch.ones(2, dtype=torch.bfloat16)), plain(torch.ones(2)))


def test_results_are_shown_where_they_differ_most():
    got, expected = plain(torch.zeros(2, 2)), plain(torch.tensor([[0.0, 0], [3, 0]]))
    where = "r: 0 at [1, 0], where it is most off (a tensor of shape [2, 2])"
    assert contrast({"r": got}, {"r": expected}) == (where, "r: 3")
    assert contrast(plain(torch.tensor([torch.nan])), plain(torch.ones(1)))[0].startswith("nan at")
    assert describe({"x": plain(torch.ones(2))}) == "x: [1, 1]"
    assert len(describe("x" * 999)) < 400
