"""Sweeps of activation patching: every node of a grid, alone and together, in both directions."""

import numpy as np
import oracle
import pytest
from conftest import Tiny, as_oracle, ends
from test_transformer_lens import double, theirs  # noqa: F401  (their tables have a default dtype)

from pathpatch import (
    Effects,
    PathPatchError,
    Prompts,
    SweepOptions,
    activation_patch,
    activation_sweep,
    answer_prob,
    grid,
    heads,
)
from pathpatch.engine.cost import GIB, _bytes
from pathpatch.engine.scene import Layout
from pathpatch.nodes import node_set

EXACT = 1e-10
TABLES = [  # their function, our kind, whether it has heads
    ("resid_pre", "resid_pre", False),
    ("attn_out", "attn_out", False),
    ("mlp_out", "mlp_out", False),
    ("attn_head_out", "z", True),
    ("attn_head_q", "q", True),
    ("attn_head_k", "k", True),
    ("attn_head_v", "v", True),
    ("attn_head_pattern", "pattern", True),
]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("name", "kind", "of_heads"), TABLES)
def test_whole_tables_equal_transformer_lens(tiny: Tiny, name: str, kind: str, of_heads: bool):
    """Their tables are [layer, pos], [layer, pos, head] or, for patterns, [layer, head, pos]."""
    positions = range(4, 9)
    effects = activation_sweep(
        tiny.model, tiny.prompts.swapped(), nodes=grid(tiny.model, kind, positions)
    )
    ours = effects.patched.mean(1)
    function = f"get_act_patch_{name}{'_by_pos' * of_heads}"
    table = theirs(tiny, function)
    if of_heads and kind != "pattern":
        table = table.transpose(1, 2)
    expected = table[..., 4:9].flatten().numpy()
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() < EXACT
    assert ours.std() > 1e-3
    if of_heads:
        effects = activation_sweep(tiny.model, tiny.prompts.swapped(), nodes=grid(tiny.model, kind))
        expected = theirs(tiny, f"get_act_patch_{name}_all_pos").flatten().numpy()
        assert np.abs(effects.patched.mean(1) - expected).max() < EXACT


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_every_kind_at_labels_and_in_sets_equals_the_oracle(tiny: Tiny, direction: str):
    prompts = tiny.prompts if direction == "noising" else tiny.prompts.swapped()
    kinds = "embed resid_pre resid_post attn_out mlp_in mlp_out z q k v pattern".split()
    entries = [str(node) for kind in kinds for node in grid(tiny.model, kind, ["S1+1", "END"])]
    entries = [*entries[::5], "0.1@S1+1+1.2.q@END", "1.kv1.v@S1+1 + 0.mlp_out", "embed"]
    effects = activation_sweep(tiny.model, prompts, nodes=entries, metric=answer_prob)
    for entry, values in zip(entries, effects.patched, strict=True):
        nodes = [as_oracle(node, prompts.orig) for node in node_set(entry)]
        logits = oracle.activation_patch(tiny.weights, prompts.orig.ids, prompts.new.ids, nodes)
        expected = answer_prob(ends(logits, prompts.orig), prompts)
        assert values == pytest.approx(expected.numpy(), abs=EXACT)
    assert len({round(float(row.mean()), 9) for row in effects.patched}) > len(entries) // 2
    assert effects.names[-3:-1] == ["0.1.z@S1+1+1.2.q@END", "1.kv1.v@S1+1+0.mlp_out"]
    about = effects.about
    assert (about.engine, about.receivers) == ("activation patching, fast", [])
    assert (about.direction, about.frozen) == (direction, "nothing")
    assert about.metric == "answer_prob"


def test_patching_a_run_into_itself_changes_nothing(tiny: Tiny):
    prompts = Prompts(
        tiny.prompts.orig, tiny.prompts.orig, tiny.prompts.answer, tiny.prompts.foil,
        tiny.prompts.pairs,
    )  # fmt: skip
    effects = activation_sweep(tiny.model, prompts, nodes=[*grid(tiny.model, "q"), "embed"])
    assert np.abs(effects.change).max() < EXACT


def test_all_embeddings_give_the_other_run(tiny: Tiny):
    effects = activation_sweep(tiny.model, tiny.prompts, nodes=["embed"])
    other = activation_sweep(tiny.model, tiny.prompts.swapped(), nodes=["0.0"])
    assert np.abs(effects.patched[0] - other.base).max() < EXACT


def test_blocks_of_prompts_give_the_same(tiny: Tiny, tmp_path):
    nodes = heads(tiny.model, "S2")[:9]  # two jobs of nodes
    whole = activation_sweep(tiny.model, tiny.prompts, nodes=nodes)
    per_prompt = 1.1 * 2 * _bytes(Layout(tiny.model, tiny.prompts.orig, [], False))[0] / GIB
    how = SweepOptions("literal", 2 * per_prompt, tmp_path)
    parts = activation_sweep(tiny.model, tiny.prompts, nodes=nodes, options=how)
    assert len(list((tmp_path / "blocks").glob("*.npy"))) == 3 * 2
    assert np.abs(whole.patched - parts.patched).max() < EXACT
    assert whole.of_heads()


def test_save_and_load(tiny: Tiny, tmp_path):
    effects = activation_sweep(tiny.model, tiny.prompts, nodes=["0.1@S1+1", "embed@S2"])
    effects.save(tmp_path)
    again = Effects.load(tmp_path)
    assert again.senders == effects.senders
    assert again.about == effects.about


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([], "the list of nodes to patch is empty"),
        ("0.1", "expected a list of nodes, got the string"),
        (["0.1@NO"], "no position 'NO'"),
        (["9.1"], "layer 9 of node"),
        (["logits"], "the logits cannot be patched"),
        (["0.1@S2+1.x@S2"], "unknown kind 'x'"),
    ],
)
def test_refuses_before_any_pass(tiny: Tiny, monkeypatch, nodes, words):
    for module in ("engine.cost", "engine.literal", "engine.total"):
        monkeypatch.setattr(f"pathpatch.{module}.run", None)  # a pass would be a TypeError
    with pytest.raises(PathPatchError, match=words):
        activation_sweep(tiny.model, tiny.prompts, nodes=nodes)


def test_grids(tiny: Tiny):
    layers, n_heads = tiny.model.cfg.n_layers, tiny.model.cfg.n_heads
    assert len(grid(tiny.model, "k", ["S2", "END", 3])) == layers * n_heads * 3
    names = [str(node) for node in grid(tiny.model, "mlp_out", ["S2"])]
    assert names == [f"{layer}.mlp_out@S2" for layer in range(layers)]
    names = [str(node) for node in grid(tiny.model, "embed", tiny.prompts.orig.positions)]
    assert names == ["embed@IO", "embed@S1", "embed@S1+1", "embed@S2", "embed@END"]
    with pytest.raises(PathPatchError, match="did you mean 'mlp_out'"):
        grid(tiny.model, "mlpout")


def test_one_patch_is_its_row_of_the_sweep(tiny: Tiny):
    entry = "0.1@S1+1+1.2.q@END"
    found = activation_patch(tiny.model, tiny.prompts, nodes=node_set(entry))
    row = activation_sweep(tiny.model, tiny.prompts, nodes=[entry], metric=answer_prob).patched[0]
    assert answer_prob(found, tiny.prompts).numpy() == pytest.approx(row, abs=EXACT)
    with pytest.raises(PathPatchError, match="the list of nodes to patch is empty"):
        activation_patch(tiny.model, tiny.prompts, nodes=[])
