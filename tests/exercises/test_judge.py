"""The judge: what it says of an answer, and that nothing an answer does reaches anybody else."""

import functools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from exercises.catalogue import exercises
from exercises.checks import cases as casing
from exercises.checks.cases import CHECKS, Case, Check, Wrong
from exercises.checks.judge import judge
from exercises.room import process
from exercises.room.inputs import hand_made, random_prompts, tiny
from pathpatch import LOGITS, run

MODEL = tiny("gpt2", 2, 1)
PROMPTS = random_prompts(MODEL, random.Random(1), batch=3)
LEFT_OVER = {"b": [PROMPTS]}
CONSTANT = torch.ones(2)


@pytest.fixture
def ask(monkeypatch):
    """Judge a function by a solution of our own, under the name of exercise 1.1."""

    def judged(function, solve=lambda *, slip: 1, *args, limit=20.0, count=None, **more):
        rows = args or [()]

        def draw(drawn):
            yield from (Case(f"f{row}" if row else "f()", row) for row in rows)

        check = Check(solve, draw, count or len(rows), **more)
        monkeypatch.setitem(CHECKS, "by_hand", check)
        casing.trial.cache_clear()
        return judge(exercises()["1.1"], function, limit)

    yield judged
    casing.trial.cache_clear()


def with_model(model, *, slip):
    return 1


# ---- what is right ----


def test_a_right_answer_passes_and_says_on_how_many_calls(ask):
    assert ask(lambda: 1).text.startswith("1.1 by_hand: right, on the call.\n")
    double = lambda x, *, slip: 2 * x  # noqa: E731
    assert ask(lambda x: 2.0 * x, double, (1,), (2,)).text.startswith(
        "1.1 by_hand: right, on all 2 calls.\n"
    )


def test_after_a_pass_there_is_another_way_and_a_solution_if_this_copy_has_them(ask, monkeypatch):
    way, place = ask(lambda: 1).text.splitlines()[1:]
    assert way.startswith("  Another way: Pass C differs from pass B in one term")
    assert place == "  To compare: 1.1 in solutions/ch01_sum.py."
    monkeypatch.setattr("exercises.checks.judge.SOLUTIONS", Path("none"))
    assert ask(lambda: 1).text.splitlines()[1:] == [way]
    assert "way" not in ask(lambda: 2).text


@pytest.mark.parametrize(
    "answer",
    [
        lambda: {"x": np.ones((2, 2)), "y": (1, 2), "0.1.z@END": 3},
        lambda: {"y": [1.0, torch.tensor(2)], "0.1@END": np.float32(3), "x": torch.ones(2, 2)},
    ],
)
def test_right_forms_are_taken_wherever_they_stand(ask, answer):
    right = {"x": torch.ones(2, 2), "y": [1, 2], "0.1.z@END": 3}
    assert ask(answer, lambda *, slip: right).right


def test_a_tensor_and_a_helper_at_module_level_may_be_used(ask):
    assert ask(lambda: helper() * CONSTANT.sum() - 1).right


def helper():
    return 1


# ---- what is not ----


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: float("nan"), "came back nan"),
        (lambda: torch.full((), torch.nan), "came back nan"),
        (lambda: float("inf"), "came back inf"),
        (lambda: None, "The function returned nothing"),
        (lambda: "1", "came back '1'"),
        (lambda: True, "That is a bool"),
        (lambda: object(), "something of the type object"),
        (lambda: [1, 2], "That is a list of 2"),
        (lambda: {1: {2: {3: 4}}}, "That is a dict with the keys 1"),
        (lambda: 1j, "something of the type complex"),
        (lambda: torch.ones(2, device="meta"), "while it was read"),
        (lambda: Unreadable(), "while it was read"),
    ],
)
def test_whatever_comes_back_the_judge_has_a_sentence(ask, answer, words):
    verdict = ask(answer)
    assert verdict.state == "failed" and words in verdict.text, verdict.text


class Unreadable:
    def __repr__(self):
        raise RuntimeError


