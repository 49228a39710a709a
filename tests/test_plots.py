"""The heat map shows the table, and nothing else."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from test_effects import ABOUT

from pathpatch import Effects, PathPatchError, heat_map

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


def test_a_shared_colour_range(figure):
    shared = heat_map(EFFECTS, limit=5.0)
    assert shared.axes[0].images[0].get_clim() == (-5, 5)


def test_refuses_senders_that_are_not_single_heads():
    with pytest.raises(PathPatchError, match="needs effects of single heads"):
        heat_map(Effects(["0.mlp_out@END"], np.zeros(3), np.zeros((1, 3)), ABOUT))
