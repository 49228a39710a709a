"""Figures of the book in light and dark: a caption is true on both grounds."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from figures import COLUMN, LEAST, PAPER, both, dark_pixels, drawn, in_the_dark, to_lab, to_rgb
from PIL import Image

WHITE, BLACK = np.array([255, 255, 255]), np.array([0, 0, 0])


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """How well one colour is read on the other, from 1 to 21 (WCAG)."""
    share = np.stack([one, other]) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


def test_the_space_of_colours_is_there_and_back():
    colours = np.random.default_rng(0).integers(0, 256, (200, 3))
    assert np.array_equal(to_rgb(to_lab(colours)), colours)


def test_white_becomes_the_ground_and_black_is_read_on_it():
    assert np.abs(in_the_dark(WHITE).astype(int) - PAPER).max() <= 1
    assert contrast(in_the_dark(BLACK), np.array(PAPER)) > 12


@pytest.mark.parametrize("name", ["RdBu", "Greys"])
def test_what_stands_out_more_on_white_stands_out_more_in_the_dark(name: str):
    ends = [0.5, 0.0], [0.5, 1.0]
    for start, stop in ends if name == "RdBu" else [(0.0, 1.0)]:
        scale = 255 * plt.get_cmap(name)(np.linspace(start, stop, 12))[:, :3]
        found = to_lab(in_the_dark(np.round(scale))) - to_lab(np.array(PAPER))
        assert (np.diff(np.linalg.norm(found, axis=-1)) > 0).all()


@pytest.mark.parametrize(
    "colour", ["#b2182b", "#67001f", "#2166ac", "#053061", "#ffe28a", "#c8321e"]
)
def test_a_colour_keeps_its_hue_and_is_no_paler(colour: str):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    light, dark = to_lab(rgb), to_lab(in_the_dark(rgb))
    turned = np.arctan2(light[2], light[1]) - np.arctan2(dark[2], dark[1])
    assert abs(np.degrees((turned + np.pi) % (2 * np.pi) - np.pi)) < 20
    assert np.hypot(*dark[1:]) > 0.8 * np.hypot(*light[1:])


@pytest.mark.parametrize("colour", ["#b2182b", "#2166ac", "#555555", "#a61c00"])
def test_coloured_letters_are_read_in_the_dark(colour: str):
    dark = re.search(r", #(\w+)\)", both(colour))[1]
    rgb = np.array([int(dark[i : i + 2], 16) for i in (0, 2, 4)])
    assert contrast(rgb, np.array(PAPER)) >= 4.4


def test_pixels_keep_their_place_and_what_shows_through():
    pixels = np.array([[[255, 255, 255, 255], [178, 24, 43, 90]]], dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    link = dark_pixels("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    found = np.array(Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))))
    assert found[..., 3].tolist() == [[255, 90]]
    assert found[0, 1, :3].tolist() == in_the_dark(pixels[0, 1, :3]).tolist()


@pytest.fixture(scope="module")
def figure() -> str:
    shown, axes = plt.subplots(figsize=(10, 2))
    axes.imshow([[0.0, 1.0]], cmap="RdBu")
    axes.text(0, 0, "head 9.6 & more", fontsize=6)
    axes.plot([0, 1], [0, 0], "o", color="#b2182b")
    file = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none"}):
        shown.savefig(file, format="svg")
    plt.close(shown)
    return drawn(file.getvalue(), 'a "quoted" alt <text>', "f1-")


def test_letters_stay_letters_and_are_large_enough(figure: str):
    assert "head 9.6 &amp; more" in figure
    sizes = [float(size) for size in re.findall(r"<text[^>]*?([\d.]+)px", figure)]
    assert sizes and min(sizes) * COLUMN / 720 >= LEAST - 0.01


def test_ids_belong_to_one_figure_and_all_that_is_referred_to_is_there(figure: str):
    ids = re.findall(r' id="([^"]+)"', figure)
    assert len(ids) == len(set(ids)) and all(name.startswith("f1-") for name in ids)
    referred = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', figure)
    assert {one or other for one, other in referred} == set(ids) != set()


def test_every_colour_has_two_and_the_alternative_text_is_whole(figure: str):
    assert 'aria-label="a &quot;quoted&quot; alt &lt;text&gt;"' in figure
    bare = re.sub(r"light-dark\(#\w{6}, #\w{6}\)", "", figure)
    assert not re.search(r"[:\"]\s*#[0-9a-f]{6}", bare) and "light-dark(#b2182b" in figure
    light, dark = re.findall(r'<image[^>]*?href="([^"]+)"[^>]*>', figure)
    assert figure.index('class="on-light"') < figure.index('class="on-dark"')
    assert dark == dark_pixels(light) != light
