"""Finished blocks: taken only where every number is certain to be that of the sweep asked for."""

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny
from test_cost import tight

from pathpatch import (
    LOGITS,
    PathPatchError,
    SweepOptions,
    activation_sweep,
    answer_prob,
    logit_diff,
    run,
    tiny_model,
)
from pathpatch.engine import jobs
from pathpatch.engine.identity import config, library, metric_source
from pathpatch.engine.store import Blocks
from pathpatch.models.weights import fingerprint, settings

NODES = ["0.1@END", "1.mlp_out@S2", "embed@S1"]
SCALE = 1.0


def scaled(logits, prompts):
    return SCALE * helper(logits, prompts)


def helper(logits, prompts):
    return logit_diff(logits, prompts)


def with_default(logits, prompts, scale=2.0):
    return scale * logit_diff(logits, prompts)


def with_attribute(logits, prompts):
    return with_attribute.scale * logit_diff(logits, prompts)


with_attribute.scale = 1.0


def of_a_set(logits, prompts):
    return logit_diff(logits, prompts) * (prompts.direction in {"noising", "denoising", "none"})


class Callable_:
    def __call__(self, logits, prompts):
        return logit_diff(logits, prompts)


def closure(scale: float):
    def metric(logits, prompts):
        return scale * logit_diff(logits, prompts)

    return metric


def sweep(tiny: Tiny, folder: Path, metric=logit_diff, model=None, memory: float = 2.0, named=""):
    how = SweepOptions(folder=folder, memory=memory, identity=named)
    return activation_sweep(
        model or tiny.model, tiny.prompts, nodes=NODES, metric=metric, options=how
    ).patched


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """How many senders every block that is computed has."""
    done, compute = [], jobs.compute

    def count(parcel, prompts, spec, tick=int):
        done.append(len(spec.senders))
        return compute(parcel, prompts, spec, tick)

    monkeypatch.setattr(jobs, "compute", count)
    return done


# --------------------------------------------------------------------------------- the metric


def by_eval(logits, prompts):
    return eval("SCALE") * logit_diff(logits, prompts)


def by_import(logits, prompts):
    import test_resume

    return test_resume.SCALE * logit_diff(logits, prompts)


def by_environment(logits, prompts):
    return float(os.environ.get("SCALE", 1)) * logit_diff(logits, prompts)


def by_layer(logits, prompts):
    return LAYER(logit_diff(logits, prompts).double()[..., None])[..., 0].detach()


LAYER = torch.nn.Linear(1, 1, bias=False).double()
OWN = {
    "lambda": lambda logits, prompts: logit_diff(logits, prompts),
    "partial": functools.partial(logit_diff),
    "closure": closure(2.0),
    "default": with_default,
    "object": Callable_(),
    "function": scaled,
    "by eval": by_eval,
    "by import": by_import,
    "by environment": by_environment,
    "by a layer": by_layer,
}


@pytest.mark.parametrize("metric", OWN.values(), ids=OWN)
def test_a_metric_without_an_identity_is_not_kept(tiny: Tiny, tmp_path, metric, counted):
    with pytest.raises(PathPatchError, match=r"Say what it is, as in SweepOptions.*identity='"):
        sweep(tiny, tmp_path, metric)
    assert not list(tmp_path.rglob("*.npy")) and not counted
    asked = {"nodes": NODES[:1], "metric": metric}
    activation_sweep(tiny.model, tiny.prompts[:1], **asked)  # without a folder it is fine


@pytest.mark.parametrize("metric", OWN.values(), ids=OWN)
def test_a_metric_goes_on_under_its_identity_alone(tiny: Tiny, tmp_path, metric, counted):
    first = sweep(tiny, tmp_path, metric, named="mine, 1")
    assert np.array_equal(sweep(tiny, tmp_path, metric, named="mine, 1"), first)
    assert len(counted) == 1, "nothing was computed again"
    with pytest.raises(PathPatchError, match="another sweep, which differs in metric_source"):
        sweep(tiny, tmp_path, metric, named="mine, 2")


def test_the_librarys_metrics_need_no_identity():
    assert metric_source(logit_diff) == metric_source(logit_diff, "mine") == "logit_diff"


