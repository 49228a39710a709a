"""Loading: the same function as the original, exact in float64, and clear errors."""

from random import Random

import numpy as np
import pytest
import torch
from exam import hooks_on

from pathpatch import (
    Circuit,
    Edge,
    PathPatchError,
    SweepOptions,
    activation_sweep,
    edge_attribution,
    edge_effects,
    ioi_prompts,
    load_model,
    node_attribution,
    path_sweep,
    tiny_model,
    wrap,
)
from pathpatch.models import smollm2 as smollm2_module
from pathpatch.models.smollm2 import SMOLLM2_INSTALL, smollm2_file, smollm2_folder
from pathpatch.models.tiny import tiny_hf, tiny_tokenizer
from pathpatch.models.weights import fingerprint


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_same_function_as_the_original(kind: str):
    model, original = tiny_model(kind, 5, torch.float32), tiny_hf(kind, 5, torch.float32)
    ids = torch.randint(1, 100, (3, 11), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (model(ids) - original(ids).logits).abs().max() < 1e-4
    assert not model.training
    assert not hooks_on(model)


def test_seeds_make_models():
    first, again, other = (fingerprint(tiny_model("llama", seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert len(first) == 64


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_hash_depends_on_every_weight(kind: str):
    model = tiny_model(kind)
    before, weights = fingerprint(model), list(model.original_model.parameters())
    assert len(weights) > 20
    for weight in weights:
        last = (-1,) * weight.dim()
        kept = weight[last].clone()
        weight[last] += 1
        assert fingerprint(model) != before
        weight[last] = kept
        assert fingerprint(model) == before


def test_a_saved_folder_loads(tmp_path):
    for kind in ("gpt2", "llama"):
        folder = tmp_path / kind
        tiny_hf(kind, 1, torch.float32).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        found = load_model(str(folder), torch.float64)
        expected = wrap(tiny_hf(kind, 1, torch.float32).double(), tiny_tokenizer(), "same")
        ids = torch.arange(1, 9)[None]
        assert torch.equal(found(ids), expected(ids))
        assert found.tokenizer(" Mary")["input_ids"] == tiny_tokenizer()(" Mary")["input_ids"]


def test_tiny_models_load_by_name():
    assert load_model("tiny-gpt2").cfg.model_name == "tiny-gpt2"


@pytest.mark.parametrize("name", ["no-such-model", "gpt3"])
def test_an_unknown_model_says_what_would_work(name: str):
    with pytest.raises(PathPatchError, match=f"no model '{name}' here. What would work: smollm2"):
        load_model(name)


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch, capsys):
    """Its client by itself tries six times for each of two files: a minute."""
    asked = []

    class Nowhere:
        def head(self, url, timeout):
            asked.append((url, timeout))
            raise OSError("no such host")

    monkeypatch.setattr("huggingface_hub.get_session", Nowhere)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(PathPatchError, match="no model 'a/b' here"):
        load_model("a/b")
    assert len(asked) == 1 and asked[0][1] <= 10
    said = capsys.readouterr().err
    assert "'a/b' is no folder here: asking https://" in said and "no answer (no such host)" in said


@pytest.mark.parametrize("answers", [True, False])
def test_where_the_hub_answers_it_is_asked_for_the_files(monkeypatch, answers: bool, tmp_path):
    """A folder that is here never asks anybody."""
    given = []

    def refuse(name, **more):
        given.append(more["local_files_only"])
        raise OSError("enough")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", refuse)
    monkeypatch.setattr("pathpatch.models.load._hub_answers", lambda name: answers)
    for name in ("a/b", str(tmp_path)):
        with pytest.raises(PathPatchError, match="enough"):
            load_model(name)
    assert given == [not answers, True]


def test_an_unknown_tiny_model():
    with pytest.raises(PathPatchError, match="no tiny model 'bert'; known: gpt2, llama"):
        tiny_model("bert")


def test_missing_smollm2_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(smollm2_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PathPatchError, match=SMOLLM2_INSTALL):
        load_model("smollm2")


def test_another_file_in_its_place_is_refused(monkeypatch):
    monkeypatch.setattr(smollm2_module, "SMOLLM2_SHA256", "0" * 64)
    with pytest.raises(PathPatchError, match=r"has SHA-256 b179.*expected 0000.*--force-reinstall"):
        smollm2_file()


def test_an_interrupted_conversion_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def stop_half_way(file, folder):
        (folder / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(smollm2_module, "_convert", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        smollm2_folder()
    assert list((tmp_path / "pathpatch").iterdir()) == []

    def finish(file, folder):
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(smollm2_module, "_convert", finish)
    assert [path.name for path in smollm2_folder().iterdir()] == ["config.json"]


def test_two_conversions_at_once_do_not_disturb_each_other(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def other_is_faster(file, folder):
        (folder / "config.json").write_text("slow")
        target = folder.parent / f"smollm2-{smollm2_module.SMOLLM2_SHA256[:16]}"
        target.mkdir()
        (target / "config.json").write_text("fast")

    monkeypatch.setattr(smollm2_module, "_convert", other_is_faster)
    assert (smollm2_folder() / "config.json").read_text() == "fast"
    assert len(list((tmp_path / "pathpatch").iterdir())) == 1


def tables(model, prompts):
    """What computes with a model, by name."""
    asked = {"senders": ["0.1", "1.mlp_out"], "receivers": ["2.1.q@END"]}
    circuit = Circuit([Edge("0.1.z@END", "2.1.q@END", 1.0, 0.0, 2.0, 1.0, 0.01)])
    for engine in ("fast", "literal"):
        yield engine, path_sweep(model, prompts, **asked, options=SweepOptions(engine))
    yield "activation", activation_sweep(model, prompts, nodes=["0.1"])
    yield "edges", edge_effects(model, prompts, circuit)
    if not torch.is_inference_mode_enabled():
        yield "nodes", node_attribution(model, prompts, ["0.1"])
        yield "estimates", edge_attribution(model, prompts, **asked)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_weights_that_want_gradients_change_nothing(kind: str):
    model = tiny_model(kind)
    prompts = ioi_prompts(model.tokenizer, 4, Random(0))
    expected = dict(tables(model, prompts))
    model.original_model.requires_grad_(True)
    for name, effects in tables(model, prompts):
        assert np.allclose(effects.patched, expected[name].patched, atol=1e-12), name
        assert effects.about.engine == expected[name].about.engine
    assert all(weight.grad is None for weight in model.original_model.parameters())


def test_a_model_in_compatibility_mode_can_be_swept():
    model = tiny_model("llama")
    model.enable_compatibility_mode()
    prompts = ioi_prompts(model.tokenizer, 4, Random(0))
    fast, literal, *_ = (effects for _, effects in tables(model, prompts))
    assert np.allclose(fast.patched, literal.patched, atol=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("made_inside", [True, False])
def test_inference_mode_changes_nothing_but_has_no_gradients(kind: str, made_inside: bool):
    prompts = ioi_prompts(tiny_tokenizer(), 4, Random(0))
    expected = dict(tables(tiny_model(kind), prompts))
    with torch.inference_mode(made_inside):
        model = tiny_model(kind)
    with torch.inference_mode():
        for name, effects in tables(model, prompts):
            assert np.allclose(effects.patched, expected[name].patched, atol=1e-12), name
        with pytest.raises(PathPatchError, match="has no gradients"):
            node_attribution(model, prompts, ["0.1"])
    if not made_inside:
        assert dict(tables(model, prompts)).keys() == expected.keys()
        return
    with pytest.raises(PathPatchError, match="has no gradients"):
        node_attribution(model, prompts, ["0.1"])
    before = fingerprint(model)
    with torch.inference_mode():
        next(model.original_model.parameters()).mul_(2)
    assert fingerprint(model) != before, "no version says that it changed"
