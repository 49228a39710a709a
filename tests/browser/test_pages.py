"""Pages of the built book in a browser: what is cut off, light and dark, figures, the filter."""

from pathlib import Path

import pytest

HTML = Path(__file__).parents[2] / "out" / "book" / "html"
pytestmark = pytest.mark.skipif(
    not (HTML / "index.html").exists(), reason="the book is not built: make book"
)
# What is wider than its box, other than code and the interactive figure, which scroll on purpose.
CUT_OFF = """() => {
  const wide = (box) => box.clientWidth > 0 && box.scrollWidth > box.clientWidth + 1;
  const boxes = document.querySelectorAll(
    ".bd-article :is(table, figure, dt, .pst-scrollable-table-container, .drawing, .admonition)," +
    ".bd-article .output:is(.stream, .text_plain) pre");
  return [...boxes].filter((box) => !box.closest(".explorer") && wide(box))
    .map((box) => `${box.tagName} ${box.className}: ${box.innerText.slice(0, 60)}`);
}"""


@pytest.fixture
def page(browser):
    with browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        page.set_default_timeout(60_000)
        yield page


def show(page, name: str) -> None:
    page.goto((HTML / f"{name}.html").as_uri(), wait_until="domcontentloaded")


@pytest.mark.parametrize(
    "name", ["index", "02_task", "07_ioi_walk", "08_which_is_patched", "a_claims"]
)
def test_nothing_but_code_is_cut_off(page, name: str):
    show(page, name)
    assert page.evaluate(CUT_OFF) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_code_of_76_characters_fits_between_the_sidebars(page):
    show(page, "01_sum")
    cut = """() => [...document.querySelectorAll(".bd-article .cell_input pre")]
      .filter((box) => box.clientWidth > 0 && box.scrollWidth > box.clientWidth + 1).length"""
    assert page.evaluate(cut) == 0


def test_figures_follow_the_theme_and_paper_is_light(page):
    show(page, "07_ioi_walk")
    ground = """() => [getComputedStyle(document.querySelector(".drawing svg path")).fill,
      getComputedStyle(document.body).backgroundColor]"""
    shown = """() => [".on-light", ".on-dark"].map((name) =>
      getComputedStyle(document.querySelector(`.drawing ${name}`)).display !== "none")"""
    seen = {}
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        fill, body = page.evaluate(ground)
        assert fill == body, theme
        seen[theme] = fill
        assert page.evaluate(shown) == [theme == "light", theme == "dark"]
    assert seen["light"] != seen["dark"]
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(ground)[0] == seen["light"]


def test_a_figure_is_enlarged_by_keyboard_and_comes_back(page):
    show(page, "07_ioi_walk")
    drawing = page.locator(".drawing").first
    before = drawing.locator("svg").bounding_box()["width"]
    drawing.get_by_role("button", name="Enlarge the figure").focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog.enlarged svg")
    assert large.bounding_box()["width"] > 1.2 * before
    page.keyboard.press("Escape")
    assert page.locator("dialog.enlarged").count() == 0
    assert drawing.locator("svg").bounding_box()["width"] == pytest.approx(before)
    assert page.evaluate("document.activeElement.title") == "Enlarge the figure"


def test_letters_of_figures_can_be_read(page):
    show(page, "01_sum")
    sizes = page.evaluate(
        """() => [...document.querySelectorAll(".drawing text")].map((text) => {
          const svg = text.closest("svg"), unit = svg.getScreenCTM().a;
          const font = (part) => parseFloat(getComputedStyle(part).fontSize) * unit;
          return text.children.length ? 11 : font(text);
        })"""
    )
    assert len(sizes) > 20 and min(sizes) > 10.9
    assert page.get_by_text("y = 73").count()  # a figure is found by its words


def test_claims_are_filtered_by_words(page):
    show(page, "a_claims")
    every = page.locator("tbody tr:visible").count()
    page.get_by_role("searchbox", name="Show only rows with these words").fill("head effect")
    rows = page.locator(".bd-article tbody tr:visible")
    assert 0 < rows.count() < every
    assert all("head" in text.lower() for text in rows.all_text_contents())
    assert page.get_by_role("status").inner_text() == f"{rows.count()} of {every} rows"


def test_icons_are_drawn_without_a_script(page):
    show(page, "01_sum")
    icons = page.locator(".bd-header-article :is(i, span)[class*='fa-']:visible")
    assert icons.count() >= 2
    for icon in icons.all():
        assert icon.evaluate("i => getComputedStyle(i).maskImage").startswith("url(")
        assert icon.evaluate("i => getComputedStyle(i, '::before').content") == "none"
