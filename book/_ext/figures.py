"""Figures as part of the page: their text can be searched, and their colours follow the page.

When a page is written, each SVG that a cell drew takes the place of its `<img>`. Every colour gets
a second one for dark mode: what is white becomes the page's own ground, hue stays, and what stands
out strongly on white stands out strongly on the dark ground, so that a caption is true on both.
Figures of pixels get a second picture in the same way.
"""

import base64
import io
import re
from functools import cache
from hashlib import sha256
from html import escape
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

SVG = "http://www.w3.org/2000/svg"
PAPER = (0x12, 0x12, 0x12)  # the theme's ground in dark mode
COLUMN, LEAST = 752, 11  # px: the width of the text, and the smallest letters there

# From linear RGB to the Oklab space (Ottosson 2020) and back: its cube roots are even to the eye.
TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """[..., 3] from 0 to 255 -> [..., 3]: lightness from 0 to 1, then hue and strength as a, b."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ TO_LMS.T) @ TO_LAB.T


def to_rgb(lab: np.ndarray) -> np.ndarray:
    """[..., 3] back to whole numbers from 0 to 255; what no screen can show is cut off."""
    linear = (lab @ np.linalg.inv(TO_LAB).T) ** 3 @ np.linalg.inv(TO_LMS).T
    linear = np.clip(linear, 0, 1)
    share = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * share).astype(np.uint8)


def in_the_dark(rgb: np.ndarray) -> np.ndarray:
    """The colours [..., 3] that say the same on the dark ground.

    How far a colour is from white, in lightness and in strength, becomes its distance from the
    ground; a colourful one ends in the middle of the scale, where colours are strongest.
    """
    lab, ground = to_lab(rgb), to_lab(np.array(PAPER))
    strength = np.linalg.norm(lab[..., 1:], axis=-1)
    distance = np.minimum(np.hypot(1 - lab[..., 0], 3 * strength), 1)
    colourful = np.minimum(strength / 0.12, 1)
    light = ground[0] + 0.8 * distance**0.85 * (1 - 0.25 * colourful)
    stronger = np.clip(1.4 * strength, strength, np.maximum(strength, 0.19))
    factor = stronger / np.maximum(strength, 1e-9)
    hue = lab[..., 1:] * factor[..., None] + ground[1:] * (1 - colourful)[..., None]
    return to_rgb(np.concatenate([light[..., None], hue], -1))


@cache
def both(colour: str) -> str:
    """A colour of an SVG as the browser's choice between light and dark."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    dark = "".join(f"{part:02x}" for part in in_the_dark(rgb))
    return f"light-dark({colour}, #{dark})"


def dark_pixels(link: str) -> str:
    """A picture in a `data:` link, with the colours of the dark."""
    pixels = Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))).convert("RGBA")
    values = np.array(pixels)
    unique, where = np.unique(values[..., :3].reshape(-1, 3), axis=0, return_inverse=True)
    values[..., :3] = in_the_dark(unique)[where].reshape(*values.shape[:2], 3)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def legible(text: ElementTree.Element, unit: float) -> None:
    """Letters of an SVG that would be smaller than LEAST px on the page grow to that."""

    def grown(found: re.Match[str]) -> str:
        return f"{max(float(found[1]), LEAST / unit):.2f}px"

    style = text.get("style", "")
    text.set("style", re.sub(r"([\d.]+)px", grown, style, count=1))


def drawn(source: str, alt: str, prefix: str) -> str:
    """An SVG file of matplotlib as part of a page. All its ids begin with the prefix."""
    ElementTree.register_namespace("", SVG)
    source = source.replace("xlink:href", "href")
    root = ElementTree.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", source))
    for part in root.findall(f"{{{SVG}}}metadata"):
        root.remove(part)
    width, height = (float(size) for size in root.attrib.pop("viewBox").split()[2:])
    for size in ("width", "height"):
        root.attrib.pop(size)
    unit = min(96 / 72, COLUMN / width)  # px of the page in a point of the figure
    referred = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", source))
    for parent in list(root.iter()):
        for at, part in reversed(list(enumerate(parent))):
            if part.tag == f"{{{SVG}}}image":
                dark = ElementTree.Element(part.tag, part.attrib)
                part.set("class", "on-light")
                dark.set("class", "on-dark")
                dark.set("href", dark_pixels(part.get("href", "")))
                parent.insert(at + 1, dark)
    for part in root.iter():
        if part.tag == f"{{{SVG}}}text":
            legible(part, unit)
        if "id" in part.attrib:
            name = part.attrib.pop("id")
            if name in referred:
                part.set("id", prefix + name)
        for key, value in part.attrib.items():
            if key == "href" and value.startswith("#"):
                part.set(key, "#" + prefix + value[1:])
            elif key in ("style", "fill", "stroke", "clip-path"):
                value = value.replace("url(#", f"url(#{prefix}")
                value = re.sub("font-family: '(?!DejaVu Sans Mono)[^;]*(; |$)", "", value)
                part.set(key, re.sub("#[0-9a-f]{6}", lambda c: both(c[0]), value))
    root.set("viewBox", f"0 0 {width:g} {height:g}")
    root.set("style", f"max-width: {width * 96 / 72:.0f}px; fill: {both('#000000')}")
    text = ElementTree.tostring(root, encoding="unicode")
    text = re.sub(r"\*\{stroke-linejoin: round; stroke-linecap: butt\}", "", text)
    text = re.sub(r"<defs>\s*<style[^>]*/>\s*</defs>|(?<=>)\s+(?=<)", "", text)
    text = re.sub(r"\b[1-9]\d*\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text)
    head = f'<svg role="img" aria-label="{escape(alt)}"'
    return text.replace("<svg", head, 1)


def into_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Runs when a page is written."""
    if app.builder.format != "html":
        return
    numbers = count(1)
    for image in list(doctree.findall(nodes.image)):
        file = Path(app.srcdir) / image["uri"]
        if file.suffix == ".svg" and file.exists():
            source = file.read_text(encoding="utf-8")
            name = f"f{next(numbers)}-{sha256(source.encode()).hexdigest()[:4]}-"
            text = f'<div class="drawing">{drawn(source, image.get("alt", ""), name)}</div>'
            image.replace_self(nodes.raw("", text, format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", into_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
