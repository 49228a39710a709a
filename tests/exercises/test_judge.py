"""The judge: what it says about exceptions, loops, leftovers, and what it puts back."""

import random
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exercises.catalogue import exercises
from exercises.checks import judge as judging
from exercises.checks.cases import CHECKS, Case, contrast, describe, form, same
from exercises.checks.judge import judge
from exercises.checks.labs import lab
from pathpatch import run

MODEL, PROMPTS = lab("gpt2")
LEFT_OVER = {"b": [torch.ones(2)]}
clean = PROMPTS.orig


@pytest.fixture
def ask(monkeypatch):
    """Judge a function by a case of our own, under the name of exercise 1.1."""

    def judged(function, *cases: Case, limit=5.0):
        monkeypatch.setitem(CHECKS, "by_hand", lambda: iter(cases))
        return judge(exercises()["1.1"], function, limit)

    return judged


def one(x=1):
    return x


def case(expected=1, given=(), **more) -> Case:
    return Case("f()", lambda f: f(*given), expected, given=given, **more)


def test_a_right_answer_passes_and_says_on_how_many_calls(ask):
    assert ask(lambda: 1, case()).text == "1.1 by_hand: right, on the call."
    assert ask(lambda: 1.0, case(), case()).text == "1.1 by_hand: right, on all 2 calls."


def test_the_learners_own_line_comes_first(ask):
    def helper():
        return 1 / 0

    def answer():
        return helper()

    lines = ask(answer, case()).text.splitlines()
    assert lines[1].startswith("  your line") and lines[1].endswith("return 1 / 0")
    assert lines[2] == "  raised    ZeroDivisionError: division by zero"
    assert lines[3] == "  called    f()"


def test_an_exception_deep_in_the_library_begins_with_the_learners_line(ask):
    def answer():
        return run(MODEL_OF(), PROMPTS_OF(), reads=["9.9.z"])

    lines = ask(answer, case()).text.splitlines()
    assert lines[1].endswith('return run(MODEL_OF(), PROMPTS_OF(), reads=["9.9.z"])')
    assert "out of range" in lines[2]
    assert lines[3].startswith("  deep in   check, ") and "nodes.py" in lines[3]


def MODEL_OF():
    return lab("gpt2")[0]


def PROMPTS_OF():
    return lab("gpt2")[1].orig


def test_a_decorated_function_shows_its_own_line_too(ask):
    @torch.no_grad()
    def answer():
        return [][0]

    assert "return [][0]" in ask(answer, case()).text.splitlines()[1]


def test_wrong_arguments_show_what_the_function_takes():
    text = judge(exercises()["1.3"], one).text
    assert "takes from 0 to 1 positional arguments but 2 were given" in text
    assert "It takes (x=1); see the call below.\n  called    five(" in text


@pytest.mark.parametrize("leave", [SystemExit, KeyboardInterrupt])
def test_leaving_is_an_exception_like_others(ask, leave):
    def answer():
        raise leave

    assert f"raised    {leave.__name__}" in ask(answer, case()).text


def test_another_not_implemented_error_is_not_the_stub(ask):
    def answer():
        raise NotImplementedError("this kind of model")

    verdict = ask(answer, case())
    assert (verdict.state, "this kind of model" in verdict.text) == ("failed", True)


def test_a_loop_without_end_is_a_message_and_its_thread_is_gone(ask):
    def answer():
        while True:
            time.sleep(0.001)

    threads, started = threading.active_count(), time.perf_counter()
    text = ask(answer, case(), limit=0.2).text
    assert "had not come back after 0.2 seconds" in text and "Is there a loop" in text
    assert time.perf_counter() - started < 15  # one second on a quiet machine
    assert threading.active_count() == threads


def test_randomness_and_threads_are_as_before(ask):
    def answer():
        random.random(), np.random.rand(), torch.rand(1)
        return torch.get_num_threads()

    torch.set_num_threads(2)
    try:
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        assert ask(answer, case()).right  # one thread
        assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
        assert torch.equal(torch.get_rng_state(), states[2])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_what_is_drawn_is_the_same_at_every_check(ask):
    drawn = []

    def answer():
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
        return 1

    ask(answer, case())
    random.seed(), np.random.seed(), torch.seed()
    ask(answer, case())
    assert drawn[0] == drawn[1]


def test_models_prompts_and_tensors_from_outside_are_named(ask):
    def uses_a_model():
        return len(MODEL.blocks)

    def uses_a_helper():
        return uses_prompts()

    def uses_a_collection():
        return [x for x in LEFT_OVER["b"]]

    assert "`MODEL` from outside" in ask(uses_a_model, case()).text
    assert "`LEFT_OVER` from outside" in ask(uses_a_collection, case()).text
    assert "`PROMPTS` from outside" in ask(through_a_helper, case()).text
    assert ask(with_an_attribute_of_that_name, case(19, given=(PROMPTS,))).right


def test_plain_values_and_circles_from_outside_are_no_trouble(ask):
    CIRCLE.append(CIRCLE)
    assert ask(lambda: len(CIRCLE) + len(KINDS), case(4)).right


CIRCLE: list[object] = []
KINDS = "qkv"


def uses_prompts():
    return len(PROMPTS)


