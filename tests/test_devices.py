"""Every function works where the model is. No GPU is needed: the device is pretended (elsewhere).

On a real one: tests/gpu.
"""

import ast
import gc
import hashlib
from random import Random

import numpy as np
import pytest
import torch
from conftest import Tiny
from conftest import machine as machine_of
from elsewhere import PLACE, elsewhere, is_there
from everything import EVERYTHING, RECEIVERS, SENDERS, Computation, machine
from test_contract import MODULES, tree
from torch.utils._device import _device_constructors

from pathpatch import (
    LOGITS,
    PathPatchError,
    SweepOptions,
    ioi_prompts,
    load_model,
    path_sweep,
    run,
    tiny_model,
)
from pathpatch.__main__ import main
from pathpatch.engine.identity import config, digest, library
from pathpatch.engine.jobs import Parcel
from pathpatch.models import weights as weights_module
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import Model, device_of

PROMPTS = ioi_prompts(tiny_tokenizer(), 4, Random(0))


def compare(compute: Computation, model: Model, prompts) -> None:
    here = list(compute(model, prompts))
    with elsewhere(model):
        there = list(compute(model, prompts))
    for found, expected in zip(there, here, strict=True):
        assert isinstance(found, np.ndarray) and np.isfinite(expected).all()
        assert np.array_equal(found, expected)


@pytest.mark.sample(7)
@pytest.mark.parametrize("name", EVERYTHING)
def test_the_same_numbers_elsewhere(tiny: Tiny, name: str):
    compare(EVERYTHING[name], tiny.model, PROMPTS)


@pytest.mark.parametrize("variant", ["grouped", "mlp"])
def test_models_written_by_hand_work_elsewhere(variant: str):
    made = machine_of(variant)
    compare(machine, made.model, made.prompts["abc"][:4])


def test_what_the_pretended_device_refuses(gpt2: Tiny):
    model, tokens = gpt2.model, PROMPTS.orig
    with elsewhere(model):
        found = run(model, tokens, reads=[LOGITS])[LOGITS]
        assert device_of(model) == found.device == PLACE and is_there(found)
        assert not is_there(tokens.ids), "prompts stay where they were made"
        for broken in (
            lambda: model(tokens.ids),
            lambda: found + torch.zeros(found.shape),
            lambda: found[torch.arange(len(tokens))],
            lambda: found.gather(-1, PROMPTS.answer[:, None]),
            lambda: found.__setitem__(slice(None), torch.zeros(found.shape)),
        ):
            with pytest.raises(RuntimeError, match="elsewhere and tensors of shape"):
                broken()
        with pytest.raises(TypeError, match="move it first"):
            found.numpy()
        assert found.cpu().numpy().shape == found.shape
        assert is_there(found + 1) and is_there(found + torch.tensor(1.0))
        assert is_there(torch.zeros(2, device=found.device)) and is_there(found.new_zeros(2))


# What is made on the CPU, whatever the model: prompts, and weights before they are moved.
MADE_ON_THE_CPU = {"prompts", "tasks.pairs", "models.tiny", "handmade.designs", "handmade.build"}
FACTORIES = {factory.__name__ for factory in _device_constructors()}


@pytest.mark.parametrize("module", sorted({*MODULES} - MADE_ON_THE_CPU))
def test_a_tensor_is_made_where_somebody_said(module: str):
    """Also on lines that no test runs: torch.arange and the like name their device."""
    for call in [node for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]:
        if ast.unparse(call.func) in {f"torch.{name}" for name in FACTORIES}:
            named = {keyword.arg for keyword in call.keywords}
            assert named & {"device", None}, f"{module}, line {call.lineno}: on which device?"


WORDS = "the literal engine round differently"
HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.sample(11)
@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_half_precision_gives_numbers(kind: str, name: str):
    for found in EVERYTHING[name](tiny_model(kind, 2, torch.bfloat16), PROMPTS):
        assert np.isfinite(found).all()


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_says_once_that_the_engines_differ(dtype: torch.dtype, capsys):
    model, said = tiny_model("gpt2", 2, dtype), []
    for engine in ("literal", "fast", "fast"):
        asked = {"senders": SENDERS, "receivers": RECEIVERS["queries"]}
        path_sweep(model, PROMPTS, **asked, options=SweepOptions(engine))
        said.append([line for line in capsys.readouterr().err.splitlines() if WORDS in line])
    assert list(map(len, said)) == [0, 1, 0]
    assert said[1][0].startswith(f"in {str(dtype).removeprefix('torch.')} the fast and the literal")
    assert "say engine='literal'" in said[1][0] and "load it in float32" in said[1][0]


def test_a_model_in_float32_or_float64_says_nothing(gpt2: Tiny, capsys):
    path_sweep(gpt2.model, PROMPTS, senders=SENDERS, receivers=RECEIVERS["queries"])
    assert WORDS not in capsys.readouterr().err


