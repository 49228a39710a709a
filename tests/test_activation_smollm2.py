"""The sweeps of chapter 3: the file holds what the model does, on the prompts that are named."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny

from pathpatch import SweepOptions, activation_sweep

BOOK = Path(__file__).parent.parent / "book"
spec = importlib.util.spec_from_file_location("sweeps", BOOK / "activation_smollm2.py")
sweeps = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sweeps)


@pytest.mark.parametrize("label", ["S1", "S2"])
def test_only_one_name_is_another(tiny: Tiny, label: str):
    prompts = sweeps.the_prompts(tiny.model, 6, label)
    plain = sweeps.the_prompts(tiny.model, 6)
    assert torch.equal(prompts.orig.ids, plain.orig.ids)
    differ = prompts.orig.ids != prompts.new.ids
    end = prompts.orig.at("END")
    for row, at, last in zip(differ, prompts.orig.at(label), end, strict=True):
        assert row[: last + 1].nonzero().flatten().tolist() == [int(at)]
    names = plain.new.ids[torch.arange(6), plain.new.at(label)]
    assert torch.equal(prompts.new.ids[torch.arange(6), prompts.orig.at(label)], names)
    assert prompts.templates == plain.templates


def test_the_file_is_whole():
    tables = sweeps.load()
    assert len(tables) == 11
    for name, effects in tables.items():
        assert np.isfinite(effects.patched).all()
        size = sweeps.LARGE if name.startswith("heads") else sweeps.SMALL
        assert len(effects.base) == len(effects.templates) == size
        assert effects.about.direction == name.rsplit(", ", 1)[1]
        sizes = {"heads": 270, "z": 18}
        assert len(effects.senders) == sizes.get(re.split("[ ,]", name)[0], 150)


@pytest.mark.slow
def test_the_file_holds_what_the_model_does():
    """Two rows of each table, on two prompts, by activation patching."""
    model = sweeps.load_model("smollm2")
    for (name, effects), (prompts, nodes) in zip(
        sweeps.load().items(), sweeps.questions(model).values(), strict=True
    ):
        assert effects.senders == [[node] for node in nodes]
        assert effects.about.prompts_sha256 == prompts.sha256()
        chosen = [effects.top(1)[0], len(nodes) // 2]
        again = activation_sweep(
            model,
            prompts[:2],
            nodes=sweeps.rows(effects, chosen).names,
            options=SweepOptions("literal", quiet=True),
        )
        assert np.abs(again.patched - effects.patched[chosen, :2]).max() < 2e-3, name


def test_every_claim_has_a_number_or_words():
    claims = json.loads((BOOK / "claims/03_activation_patching.json").read_text("utf-8"))
    for claim in claims:
        exact = claim["tolerance"] is None
        assert exact == isinstance(claim["value"], (str, list)), claim
