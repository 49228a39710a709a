"""Loading: the same function as the original, exact in float64, and clear errors."""

import pytest
import torch
from exam import hooks_on

from pathpatch import PathPatchError, load_model, tiny_model, wrap
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
