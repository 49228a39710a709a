"""Files beside the pages: notebooks and scripts to download, what robots read; and less weight."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from above import CARD, notebook, repository, site
from sphinx.application import Sphinx

SETUP = """\
# In Colab, or wherever the project is not installed: run this cell first.
# It was not run when the book was built.
!git clone --depth 1 {repository} project
%cd project/book
!pip install .."""
HOME = (
    "*This page is a notebook of the project's folder `book`: run it there, with the project's "
    "environment (`make setup`).*"
)
NOT_FOUND = """<h1>This page is not here</h1>
<p>It may have moved. Begin with <a href="index.html">the first page</a>, or search.</p>"""


def as_script(cells: list[Any]) -> str:
    """Cells as a Python script, text as comments: editors run it cell by cell."""
    parts = []
    for cell in cells:
        if cell.cell_type == "code":
            code = re.sub(r"(?m)^([!%].*)", r"# \1", cell.source)
            parts.append(f"# %%\n{code}")
        else:
            text = re.sub(r"(?m)^", "# ", cell.source).replace("# \n", "#\n")
            parts.append(f"# %% [markdown]\n{text}")
    return "\n\n".join(parts) + "\n"


def write_downloads(app: Sphinx) -> None:
    """The notebook and the script of each page that has cells, without results."""
    folder = Path(app.outdir) / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for page in sorted(app.env.found_docs):
        if not notebook(app, page).exists():
            continue
        book = nbformat.read(notebook(app, page), as_version=4)
        first = nbformat.v4.new_markdown_cell(HOME)
        if repository():
            first = nbformat.v4.new_code_cell(SETUP.format(repository=repository()))
        book.cells.insert(0, first)
        for number, cell in enumerate(book.cells):
            cell.id = str(number)
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, folder / f"{page}.ipynb")
        (folder / f"{page}.py").write_text(as_script(book.cells), encoding="utf-8")


def not_found(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    yield "404", {"title": "Not found", "body": NOT_FOUND}, "page.html"


def write_for_robots(app: Sphinx) -> None:
    """robots.txt, and where the address of the site is known, a map of it."""
    out, base = Path(app.outdir), site(app.config)
    lines = ["User-agent: *", "Allow: /"]
    if base:
        places = [f"<url><loc>{base}{page}.html</loc></url>" for page in sorted(app.env.found_docs)]
        space = "http://www.sitemaps.org/schemas/sitemap/0.9"
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{space}">\n'
        (out / "sitemap.xml").write_text(
            text + "\n".join(places) + "\n</urlset>\n", encoding="utf-8"
        )
        lines.append(f"Sitemap: {base}sitemap.xml")
    (out / "robots.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copy(CARD, out / "_static")


def lighten(app: Sphinx) -> None:
    """No script for 13 icons (custom.css draws them); MathJax only where a page has equations.

    And no id twice: all exercises of a page have this one.
    """
    out = Path(app.outdir)
    for page in out.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        less = re.sub(r"\s*<script[^>]*/fontawesome\.js[^>]*></script>", "", text)
        less = less.replace(' id="exercise-content"', "")
        if not re.search(r'class="[^"]*\bmath\b', less):
            less = re.sub(r"\s*<script[^>]*>window\.MathJax[^<]*</script>", "", less)
            less = re.sub(r"\s*<script[^>]*/mathjax/[^>]*></script>", "", less)
        if less != text:
            page.write_text(less, encoding="utf-8")
    for part in out.glob("_static/scripts/fontawesome*"):
        part.unlink()
    shutil.rmtree(out / "_static" / "vendor" / "fontawesome", ignore_errors=True)


def finish(app: Sphinx, error: Exception | None) -> None:
    """Runs when all pages are written."""
    if error is None and app.builder.name == "html":
        write_downloads(app)
        write_for_robots(app)
        lighten(app)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-collect-pages", not_found)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