def test_a_circle_comes_back_as_far_as_it_can_be_read(ask):
    def answer():
        circle = []
        circle.append(circle)
        return circle

    assert ask(answer).state == "failed"


def test_where_no_mistake_fits_the_message_says_what_differs_and_guesses_nothing(ask):
    def solve(model, prompts, *, slip):
        return run(model, prompts.orig, reads=[LOGITS])[LOGITS]

    def answer(model, prompts):
        logits = run(model, prompts.orig, reads=[LOGITS])[LOGITS]
        logits[1, 3] += 0.5
        return logits

    text = ask(answer, solve, (MODEL, PROMPTS), advice="Think.").text
    assert "at [1, 3], where it is most off" in text
    assert "Rows [0, 2] are right, and rows [1] are not." in text
    assert "The passes of this call:\n    1. on x_orig: reads logits\n  Think." in text
    assert "comes out when" not in text and "(seed 5)" in text
    assert 'hint("1.1"), or python -m exercises hint 1.1' in text


# ---- names by experiment ----


def slipping(x, *, slip):
    x = x + 1 if slip("one is added") else x
    x = 2 * x if slip("it is doubled") else x
    return x * x if slip("it is squared") else x


def named(text: str) -> str:
    return text.partition("comes out when ")[2].partition(".\n  Next")[0]


def test_one_mistake_or_two_are_named_by_what_they_give(ask):
    inputs = (5,), (7,)
    assert named(ask(lambda x: x + 1, slipping, *inputs).text) == "one is added"
    both = "one is added,\n    and it is doubled"
    assert named(ask(lambda x: 2 * (x + 1), slipping, *inputs).text) == both
    assert named(ask(lambda x: x + 3, slipping, *inputs).text) == ""


def test_a_name_must_explain_every_call(ask):
    answer = lambda x: 2 * x if x == 5 else x + 4  # noqa: E731
    assert named(ask(answer, slipping, (5,), (7,)).text) == ""
    answer = lambda x: 2 * x if x == 5 else 1 / 0  # noqa: E731  no value, no evidence
    assert named(ask(answer, slipping, (5,), (7,)).text) == "it is doubled"


def test_more_calls_decide_between_two_that_give_the_same(ask):
    inputs = (2,), (5,)  # twice 2 is also 2 * 2
    assert named(ask(lambda x: x * x, slipping, *inputs, count=1).text) == "it is squared"
    assert named(ask(lambda x: 2 * x, slipping, *inputs, count=1).text) == "it is doubled"
    neither = lambda x: 4 if x == 2 else 0  # noqa: E731
    assert named(ask(neither, slipping, *inputs, count=1).text) == ""


def test_what_was_done_to_the_result_is_named_too(ask):
    solve = lambda x, *, slip: x + slip("one is added")  # noqa: E731
    x = torch.arange(6.0).reshape(3, 2) ** 2
    assert named(ask(lambda x: -x, solve, (x,)).text) == "the sign is turned round"
    assert named(ask(lambda x: x.mean(0), solve, (x,)).text).startswith("the mean over the prompts")
    both = "one is added,\n    and the sign is turned round"
    assert named(ask(lambda x: -x - 1, solve, (x,)).text) == both


def test_the_mistakes_of_a_dict_are_named_key_by_key(ask):
    def solve(x, *, slip):
        return {
            "a": x + slip("a has one too many"),
            "b": 2 * x if slip("b is doubled") else x,
            "c": -x if slip("c has lost its sign") else x,
        }

    text = ask(lambda x: {"a": x + 1, "b": 2 * x, "c": -x}, solve, (5,), (7,)).text
    assert "a: this is what comes out when a has one too many." in text
    assert "c: this is what comes out when c has lost its sign." in text


def test_answers_of_which_several_are_right_are_examined(ask):
    def examine(found):
        if found not in (1, 2):
            raise Wrong("neither 1 nor 2")

    assert ask(lambda: 2, examine=examine).right
    assert "neither 1 nor 2" in ask(lambda: 3, examine=examine).text


