"""Heat maps show the table, attention panels the run, and nothing else."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import Tiny
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from test_effects import ABOUT

from pathpatch import (
    Effects,
    Node,
    PathPatchError,
    attention_arcs,
    attention_panel,
    heat_map,
    heat_maps,
    run,
)

NAMES = [f"{layer}.{head}.z@END" for layer in range(2) for head in range(3)]
NOISE = np.random.default_rng(0).normal(0, 0.1, (6, 30))
NOISE -= NOISE.mean(1, keepdims=True)
NODES = [[Node.parse(name)] for name in NAMES]
EFFECTS = Effects(NODES, np.zeros(30), NOISE + np.array([[-2], [0], [0], [0], [0], [1]]), ABOUT)


@pytest.fixture
def figure():
    yield heat_map(EFFECTS, "title")
    plt.close("all")


def test_values_colours_and_names(figure):
    axes = figure.axes[0]
    (image,) = axes.images
    assert image.get_array().data == pytest.approx(EFFECTS.mean().reshape(2, 3), abs=1e-12)
    assert image.get_clim() == pytest.approx((-2, 2))
    assert image.cmap(0.0)[0] > image.cmap(0.0)[2]  # red where the metric falls
    assert {text.get_text(): text.get_position() for text in axes.texts} == {
        "0.0": (0, 0),
        "1.2": (2, 1),
    }
    faded = np.asarray(image.get_alpha()) < 1
    assert faded.ravel().tolist() == [False, True, True, True, True, False]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("head", "layer", "title")


def test_maps_side_by_side_share_one_range_and_keep_their_own_tests(figure):
    half = replace(EFFECTS, patched=EFFECTS.base + EFFECTS.change / 2)
    one_layer = replace(EFFECTS, senders=EFFECTS.senders[:3], patched=EFFECTS.patched[:3])
    both = heat_maps({"whole": EFFECTS, "half": half, "one layer": one_layer}, labels=1)
    whole, second, third, bar = both.axes
    assert [axes.get_title() for axes in both.axes[:3]] == ["whole", "half", "one layer"]
    for axes in (whole, second, third):
        assert axes.images[0].get_clim() == pytest.approx((-2, 2))
        assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 2.5), (1.5, -0.5))
        assert len(axes.texts) == 1
    assert second.images[0].get_array().data == pytest.approx(EFFECTS.mean().reshape(2, 3) / 2)
    assert third.images[0].get_array().shape == (1, 3)
    assert bar.get_ylabel() == "mean change of logit diff"


def test_a_figure_fades_what_the_table_says():
    """A p on the border of 0.05: one seed draws it below, another above."""
    noise = np.random.default_rng(0).normal(size=30)
    values = (noise - noise.mean()) / noise.std() - 0.38
    fades = []
    for seed in (0, 3):
        effects = replace(EFFECTS, patched=np.stack([values] * 6), seed=seed)
        figure = heat_map(effects)
        faded = np.asarray(figure.axes[0].images[0].get_alpha()) < 1
        assert faded.ravel().tolist() == (effects.table()["p_adjusted"] >= 0.05).tolist()
        fades.append(faded.all())
        plt.close(figure)
    assert fades == [False, True]


def test_refuses_senders_that_are_not_single_heads():
    with pytest.raises(PathPatchError, match="needs effects of single heads"):
        heat_map(Effects([[Node.parse("0.mlp_out@END")]], np.zeros(3), np.zeros((1, 3)), ABOUT))


def numbers(axes):
    return {tuple(map(int, t.get_position())): t.get_text() for t in axes.texts}


def test_attention_rows_and_whole_patterns(tiny: Tiny):
    tokens = tiny.prompts.orig[1:2]
    n = int(tokens.at("END")) + 1
    figure = attention_panel(tiny.model, tokens, ["0.1@S2", "2.3.pattern@END", "1.2"])
    rows, whole = figure.axes
    found = run(tiny.model, tokens, reads=["0.1.pattern", "2.3.pattern", "1.2.pattern"])
    s2 = int(tokens.at("S2"))
    expected = [found["0.1.pattern"][0, s2, :n], found["2.3.pattern"][0, n - 1, :n]]
    assert rows.images[0].get_array().data == pytest.approx(np.stack(expected))
    assert whole.images[0].get_array().data == pytest.approx(found["1.2.pattern"][0, :n, :n])
    assert [t.get_text() for t in rows.get_yticklabels()] == ["0.1 @S2", "2.3 @END"]
    words = [tiny.model.tokenizer.decode(i) for i in tokens.ids[0, :n]]
    assert [t.get_text() for t in rows.get_xticklabels()] == words
    assert [t.get_text() for t in whole.get_yticklabels()] == words
    assert whole.get_title(loc="left") == "head 1.2"
    shares = {(i, y): x for y, row in enumerate(expected) for i, x in enumerate(row.tolist())}
    assert numbers(rows) == {k: f"{x:.2f}".lstrip("0") for k, x in shares.items() if x >= 0.1}
    (above,) = rows.child_axes
    marks = zip(above.get_xticks(), above.get_xticklabels(), strict=True)
    labels = {text.get_text(): int(at) for at, text in marks}
    assert labels == {at: int(tokens.at(at)) for at in ("IO", "S1", "S1+1", "S2", "END")}


@pytest.mark.parametrize("patterns", [[], ["0.mlp_out@END"], ["0.1.q@END"]])
def test_an_attention_panel_refuses(gpt2: Tiny, patterns):
    with pytest.raises(PathPatchError, match=r"shows heads, such as 9\.6@END, on one prompt"):
        attention_panel(gpt2.model, gpt2.prompts.orig[:1], patterns)


def test_an_attention_panel_is_of_one_prompt(gpt2: Tiny):
    with pytest.raises(PathPatchError, match=r"got 6 prompts and 0\.1\.z; try prompts.orig"):
        attention_panel(gpt2.model, gpt2.prompts.orig, ["0.1"])


def test_arcs_lead_from_the_word_that_looks_to_those_that_are_seen(tiny: Tiny):
    tokens = tiny.prompts.orig[1:2]
    n, s2 = int(tokens.at("END")) + 1, int(tokens.at("S2"))
    figure = attention_arcs(tiny.model, tokens, ["0.1@S2", "2.3.pattern@END"])
    found = run(tiny.model, tokens, reads=["0.1.pattern@S2", "2.3.pattern@END"])
    words = [tiny.model.tokenizer.decode(i).strip() for i in tokens.ids[0, :n]]
    for axes, (node, shares), start in zip(figure.axes, found.items(), (s2, n - 1), strict=True):
        title, *texts = [t.get_text() for t in axes.texts]
        assert title == f"head {node.layer}.{node.head} looks from {node.at}"
        shares = shares[0, :n].tolist()
        seen = [f"{share:.2f}".lstrip("0") for share in shares if share >= 0.1]
        assert sorted(texts) == sorted(words + seen)
        boxes = [p for p in axes.patches if isinstance(p, FancyBboxPatch)]
        assert [box.get_facecolor()[0] for box in boxes] == pytest.approx(
            [1 - 0.75 * share for share in shares]
        )
        outlined = [box.get_edgecolor()[3] > 0 for box in boxes]
        assert outlined == [i == start for i in range(n)]
        middle = [box.get_x() + box.get_width() / 2 for box in boxes]
        ends = [p.get_path().vertices for p in axes.patches if isinstance(p, FancyArrowPatch)]
        expected = [middle[i] for i, x in enumerate(shares) if x >= 0.1 and i != start]
        assert [float(points[0][0]) for points in ends] == pytest.approx(
            [middle[start]] * len(ends)
        )
        assert [float(points[2][0]) for points in ends] == pytest.approx(expected)


def test_arcs_need_a_word_that_looks(gpt2: Tiny):
    with pytest.raises(PathPatchError, match=r"2\.3\.pattern has no position; try 2.*n@END"):
        attention_arcs(gpt2.model, gpt2.prompts.orig[:1], ["2.3"])
    with pytest.raises(PathPatchError, match=r"got 6 prompts and 0\.1\.z@END; try prompts"):
        attention_arcs(gpt2.model, gpt2.prompts.orig, ["0.1@END"])