def test_models_load_in_the_dtype_asked_for():
    for dtype in (*HALVES, torch.float64):
        model = load_model("tiny-llama", dtype)
        assert model.W_E.dtype == dtype and model.cfg.device == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here_is_refused(capsys, tmp_path):
    for device in ("cuda", "cuda:1", "meta", "quantum"):
        with pytest.raises(PathPatchError, match=f"on the device '{device}'.*which has: cpu"):
            load_model("tiny-gpt2", device=device)
    with pytest.raises(PathPatchError, match="on the device 'cuda'"):
        tiny_model("gpt2", device="cuda")
    with pytest.raises(PathPatchError, match=r"cannot be loaded in torch.int8; .*float32"):
        load_model("tiny-gpt2", torch.int8)
    command = ["sweep", "--model", "tiny-gpt2", "--prompts", "4", "--out", str(tmp_path)]
    assert main([*command, "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: a model in torch.float32 cannot be on the device 'cuda'")
    assert said.count("\n") == 1


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_command_computes_in_the_dtype_asked_for(dtype: str, tmp_path, monkeypatch):
    asked = []

    def load(name: str, kind: torch.dtype, device: str) -> Model:
        asked.append((name, kind, device))
        return load_model(name, kind, device)

    monkeypatch.setattr("pathpatch.cli.commands.load_model", load)
    command = ["sweep", "--model", "tiny-gpt2", "--prompts", "2", "--senders", "0.1"]
    command += ["--receivers", "1.0.q", "--out", str(tmp_path)]
    assert main([*command, "--dtype", dtype, "--device", "cpu"]) == 0
    assert asked == [("tiny-gpt2", getattr(torch, dtype), "cpu")]


def test_a_worker_is_told_the_dtype_and_the_device(monkeypatch):
    model = tiny_model("gpt2", 0, torch.bfloat16)
    with elsewhere(model):
        name, dtype, device, *_ = Parcel(model).__reduce__()[1][1]
    assert (name, dtype, device) == ("tiny-gpt2", torch.bfloat16, str(PLACE))
    loaded = []
    monkeypatch.setattr(
        "pathpatch.engine.jobs.load_model", lambda *asked: loaded.append(asked) or model
    )
    made_of = (fingerprint(model), digest(config(model)), library())
    recipe = (name, dtype, "cuda:1", *made_of)
    assert Parcel(None, recipe).model is model and loaded == [(name, dtype, "cuda:1")]


# The fingerprint --------------------------------------------------------------------------------


class Counting:
    """hashlib, as the module sees it: says how often the weights were hashed."""

    def __init__(self) -> None:
        self.times = 0

    def sha256(self):
        self.times += 1
        return hashlib.sha256()


@pytest.fixture
def hashed(monkeypatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(weights_module, "hashlib", counting)
    return counting


def by_hand(model: Model) -> str:
    """SHA-256 of every tensor under the first of its names, in their order, taken anew."""
    digest, done = hashlib.sha256(), set()
    for key, weight in sorted(model.original_model.state_dict().items()):
        if (weight.data_ptr(), weight.shape) not in done:
            done.add((weight.data_ptr(), weight.shape))
            digest.update(key.encode())
            digest.update(weight.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def test_the_fingerprint_is_taken_once(hashed: Counting):
    model, other = tiny_model("llama", 3), tiny_model("llama", 4)
    first = fingerprint(model)
    assert first == by_hand(model) == fingerprint(model) and hashed.times == 1
    assert fingerprint(other) not in (first, fingerprint(tiny_model("gpt2", 3)))
    assert fingerprint(model) == first and hashed.times == 3


def test_a_changed_or_replaced_weight_is_seen(hashed: Counting):
    model = tiny_model("gpt2", 3)
    first, linear = fingerprint(model), model.original_model.transformer.h[1].mlp.c_fc
    linear.weight[0, 0] += 1
    changed = fingerprint(model)
    linear.weight[0, 0] -= 1
    linear.weight = torch.nn.Parameter(linear.weight + 1, requires_grad=False)
    replaced = fingerprint(model)
    assert len({first, changed, replaced}) == 3 and hashed.times == 3
    assert replaced == by_hand(model)


def test_a_moved_model_has_the_same_fingerprint_and_rounding_is_seen(hashed: Counting):
    model = tiny_model("gpt2", 3)
    first, module = fingerprint(model), model.original_model
    module._apply(lambda weight: weight.clone())  # what `to` another device does
    assert fingerprint(model) == first and hashed.times == 2
    for _ in range(3):  # memory is used again: an address alone could not tell
        module.to(torch.float32)
        gc.collect()
        module.to(torch.float64)
    assert fingerprint(model) not in ("", first) and hashed.times == 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_torch_does_not_count_is_seen(hashed: Counting, dtype: torch.dtype):
    """A folder of blocks went on with the numbers of the old weights."""
    model = tiny_model("gpt2", 3, dtype)
    found, weights = [fingerprint(model)], list(model.original_model.parameters())
    matrix = next(weight for weight in weights if weight.shape == (24, 72))
    for change in (
        lambda: matrix.data[3, 5].mul_(1.01),
        lambda: matrix.data.copy_(matrix.data.flip(0)),
        lambda: matrix.data.copy_(matrix.data.flip(1)),
        lambda: weights[-1].data[2].add_(0.01),
    ):
        change()
        found.append(fingerprint(model))
        assert fingerprint(model) == found[-1] == by_hand(model)
    assert len(set(found)) == 5
    assert fingerprint(model, again=True) == found[-1]


def test_what_is_kept_does_not_keep_the_model():
    model = tiny_model("gpt2", 3)
    fingerprint(model)
    before = len(weights_module._known)
    del model
    gc.collect()
    assert len(weights_module._known) == before - 1