def with_scale(scale):
    def change(patch):
        patch.setitem(globals(), "SCALE", scale)
        return scaled

    return change


def with_helper(helper):
    def change(patch):
        patch.setitem(globals(), "helper", helper)
        return scaled

    return change


def with_an_attribute(patch):
    patch.setattr(with_attribute, "scale", 4.0)
    return with_attribute


def with_another_default(patch):
    patch.setattr(with_default, "__defaults__", (3.0,))
    return with_default


FORGOTTEN = {  # before, and what makes another metric of it
    "a number": (scaled, with_scale(2.0)),
    "a number of another kind": (scaled, with_scale(1)),
    "a tensor in a dict": (scaled, with_scale({"a": [torch.ones(2), np.zeros(2)]})),
    "no number any more": (scaled, with_scale(torch.ones(2))),
    "a helper": (scaled, with_helper(answer_prob)),
    "the code of a helper": (scaled, with_helper(lambda x, p: 3 * logit_diff(x, p))),
    "an attribute": (with_attribute, with_an_attribute),
    "a default": (with_default, with_another_default),
    "a variable around": (closure(2.0), lambda _: closure(3.0)),
    "the code": (scaled, lambda _: of_a_set),
    "a partial's value": (
        functools.partial(with_default, scale=2.0),
        lambda _: functools.partial(with_default, scale=3.0),
    ),
    "a partial's function": (functools.partial(scaled), lambda _: functools.partial(of_a_set)),
}


@pytest.mark.parametrize("before, change", FORGOTTEN.values(), ids=FORGOTTEN)
def test_what_can_be_seen_is_compared_though_the_identity_stays(
    gpt2: Tiny, tmp_path, monkeypatch, before, change
):
    sweep(gpt2, tmp_path, before, named="mine")
    there = metric_source(before, "mine")
    after = change(monkeypatch)
    assert metric_source(after, "mine") != there
    with pytest.raises(PathPatchError, match=r"another sweep, which differs in .*metric_source"):
        sweep(gpt2, tmp_path, after, named="mine")


def test_numbers_in_lists_and_dicts_are_compared(monkeypatch):
    kinds = [torch.ones(2), torch.zeros(2), np.zeros(2), np.ones(3), (1, None), (1, "x"), 1.0]
    found = set()
    for value in kinds:
        monkeypatch.setitem(globals(), "SCALE", {"a": [value]})
        found.add(metric_source(scaled, "mine"))
    assert len(found) == len(kinds) - 1, "numpy's zeros are torch's"


def itself() -> list[object]:
    found: list[object] = [1.0]
    found.append(found)
    return found


def too_early():
    """A function that reads a name around it which has no value yet."""

    def measure(logits, prompts):
        return later * logit_diff(logits, prompts)

    yield measure
    later = 1.0


@pytest.mark.parametrize(
    "value",
    [
        *(torch.ones(2).to_sparse(), torch.ones(2, device="meta"), itself(), object(), {1, 2}),
        *(scaled, next(too_early())),
    ],
    ids=["sparse", "meta", "itself", "object", "set", "the metric", "an empty cell"],
)
def test_whatever_a_metric_reads_its_source_can_be_asked(monkeypatch, value):
    monkeypatch.setitem(globals(), "SCALE", value)
    assert metric_source(scaled, "mine") == metric_source(scaled, "mine")


def test_the_same_function_elsewhere_is_the_same(tmp_path):
    text = Path(__file__).read_text(encoding="utf-8")
    there: dict = {"__name__": "another"}
    exec(compile("\n\n" + text.split("@pytest.fixture")[0], "other.py", "exec"), there)
    sources = {
        (name, metric_source(where[name], "mine"))
        for where in (there, globals())
        for name in ("scaled", "of_a_set", "with_attribute")
    }
    assert len(sources) == len({source for _, source in sources}) == 3


# ----------------------------------------------------------------------- the model, the library


def test_the_same_weights_with_another_configuration_are_another_model(llama: Tiny, tmp_path):
    sweep(llama, tmp_path)
    rope = llama.model.original_model.config.rope_parameters
    theta = rope["rope_theta"]
    try:
        rope["rope_theta"] = 2 * theta
        with pytest.raises(PathPatchError, match="another sweep, which differs in config"):
            sweep(llama, tmp_path)
    finally:
        rope["rope_theta"] = theta


