"""On a real GPU: everything gives the CPU's numbers. Where there is none, the summary says so.

GPU_TESTS_ON=cpu tries the tests themselves on a computer without one.
"""

import os
from random import Random

import numpy as np
import pytest
import torch
from conftest import gpu
from everything import EVERYTHING, RECEIVERS, SENDERS, machine

from pathpatch import SweepOptions, ioi_machine, ioi_prompts, load_model, path_sweep, tiny_model
from pathpatch.engine.jobs import Parcel
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import Model, device_of

DEVICE = os.environ.get("GPU_TESTS_ON") or gpu() or ""
pytestmark = pytest.mark.skipif(not DEVICE, reason="no GPU found")

PROMPTS = ioi_prompts(tiny_tokenizer(), 6, Random(0))
WIDE = torch.float32 if DEVICE == "mps" else torch.float64  # mps has no float64
# Rotary tables are float32 whatever the model, and a GPU rounds them in its own way.
NEAR = {("gpt2", torch.float64): 1e-10, ("llama", torch.float64): 4e-6}


def apart(found, expected) -> float:
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(a - b).max() / max(1, np.abs(b).max())) for a, b in pairs)


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_numbers_of_the_cpu(kind: str, name: str):
    there, here = tiny_model(kind, 2, WIDE, DEVICE), tiny_model(kind, 2, WIDE)
    assert device_of(there).type == torch.device(DEVICE).type and device_of(here).type == "cpu"
    found = list(EVERYTHING[name](there, PROMPTS))
    assert all(isinstance(values, np.ndarray) for values in found)
    assert apart(found, EVERYTHING[name](here, PROMPTS)) < NEAR.get((kind, WIDE), 1e-3)


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_half_precision_gives_numbers(kind: str, dtype: torch.dtype, name: str):
    for found in EVERYTHING[name](tiny_model(kind, 2, dtype, DEVICE), PROMPTS):
        assert np.isfinite(found).all()


@pytest.mark.skipif(DEVICE == "mps", reason="machines are float64, which mps has not")
@pytest.mark.parametrize("variant", ["token", "mlp", "grouped"])
def test_the_whole_numbers_of_a_machine(variant: str):
    made, moved = ioi_machine(variant), ioi_machine(variant)
    moved.model.to(DEVICE, print_details=False)
    found = machine(moved.model, moved.prompts["abc"][:8])
    assert apart(found, machine(made.model, made.prompts["abc"][:8])) < 1e-10


def test_the_fingerprint_does_not_depend_on_the_device():
    model = tiny_model("llama", 2, torch.float32)
    first = fingerprint(model)
    model.to(DEVICE, print_details=False)
    assert fingerprint(model) == first == fingerprint(tiny_model("llama", 2, torch.float32, DEVICE))


def test_a_worker_loads_on_the_same_device():
    model = load_model("tiny-llama", torch.bfloat16, DEVICE)
    build, (_, recipe) = Parcel(model).__reduce__()
    other = build(None, recipe).model
    assert device_of(other) == device_of(model) and other.W_E.dtype == torch.bfloat16


@pytest.mark.slow
def test_smollm2_fast_and_literal_agree_with_the_cpu(smollm2: Model):
    there, changes = load_model("smollm2", device=DEVICE), []
    prompts = ioi_prompts(there.tokenizer, 4, Random(0))
    for model, engine in ((smollm2, "fast"), (there, "fast"), (there, "literal")):
        asked = {"senders": SENDERS, "receivers": RECEIVERS["queries"]}
        changes.append(path_sweep(model, prompts, **asked, options=SweepOptions(engine)).change)
    assert np.abs(changes[0]).max() > 1e-3
    assert np.abs(changes[1] - changes[0]).max() < 1e-3
    assert np.abs(changes[2] - changes[0]).max() < 1e-3
