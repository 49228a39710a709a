"""The shapes in signatures are checked while tests run, in every process that runs some."""

import jaxtyping
import pytest
import torch
from conftest import Tiny
from shapes import checked

from pathpatch import logit_diff


def test_a_wrong_shape_is_refused(tiny: Tiny):
    with pytest.raises(jaxtyping.TypeCheckError, match="logit_diff"):
        logit_diff(torch.zeros(len(tiny.prompts)), tiny.prompts)


def test_functions_inside_functions_are_left_as_they_are():
    def inside(x: int) -> int:
        return x

    assert checked(inside) is inside
    assert checked(outside) is not outside


def outside(x: int) -> int:
    return x