def test_a_rule_may_look_at_the_passes_that_were_made(ask):
    def rule(case, reply):
        return "" if reply.passes[0]["by"] == "hooks" else "It calls the library."

    solve = lambda model, prompts, *, slip: 1  # noqa: E731
    by_hand = lambda model, prompts: model(prompts.orig.ids) is not None and 1  # noqa: E731
    library = lambda model, prompts: run(model, prompts.new) is not None and 1  # noqa: E731
    assert ask(by_hand, solve, (MODEL, PROMPTS), rule=rule).right
    assert "It calls the library." in ask(library, solve, (MODEL, PROMPTS), rule=rule).text


def test_what_is_kept_from_one_call_to_the_next_is_said(ask):
    def remembers(x, kept=[]):  # noqa: B006  on purpose
        kept.append(2 * x)
        return kept[0]

    double = lambda x, *, slip: 2 * x  # noqa: E731
    text = ask(remembers, double, (1,), (2,)).text
    assert "and then  f(2,)" in text and "is kept from one call to the next" in text


def test_a_partial_and_an_object_that_can_be_called_are_functions_too(ask):
    double = lambda x, *, slip: 2 * x  # noqa: E731
    assert ask(functools.partial(times, 2), double, (1,), (2,)).right
    assert ask(Times(2), double, (1,), (2,)).right


def times(n, x):
    return n * x


class Times:
    def __init__(self, n):
        self.n = n

    def __call__(self, x):
        return self.n * x


# ---- exceptions, loops, exits ----


def test_the_learners_own_line_comes_first(ask):
    def divide():
        return 1 / 0

    def answer():
        return divide()

    lines = ask(answer).text.splitlines()
    assert lines[1].startswith("  your line") and lines[1].endswith("return 1 / 0")
    assert lines[2:4] == ["  raised    ZeroDivisionError: division by zero", "  called    f()"]


def test_an_exception_deep_in_the_library_begins_with_the_learners_line(ask):
    def answer(model, prompts):
        return run(model, prompts.orig, reads=["9.9.z"])

    lines = ask(answer, lambda model, prompts, *, slip: 1, (MODEL, PROMPTS)).text.splitlines()
    assert lines[1].endswith('return run(model, prompts.orig, reads=["9.9.z"])')
    assert "out of range" in lines[2]
    assert lines[3].startswith("  deep in   check, ") and "nodes.py" in lines[3]


def test_a_decorated_function_shows_its_own_line_too(ask):
    @torch.no_grad()
    def answer():
        return [][0]

    assert "return [][0]" in ask(answer).text.splitlines()[1]


def test_wrong_arguments_show_what_the_function_takes():
    text = judge(exercises()["1.3"], lambda x=1: x).text
    assert "takes from 0 to 1 positional arguments but 2 were given" in text
    assert "It takes (x=1); see the call below.\n  called    five(" in text


@pytest.mark.parametrize("leave", [SystemExit, KeyboardInterrupt, RecursionError, MemoryError])
def test_leaving_is_an_exception_like_others(ask, leave):
    def answer():
        raise leave

    assert f"raised    {leave.__name__}" in ask(answer).text


def test_another_not_implemented_error_is_not_the_stub(ask):
    def answer():
        raise NotImplementedError("this kind of model")

    verdict = ask(answer)
    assert (verdict.state, "this kind of model" in verdict.text) == ("failed", True)


def for_ever():
    while True:
        pass


def asleep():
    time.sleep(1000)


def ignoring_signals():
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass


@pytest.mark.parametrize("answer", [for_ever, asleep, ignoring_signals])
def test_a_loop_without_end_is_a_message(ask, answer):
    text = ask(answer, limit=0.5).text
    assert "had not come back after 0.5 seconds" in text and "Is there a loop" in text
    assert ask(lambda: 1).right


