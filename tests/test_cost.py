"""The plan of a sweep: what is counted, what memory it may take, and what it says."""

import itertools
from weakref import WeakKeyDictionary

import pytest
from conftest import Tiny

from pathpatch import PathPatchError, SweepOptions, heads, mlps, path_sweep, plan
from pathpatch.engine.work import forward_multiply_adds, layer_weights

SENDERS = ["0.1@END", "1.mlp_out@END", "0.2@END+1.0@END", "embed@END", "2.0@END"]
RECEIVERS = ["1.0.q@END", "2.1.q@END"]


def test_the_cost_is_said_first(tiny: Tiny, monkeypatch, capsys):
    asked = {"senders": SENDERS, "receivers": RECEIVERS, "options": SweepOptions("literal")}
    monkeypatch.setattr("tqdm.std.time", lambda: 0.0)  # no bar, however busy the machine is
    seconds = itertools.count(0.0, 0.01)
    monkeypatch.setattr("pathpatch.engine.cost._timed", WeakKeyDictionary())
    monkeypatch.setattr("pathpatch.engine.cost.time.perf_counter", lambda: next(seconds))
    path_sweep(tiny.model, tiny.prompts, **asked)
    assert capsys.readouterr().err == "", "a run of less than two seconds says nothing"
    seconds = itertools.count(0.0, 10.0)
    monkeypatch.setattr("pathpatch.engine.cost._timed", WeakKeyDictionary())
    path_sweep(tiny.model, tiny.prompts, **asked)
    said = capsys.readouterr().err
    assert "literal engine, 5 senders on 6 prompts" in said
    assert "the work of 12 forward passes;\n  at most 0.0 GiB; about 2 minutes" in said
    used = next(seconds)
    path_sweep(tiny.model, tiny.prompts, **asked)
    assert "literal engine, 5 senders on 6 prompts" in capsys.readouterr().err
    assert next(seconds) == used + 10, "a model is timed once"


def test_the_fast_plan_counts_what_the_engine_does(gpt2: Tiny):
    model, prompts = gpt2.model, gpt2.prompts

    def cost(receiver: str, sender: str = "0.0@END", more=()):
        """Multiply-adds beside passes A and B."""
        frozen = [*heads(model), *more]
        found = plan(model, prompts, senders=[sender], receivers=[receiver], frozen=frozen)
        assert found.spec.engine == "fast"
        return found.multiply_adds - 2 * forward_multiply_adds(model, prompts)

    layer, mlp, sides = layer_weights(model)
    matrix = model.cfg.d_model * (model.cfg.d_model + 1)  # with its bias
    assert (layer - mlp, sides) == (4 * matrix, 2 * matrix)
    n, positions = len(prompts), prompts.orig.ids.numel()
    forward = positions * 3 * layer + n * model.W_U.numel()
    assert forward_multiply_adds(model, prompts) == forward
    assert cost("logits") == n * 3 * mlp
    assert cost("logits", "1.0@END") == n * 2 * mlp
    assert cost("logits", "embed@END") == n * 3 * mlp
    assert cost("logits", more=mlps(model)) == 0
    assert cost("2.0.q@END") == n * (2 * mlp + layer)
    assert cost("2.0.q@END", more=mlps(model)) == n * layer
    assert cost("1.0.q@END") == n * (mlp + 2 * layer)
    assert cost("0.0.q@END") == 0, "no receiver can see the sender"
    here = int((prompts.orig.at("END") - prompts.orig.at("S2") + 1).sum())
    assert cost("2.0.k@S2") == n * (2 * mlp + layer) + (here - n) * sides
    assert cost("1.0.k@S2") == n * (mlp + layer) + here * layer + (here - n) * sides
    assert cost("1.0.q@END") < cost("1.0.q@S2") < cost("1.0.q")
    # C passes the MLPs between the two; in D the MLP that receives is the first thing that runs.
    assert cost("0.mlp_in@END") == n * (mlp + 2 * layer)
    assert cost("1.mlp_in@END") == n * (mlp + mlp + layer)
    assert cost("2.mlp_in") == cost("2.mlp_in@END") == n * (2 * mlp + mlp)
    assert cost("2.mlp_in@END", "2.0@END") == n * mlp
    assert cost("1.mlp_in@END", "1.mlp_out@END") == 0, "no receiver can see the sender"
    assert cost("1.mlp_in@S2") == n * mlp + here * mlp + n * (layer - sides) + here * sides
    assert cost("1.resid_pre@END") == cost("0.resid_post@END") == cost("1.0.q@END")


def test_the_literal_plan_counts_every_pass(gpt2: Tiny):
    some = [str(node) for node in heads(gpt2.model)] * 2
    asked = {"receivers": ["2.0.q@END"], "options": SweepOptions("literal")}
    for n, passes in ((8, 2 + 16), (9, 2 * 2 + 18)):  # a job has eight senders, and its own A and B
        found = plan(gpt2.model, gpt2.prompts, senders=some[:n], **asked)
        assert found.passes == passes


def tight(tiny: Tiny, **asked) -> SweepOptions:
    """So little memory that the prompts go in several blocks."""
    for memory in (0.02 * 0.8**i for i in range(50)):
        if (
            plan(tiny.model, tiny.prompts, **asked, options=SweepOptions(memory=memory)).spec.block
            < 4
        ):
            return SweepOptions(memory=memory)
    raise AssertionError("the blocks never got smaller")


def test_blocks_count_like_the_whole(tiny: Tiny):
    asked = {"senders": SENDERS, "receivers": ["logits"]}
    whole = plan(tiny.model, tiny.prompts, **asked)
    small = plan(tiny.model, tiny.prompts, **asked, options=tight(tiny, **asked))
    assert whole.spec.block == len(tiny.prompts)
    assert small.multiply_adds == whole.multiply_adds


@pytest.mark.parametrize("receivers", [["logits"], RECEIVERS, ["1.0.v@S1"], ["1.2.k"]])
@pytest.mark.parametrize("engine", ["fast", "literal"])
def test_a_plan_stays_within_the_memory_it_may_use(tiny: Tiny, receivers, engine):
    least = 0.0
    for memory in (2.0, 0.01, 0.002, 0.0005, 0.0001):
        asked = {"senders": heads(tiny.model), "receivers": receivers}
        try:
            found = plan(tiny.model, tiny.prompts, **asked, options=SweepOptions(engine, memory))
        except PathPatchError as error:
            assert "GiB beside the model" in str(error)
            least = memory
        else:
            assert found.memory <= memory
    assert least > 0, "there is a limit too small for one prompt"


def test_plan_and_sweep_refuse_alike(tiny: Tiny):
    for ask in (plan, path_sweep):
        with pytest.raises(PathPatchError, match="cannot be a sender"):
            ask(tiny.model, tiny.prompts, senders=["0.1.q"], receivers=["logits"])
        with pytest.raises(PathPatchError, match=r"a prompt of \d+ tokens needs about"):
            how = SweepOptions(memory=1e-9)
            ask(tiny.model, tiny.prompts, senders=["0.1"], receivers=["logits"], options=how)
    with pytest.raises(PathPatchError, match="unknown engine 'quick'"):
        SweepOptions("quick")
