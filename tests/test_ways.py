"""The ways from a page to its code: one setting, and no dead link without it."""

from pathlib import Path
from types import SimpleNamespace

import above
import beside
import nbformat
import pytest
from docutils import nodes

CONFIG = SimpleNamespace(html_baseurl="")
CODE = "https://github.com/Someone/a-book"


@pytest.fixture
def app(tmp_path: Path) -> SimpleNamespace:
    """A built book with one page, as far as the extensions look at it."""
    html, run = tmp_path / "html", tmp_path / "jupyter_execute"
    (html / "_static").mkdir(parents=True)
    run.mkdir()
    cells = [nbformat.v4.new_markdown_cell("Text\n\nmore"), nbformat.v4.new_code_cell("!ls\nx = 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), run / "01_sum.ipynb")
    env = SimpleNamespace(found_docs={"01_sum", "index"})
    return SimpleNamespace(outdir=str(html), env=env, config=CONFIG)


def test_without_the_setting_there_is_no_address_anywhere(app, monkeypatch):
    monkeypatch.delenv("BOOK_REPOSITORY", raising=False)
    assert above.repository() == above.site(CONFIG) == ""
    links = [b.get("url", "") for b in above.buttons(app, "01_sum")[0]["buttons"]]
    assert links == ["notebooks/01_sum.ipynb", "notebooks/01_sum.py", ""]
    beside.write_downloads(app)
    beside.write_for_robots(app)
    written = [
        f for f in Path(app.outdir).rglob("*") if f.suffix in (".ipynb", ".py", ".txt", ".xml")
    ]
    assert len(written) == 3 and not any("http" in file.read_text("utf-8") for file in written)


def test_with_it_there_are_all_of_them(app, monkeypatch):
    monkeypatch.setenv("BOOK_REPOSITORY", CODE + ".git")
    assert above.site(CONFIG) == "https://someone.github.io/a-book/"
    assert above.site(SimpleNamespace(html_baseurl="https://a.org/b")) == "https://a.org/b/"
    links = [b.get("url", "") for b in above.buttons(app, "01_sum")[0]["buttons"]]
    assert CODE in links and f"{CODE}/blob/main/book/01_sum.md?plain=1" in links
    beside.write_downloads(app)
    first = nbformat.read(Path(app.outdir) / "notebooks" / "01_sum.ipynb", as_version=4).cells[0]
    assert f"git clone --depth 1 {CODE} project" in first.source and "was not run" in first.source
    beside.write_for_robots(app)
    sitemap = (Path(app.outdir) / "sitemap.xml").read_text(encoding="utf-8")
    assert "<loc>https://someone.github.io/a-book/01_sum.html</loc>" in sitemap


@pytest.mark.parametrize(
    "address", ["/home/me/project", "file:///tmp/x", "http://a.org/b", "https://"]
)
def test_only_an_https_address_is_taken(address: str, monkeypatch):
    monkeypatch.setenv("BOOK_REPOSITORY", address)
    with pytest.raises(ValueError, match="https address"):
        above.repository()


def test_a_script_has_what_a_notebook_alone_understands_as_comments(app):
    cells = [nbformat.v4.new_markdown_cell("A\n\nB"), nbformat.v4.new_code_cell("!ls\nx = 1")]
    text = beside.as_script(cells)
    assert text == "# %% [markdown]\n# A\n#\n# B\n\n# %%\n# !ls\nx = 1\n"


def test_the_description_is_the_question_and_whole_words():
    page = nodes.document("", None)
    page += nodes.paragraph(
        "", "A first paragraph of a page that is long enough to describe it well."
    )
    page += nodes.paragraph("", "The question. " + "Which of these parts said it? " * 9)
    found = above.description(page)
    assert found.startswith("Which of these parts") and len(found) <= 160 and found.endswith(" …")


def test_what_a_title_says_cannot_break_the_head():
    tags = above.head('A "b" <c>', "about </script>", "", "", "2026")
    assert '"A &quot;b&quot; &lt;c>"' in tags and "</script>" not in tags.split("ld+json")[1][:-9]
    assert "og:image" not in tags and "og:url" not in tags


def test_equations_bring_their_script_and_icons_bring_none(app):
    scripts = '<script defer src="_static/scripts/fontawesome.js"></script>'
    scripts += '<script>window.MathJax = {}</script><script src="_static/mathjax/t.js"></script>'
    for name, body in (("with", '<span class="math notranslate">x</span>'), ("without", "x")):
        text = f'{scripts}{body}<section id="exercise-content"></section>'
        (Path(app.outdir) / f"{name}.html").write_text(text, encoding="utf-8")
    beside.lighten(app)
    found = {f.stem: f.read_text(encoding="utf-8") for f in Path(app.outdir).glob("*.html")}
    assert "MathJax" in found["with"] and "script" not in found["without"]
    assert not any("fontawesome" in text or "exercise-content" in text for text in found.values())
