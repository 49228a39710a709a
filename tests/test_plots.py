"""The heat map shows the table, and nothing else."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_effects import ABOUT

from pathpatch import Effects, PathPatchError, heat_map, heat_maps

NAMES = [f"{layer}.{head}.z@END" for layer in range(2) for head in range(3)]
NOISE = np.random.default_rng(0).normal(0, 0.1, (6, 30))
NOISE -= NOISE.mean(1, keepdims=True)
EFFECTS = Effects(NAMES, np.zeros(30), NOISE + np.array([[-2], [0], [0], [0], [0], [1]]), ABOUT)


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
        assert axes.images[0].get_array().shape == (2, 3)
        assert len(axes.texts) == 1
    assert second.images[0].get_array().data == pytest.approx(EFFECTS.mean().reshape(2, 3) / 2)
    assert np.isnan(third.images[0].get_array().data[1]).all()
    assert bar.get_ylabel() == "mean change of logit diff"


def test_refuses_senders_that_are_not_single_heads():
    with pytest.raises(PathPatchError, match="needs effects of single heads"):
        heat_map(Effects(["0.mlp_out@END"], np.zeros(3), np.zeros((1, 3)), ABOUT))
