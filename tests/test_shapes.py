"""The shapes in signatures are checked while tests run, in every process that runs some."""

from dataclasses import replace

import jaxtyping
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from conftest import Tiny
from shapes import checked

from pathpatch import Node, Rule, logit_diff


def test_a_wrong_shape_is_refused(tiny: Tiny):
    with pytest.raises(jaxtyping.TypeCheckError, match="logit_diff"):
        logit_diff(torch.zeros(len(tiny.prompts)), tiny.prompts)


def test_a_wrong_type_is_refused_also_where_there_are_no_shapes(tiny: Tiny):
    with pytest.raises(BeartypeCallHintViolation, match=r"Node\.parse"):
        Node.parse(3)
    with pytest.raises(BeartypeCallHintViolation, match=r"Node\.__init__"):
        Node("z", "0", 1)
    with pytest.raises(BeartypeCallHintViolation, match=r"Rule\.__init__"):
        Rule(rounds="1")
    with pytest.raises(jaxtyping.TypeCheckError, match="answer"):
        replace(tiny.prompts, answer=tiny.prompts.orig.ids)


def test_functions_inside_functions_are_left_as_they_are():
    def inside(x: int) -> int:
        return x

    assert checked(inside) is inside
    assert checked(outside) is not outside


def outside(x: int) -> int:
    return x