@pytest.mark.parametrize("code", [0, 3])
def test_the_end_of_the_process_is_a_verdict(ask, code):
    verdict = ask(lambda: os._exit(code))
    assert verdict.state == "failed" and f"with exit code {code}" in verdict.text
    verdict = ask(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert verdict.state == "failed" and "ended the whole process" in verdict.text
    verdict = ask(lambda: os.kill(os.getppid(), signal.SIGKILL))
    assert verdict.state == "failed"
    assert ask(lambda: 1).right, "and the next check has a process again"


def test_what_a_call_starts_ends_with_it(ask, tmp_path):
    note = tmp_path / "pid"

    def answer():
        started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        note.write_text(str(started.pid))
        return 1

    assert ask(answer).right
    for _ in range(100):
        time.sleep(0.05)
        try:
            os.kill(int(note.read_text()), 0)
        except ProcessLookupError:
            return
    status = Path(f"/proc/{note.read_text()}/status").read_text()
    assert "zombie" in status, status


def test_what_is_printed_is_kept_and_shown_once(ask):
    def answer():
        print("here", 1)
        os.system("echo there")
        return 1

    verdict = ask(answer)
    assert verdict.right and sorted(verdict.printed.split("\n")) == ["", "here 1", "there"]


def test_a_function_that_cannot_be_handed_over_is_a_verdict(ask):
    lock = __import__("threading").Lock()
    assert "cannot be handed over" in ask(lambda: lock and 1).text


# ---- nothing that an answer changes outlives it ----


def half(model):
    model.half()
    return 1


def hooked(model):
    model.blocks[1].attn.hook_q.add_hook(lambda value, hook: value * 0)
    return 1


def hooked_by_torch(model):
    model.original_model.register_forward_hook(lambda *given: None)
    return 1


def hooked_and_failed(model):
    hooked(model)
    raise RuntimeError


def heavier(model):
    model.W_E.data.mul_(2)
    return 1


def training(model):
    model.train()
    return 1


def other_settings(model):
    model.cfg.n_layers = 1
    return 1


def buffers(model):
    next(model.original_model.buffers()).zero_()
    return 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (half, "another dtype"),
        (hooked, "hooks are left behind"),
        (hooked_by_torch, "hooks are left behind"),
        (hooked_and_failed, "RuntimeError"),
        (heavier, "weights of the model are changed"),
        (training, "another mode"),
        (other_settings, "(cfg) are changed"),
        (buffers, "weights of the model are changed"),
    ],
)
def test_what_is_left_on_the_model_is_said_and_gone(ask, answer, words):
    model = tiny("llama", 2, 1) if answer is buffers else MODEL
    assert words in ask(answer, with_model, (model,)).text
    assert ask(lambda model: 1, with_model, (model,), (model,)).right
    assert not model.training and model.cfg.n_layers == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b, prompts: b["x"].unsqueeze_(1), "argument b in place"),
        (lambda b, prompts: b["x"].add_(1), "argument b in place"),
        (lambda b, prompts: b.pop("x"), "argument b in place"),
        (lambda b, prompts: b.update(y=1), "argument b in place"),
        (lambda b, prompts: prompts.orig.positions["IO"].add_(1), "argument prompts in place"),
        (lambda b, prompts: prompts.orig.positions.update(X=1), "argument prompts in place"),
        (lambda b, prompts: prompts.new.ids.zero_(), "argument prompts in place"),
    ],
)
def test_a_changed_argument_is_named_and_as_before_for_the_next(ask, change, words):
    def answer(b, prompts):
        change(b, prompts)
        return 1

    solve = lambda b, prompts, *, slip: 1  # noqa: E731
    b = {"x": torch.ones(2)}
    assert words in ask(answer, solve, (b, PROMPTS)).text
    assert b.keys() == {"x"} and torch.equal(b["x"], torch.ones(2))
    same_inputs = lambda b, prompts: int(b["x"].sum()) - 1  # noqa: E731
    assert ask(same_inputs, solve, (b, PROMPTS), (b, PROMPTS)).right


def test_settings_of_the_process_are_said_and_stay_inside(ask):
    def answer():
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        return 1

    verdict = ask(answer)
    assert verdict.right and "leaves torch.set_default_dtype changed" in verdict.text
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_the_library_cannot_be_changed_for_others(ask):
    def answer(model, prompts):
        import pathpatch.forward as library

        library.run = library.attempt = None
        sys.modules["torch"] = None
        return 1

    solve = lambda model, prompts, *, slip: 1  # noqa: E731
    assert ask(answer, solve, (MODEL, PROMPTS)).right
    reads = lambda model, prompts: len(run(model, prompts.orig, reads=["0.0.z"]))  # noqa: E731
    assert ask(reads, solve, (MODEL, PROMPTS)).right