def angles(model):
    model.model.rotary_emb.inv_freq.mul_(0.1)


def norm(model):
    model.model.norm.eps = 2.0


def activation(model):
    for module in [m for m in model.modules() if "act_fn" in m._modules]:
        module.act_fn = torch.nn.ReLU()


def flag(model):
    model.model.layers[0].self_attn.scaling *= 3


def another_forward(model):
    model.lm_head.forward = lambda x: 2 * x


def listed(model):
    model.model.layers[1].factors = {"low": [1.0, 2.0]}


CHANGES = (angles, norm, activation, flag, another_forward, listed)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_neither_weight_nor_configuration_makes_another_model(llama, tmp_path, change):
    model = tiny_model("llama", 2)
    first = sweep(llama, tmp_path, model=model)
    assert np.array_equal(sweep(llama, tmp_path, model=tiny_model("llama", 2)), first)
    weights = fingerprint(model, again=True)
    change(model.original_model)
    assert fingerprint(model, again=True) == weights
    with pytest.raises(PathPatchError, match=r"another sweep, which differs in .*config"):
        sweep(llama, tmp_path, model=model)


def test_a_pass_changes_nothing_of_what_a_model_is(tiny: Tiny):
    before = list(settings(tiny.model))
    run(tiny.model, tiny.prompts.orig, reads=[LOGITS, "1.2.pattern@END", "0.0.z"])
    assert list(settings(tiny.model)) == before


def test_another_version_is_another_sweep(gpt2: Tiny, tmp_path, monkeypatch):
    sweep(gpt2, tmp_path)
    assert "torch" in library() and "pathpatch" in library()
    monkeypatch.setattr("pathpatch.engine.identity.library", lambda: "torch 1.0")
    with pytest.raises(PathPatchError, match="another sweep, which differs in library"):
        sweep(gpt2, tmp_path)


def test_a_configuration_is_the_same_text_every_time(tiny: Tiny):
    assert "0x" not in config(tiny.model) and config(tiny.model) == config(tiny.model)


# ------------------------------------------------------------------------------- the files


def damage(file: Path, how: str) -> None:
    values = np.load(file)
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-40])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "one bit":
        content = bytearray(file.read_bytes())
        content[-50] ^= 1
        file.write_bytes(bytes(content))
    else:
        changed = {"not a number": values * np.nan, "another shape": values[:2], "old": values}
        with file.open("wb") as out:
            np.save(out, changed[how])


DAMAGE = ("truncated", "empty", "one bit", "not a number", "another shape", "old")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_block_is_computed_again_and_said(gpt2: Tiny, tmp_path, capsys, counted, how):
    asked = {"senders": NODES, "receivers": ["2.0.q@END"]}
    memory = tight(gpt2, **asked).memory
    first = sweep(gpt2, tmp_path, memory=memory)
    files = sorted((tmp_path / "blocks").glob("*.npy"))
    assert len(files) >= 2 and len(counted) == len(files)
    damage(files[1], how)
    capsys.readouterr()
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)
    assert len(counted) == len(files) + 1
    said = capsys.readouterr().err
    assert f"block(s) {files[1].stem} of {len(files)} are damaged or of another sweep" in said
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)
    assert len(counted) == len(files) + 1


def blocks_of(gpt2: Tiny, folder: Path) -> tuple[np.ndarray, list[Path], float]:
    """A finished sweep of several blocks: its numbers, its files, and the memory it was allowed."""
    memory = tight(gpt2, senders=NODES, receivers=["2.0.q@END"]).memory
    first = sweep(gpt2, folder, memory=memory)
    return first, sorted((folder / "blocks").glob("*.npy")), memory


def test_a_block_in_the_place_of_another_is_computed_again(gpt2: Tiny, tmp_path, capsys, counted):
    first, files, memory = blocks_of(gpt2, tmp_path)
    one, other = (file.read_bytes() for file in files[:2])
    assert one[-32:] != other[-32:]
    files[0].write_bytes(other)
    files[1].write_bytes(one)
    counted.clear()
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)
    assert len(counted) == 2 and "block(s) 0, 1 of" in capsys.readouterr().err
    files[1].write_bytes(files[0].read_bytes())
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)