def through_a_helper():
    return uses_prompts()


def with_an_attribute_of_that_name(prompts):
    """There is a global `clean` here as well, but this is not it."""
    return prompts.orig.ids.shape[1]


def hooked(model):
    model.blocks[1].attn.hook_q.add_hook(lambda value, hook: value * 0)
    return 1


def hooked_and_failed(model):
    hooked(model)
    raise RuntimeError


def heavier(model):
    model.W_E.mul_(2)
    return 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [(hooked, "Hooks are left behind"), (hooked_and_failed, "RuntimeError"), (heavier, "weights")],
)
def test_the_model_is_as_before_for_the_next_check(ask, answer, words):
    before = run(MODEL, PROMPTS.orig, reads=["logits@END"])["logits@END"]
    verdict = ask(answer, case(given=(MODEL,)))
    assert verdict.state == "failed" and words in verdict.text
    after = run(MODEL, PROMPTS.orig, reads=["logits@END"])["logits@END"]
    assert torch.equal(before, after)


def test_a_loop_in_a_hook_leaves_no_hook(ask):
    def answer(model):
        def wait(value, hook):
            while True:
                time.sleep(0.001)

        return model.run_with_hooks(PROMPTS_OF().ids, fwd_hooks=[("hook_embed", wait)])

    assert "Is there a loop" in ask(answer, case(given=(MODEL,)), limit=0.2).text
    assert not any(point.fwd_hooks for point in MODEL.hook_dict.values())


def test_a_changed_argument_is_named_and_put_back(ask):
    numbers, kept = {"x": torch.ones(2)}, torch.ones(2)

    def answer(given):
        given["x"] += 1
        return 1

    verdict = ask(answer, case(given=(numbers,)))
    assert "What you were given is changed (a dict)" in verdict.text
    assert torch.equal(numbers["x"], kept)


MISTAKES = {"it is two": 2, "it is a pair": 2, "it is three": 3}


def test_a_mistake_is_named_by_its_result(ask):
    text = ask(lambda: 3, case(mistakes=MISTAKES, advice="Think.")).text
    assert "This is what comes out when it is three." in text and "Think" not in text
    assert "Think." in ask(lambda: 4, case(mistakes=MISTAKES, advice="Think.")).text
    assert 'hint("1.1"), or python -m exercises hint 1.1' in text


def test_several_names_are_narrowed_by_the_other_calls(ask):
    first = case(given=(1,), mistakes=lambda: MISTAKES)
    later = case(given=(2,), mistakes={"it is two": 2, "it is a pair": 5})
    assert "when it is two,\n    or when it is a pair." in ask(lambda x: 2, first).text
    assert "comes out when it is two." in ask(lambda x: 2, first, later).text
    assert "comes out when it is a pair." in ask(lambda x: 2 if x == 1 else 5, first, later).text
    passed = case(given=(2,), mistakes={"it is two": 2})  # it would have shown
    assert "comes out when it is a pair." in ask(lambda x: 2 if x == 1 else 1, passed, first).text


def test_the_mistakes_of_a_dict_are_named_key_by_key(ask):
    right = {"x": 1, "y": 1}
    mistakes = {"x is lost": right | {"x": 0}, "y is lost": right | {"y": 0}}
    text = ask(lambda: {"x": 0, "y": 0}, case(right, mistakes=mistakes)).text
    assert "x: this is what comes out when x is lost." in text
    assert "y: this is what comes out when y is lost." in text


def test_a_result_of_another_form_is_described(ask):
    right = torch.zeros(2, 3)
    assert "That is a tensor of shape [3]" in ask(lambda: torch.ones(3), case(right)).text
    assert "The function returned nothing" in ask(lambda: None, case(right)).text
    assert "That is a list of 2" in ask(lambda: [1, 2], case(right)).text
    assert ask(lambda: np.zeros((2, 3)), case(right)).right


def test_an_open_question_is_handed_in(ask, monkeypatch):
    monkeypatch.setattr(judging, "CHECKS", {"my_choice": lambda: iter([case()])})
    assert judge(exercises()["6.1"], one).state == "handed in"


def test_results_are_shown_where_they_differ_most():
    got, expected = torch.zeros(2, 2), torch.tensor([[0.0, 0], [3, 0]])
    assert contrast({"r": got}, {"r": expected}) == (
        "r: 0 at [1, 0], where it is most off (a tensor of shape [2, 2])",
        "r: 3",
    )
    assert contrast(torch.tensor([torch.nan]), torch.tensor([1.0]))[0].startswith("nan at [0]")
    assert describe({"x": torch.ones(2)}) == "x: a tensor of shape [2]"
    assert len(describe("x" * 999)) < 400


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text(max_size=2))
ANYTHING |= st.lists(ANYTHING, max_size=2) | st.dictionaries(st.text(max_size=1), ANYTHING)
ANYTHING |= st.builds(torch.tensor, st.lists(st.floats(-2, 2), max_size=2))


@given(ANYTHING, ANYTHING)
def test_comparing_never_fails_and_is_the_same_both_ways(x, y):
    assert same(x, x)
    assert same(x, y) == same(y, x)
    assert form(x) and (same(x, y) or len(contrast(x, y)) == 2)