def test_randomness_and_threads_are_as_before_and_the_same_at_every_check(ask):
    def answer():
        return [random.random(), float(np.random.rand()), torch.rand(1).item()]

    torch.set_num_threads(2)
    try:
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        first = ask(answer).text
        random.seed(), np.random.seed()
        assert ask(answer).text == first and "came back [0.8444" in first
        random.setstate(states[0])
        assert torch.equal(torch.get_rng_state(), states[2])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_the_judge_is_right_whatever_the_learner_has_set(ask):
    torch.set_default_dtype(torch.float16)
    try:
        solve = lambda x, *, slip: torch.ones(2) * x  # noqa: E731
        assert ask(lambda x: torch.ones(2) * x, solve, (0.123456,)).right
    finally:
        torch.set_default_dtype(torch.float32)


# ---- what comes from outside ----


def uses_prompts():
    return len(PROMPTS)


def through_a_helper():
    return uses_prompts()


def with_an_attribute_of_that_name(prompts):
    """There is a global `PROMPTS` here as well, but this is not it."""
    return len(prompts) - 2


def test_models_and_prompts_from_outside_are_named(ask):
    assert "`MODEL` from outside" in ask(lambda: len(MODEL.blocks)).text
    assert "`LEFT_OVER` from outside" in ask(lambda: len(LEFT_OVER["b"])).text
    assert "`PROMPTS` from outside" in ask(through_a_helper).text
    solve = lambda prompts, *, slip: 1  # noqa: E731
    assert ask(with_an_attribute_of_that_name, solve, (PROMPTS,)).right


# ---- models are the same on both sides ----


@pytest.mark.parametrize("maker", ["tiny", "machine", "toy", "planted"])
def test_a_model_in_the_room_is_the_model_outside(ask, maker):
    if maker == "tiny":
        model, prompts = tiny("llama", 4, 9), random_prompts(tiny("llama", 4, 9), random.Random(3))
    else:
        name = {"machine": "grouped", "toy": "and", "planted": "ada"}[maker]
        made = hand_made(maker, name)
        model, prompts = made.model, next(iter(made.prompts.values()))[:3]

    def solve(model, prompts, *, slip):
        return run(model, prompts.new, reads=[LOGITS])[LOGITS]

    answer = lambda model, prompts: run(model, prompts.new, reads=["logits"])["logits@END"]  # noqa: E731
    assert ask(answer, solve, (model, prompts)).right


def test_ctrl_c_in_the_middle_leaves_a_room_that_works(ask, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("exercises.room.room.Session.call", interrupted)
        ask(lambda: 1)
    assert ask(lambda: 1).right


def test_the_process_ends_with_the_one_that_started_it():
    code = "from exercises.room import process; print(process.warm().process.pid)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    for _ in range(200):
        if not os.path.exists(f"/proc/{int(done.stdout)}"):
            return
        time.sleep(0.05)
    pytest.fail("the room is still there")


ALONE = """
from exercises.catalogue import exercises
from exercises.checks.judge import judge
from exercises.room.process import FORK
assert not FORK
right, ends = {"pass B": 5, "pass C": 8, "overwrite R": 18}, __import__("os")._exit
def by_hand():
    return right
def stops():
    ends(0)
def loops():
    while True:
        pass
for function in (loops, by_hand, stops, by_hand):
    print(judge(exercises()["1.1"], function, limit=0.5).state)
"""


@pytest.mark.audit
def test_where_a_process_cannot_be_copied_each_session_has_its_own():
    environment = os.environ | {"EXERCISES_NO_FORK": "1"}
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["failed", "passed", "failed", "passed"], done.stderr


def test_there_is_one_room():
    assert process.warm() is process.warm()