@pytest.mark.parametrize("text", ["[]", "null", "1", '"x"', "{ half of", "[" * 100_000, "\x00"])
def test_a_sweep_json_that_says_nothing_is_written_again(gpt2: Tiny, tmp_path, counted, text):
    first, _, memory = blocks_of(gpt2, tmp_path)
    file, computed = tmp_path / "blocks" / "sweep.json", len(counted)
    said = file.read_text()
    file.write_text(text)
    assert np.array_equal(sweep(gpt2, tmp_path, memory=memory), first)
    assert len(counted) == computed and file.read_text() == said


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["sweep.json", "1.npy"])
def test_what_is_no_file_is_named_in_a_sentence(gpt2: Tiny, tmp_path, make, name):
    _, _, memory = blocks_of(gpt2, tmp_path)
    (tmp_path / "blocks" / name).unlink()
    make(tmp_path / "blocks" / name)
    with pytest.raises(PathPatchError, match=f"cannot read .*{name}: it is not a file; delete it"):
        sweep(gpt2, tmp_path, memory=memory)


def test_a_sweep_goes_on_with_more_memory_and_says_when_there_is_less(
    gpt2: Tiny, tmp_path, counted
):
    first, files, memory = blocks_of(gpt2, tmp_path)
    files[1].unlink()
    counted.clear()
    assert np.array_equal(sweep(gpt2, tmp_path, memory=2.0), first)
    assert len(counted) == 1
    sweep(gpt2, tmp_path / "other", memory=2.0)
    with pytest.raises(
        PathPatchError, match=r"started with more memory .6 prompts in a block, now"
    ):
        sweep(gpt2, tmp_path / "other", memory=memory)


def test_without_sweep_json_foreign_blocks_are_not_taken(gpt2: Tiny, tmp_path, capsys, counted):
    sweep(gpt2, tmp_path)
    (tmp_path / "blocks" / "sweep.json").unlink()
    found = sweep(gpt2, tmp_path, answer_prob)
    assert "of another sweep" in capsys.readouterr().err
    expected = activation_sweep(gpt2.model, gpt2.prompts, nodes=NODES, metric=answer_prob).patched
    assert np.array_equal(found, expected)
    (tmp_path / "blocks" / "sweep.json").write_text("{ half of")
    computed = len(counted)
    assert np.array_equal(sweep(gpt2, tmp_path, answer_prob), expected)
    assert len(counted) == computed, "the blocks say whose they are"
    assert json.loads((tmp_path / "blocks" / "sweep.json").read_text())["metric"] == "answer_prob"


def test_two_sweeps_that_write_at_once_do_not_mix(tmp_path, capsys):
    mine = Blocks(tmp_path, {"metric": "mine"}, [(1, 2), (1, 2)])
    (tmp_path / "blocks" / "sweep.json").unlink()  # the other one looked before it was written
    theirs = Blocks(tmp_path, {"metric": "theirs"}, [(1, 2), (1, 2)])
    mine[0], theirs[0] = np.zeros((1, 2)), np.ones((1, 2))
    theirs[1], mine[1] = np.ones((1, 2)), np.zeros((1, 2))
    assert all((values == 0).all() for values in mine.values())
    again = Blocks(tmp_path, {"metric": "theirs"}, [(1, 2), (1, 2)])
    assert list(again) == [0] and (again[0] == 1).all()
    assert "block(s) 1 of 2" in capsys.readouterr().err


def test_stopped_while_a_block_is_written(gpt2: Tiny, tmp_path, monkeypatch, counted):
    def stop(*_):
        raise KeyboardInterrupt

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "replace", lambda a, b: stop() if str(b).endswith(".npy") else replace(a, b)
        )
        with pytest.raises(KeyboardInterrupt):
            sweep(gpt2, tmp_path)
    assert [path.name for path in (tmp_path / "blocks").iterdir()] == ["sweep.json"]
    found = sweep(gpt2, tmp_path)
    assert np.array_equal(found, activation_sweep(gpt2.model, gpt2.prompts, nodes=NODES).patched)
