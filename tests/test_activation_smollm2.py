"""The sweeps of chapter 3: the road they take gives the numbers of activation patching."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny

from pathpatch import SweepOptions, activation_sweep
from pathpatch.nodes import Node, grid

BOOK = Path(__file__).parent.parent / "book"
spec = importlib.util.spec_from_file_location("sweeps", BOOK / "activation_smollm2.py")
sweeps = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sweeps)


@pytest.mark.parametrize("asked", [("p_ABC", "noising"), ("S2", "denoising")])
def test_a_patch_is_a_path_patch_to_the_state_after_its_layer(tiny: Tiny, asked):
    prompts = sweeps.the_prompts(tiny.model, 2, *asked)
    kinds = ("z", "attn_out", "mlp_out", "resid_post")
    nodes = [node for kind in kinds for node in grid(tiny.model, kind, ("S2", "END"))[::3]]
    fast = sweeps.total_effects(tiny.model, prompts, nodes)
    slow = activation_sweep(tiny.model, prompts, nodes=nodes, options=SweepOptions(quiet=True))
    assert fast.names == slow.names
    assert np.abs(slow.change).max() > 1e-3
    assert np.abs(fast.patched - slow.patched).max() < 1e-10


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


def test_what_a_node_is_made_of(tiny: Tiny):
    found = sweeps.writers(tiny.model, Node.parse("0.resid_post@S2"))
    of_layer = [f"0.{i}.z@S2" for i in range(tiny.model.cfg.n_heads)]
    expected = ["embed@S2", *of_layer, "0.mlp_out@S2"]
    assert [str(node) for node in found] == expected


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
            options=SweepOptions(quiet=True),
        )
        assert np.abs(again.patched - effects.patched[chosen, :2]).max() < 2e-3, name


def test_every_claim_has_a_number_or_words():
    claims = json.loads((BOOK / "claims/03_activation_patching.json").read_text("utf-8"))
    for claim in claims:
        exact = claim["tolerance"] is None
        assert exact == isinstance(claim["value"], (str, list)), claim
