"""The built site, page by page, as a reader and a search engine get it. `make book` comes first."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import report
import yaml

ROOT = Path(__file__).parent.parent
HTML = ROOT / "out" / "book" / "html"
PAGES = sorted(HTML.glob("*.html"))
CITE = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
BROKEN = re.compile(
    r"-?\d+\.\d{7,}"  # a number as the computer has it
    r"|(?<![\w\"'.])-?(?:nan|inf)(?![\w\"'])"
    r"|\b\d+\.0\s(?:heads|layers|prompts|pairs|names|MLPs|edges|tokens)\b"
    r"|\bat 0x[0-9a-f]{6,}"  # <something at 0x7f...>
    r"|\{(?:doc|ref|term|cite|glue|numref)[:\w]*\}`"
)

pytestmark = pytest.mark.skipif(not PAGES, reason="the book is not built: make book")


class Reader(HTMLParser):
    """What a page says, its ids, and the tags of its head."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.said: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.silent = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [found["id"]] if found.get("id") else []
        self.silent = tag if tag in ("script", "style") else self.silent

    def handle_endtag(self, tag: str) -> None:
        self.silent = "" if tag == self.silent else self.silent

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.said.append(data)

    def meta(self) -> dict[str, str]:
        tags = [found for tag, found in self.tags if tag == "meta"]
        return {t.get("name") or t.get("property") or "": t.get("content") or "" for t in tags}


def read(page: Path) -> Reader:
    return Reader(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_number_looks_wrong_and_no_id_is_there_twice(page: Path):
    found = read(page)
    text = "".join(found.said)
    assert not [text[max(0, m.start() - 30) : m.end() + 20] for m in BROKEN.finditer(text)]
    assert not [name for name, times in Counter(found.ids).items() if times > 1]


@pytest.mark.parametrize(
    "text",
    [
        "a difference of -1.8752596378326416 logits",
        "all 135.0 heads",
        "p = nan",
        "<Circuit at 0x7fae3c1d>",
        "see {doc}`01_sum`",
    ],
)
def test_what_looks_wrong_is_seen(text: str):
    assert BROKEN.search(text)


@pytest.mark.parametrize(
    "text", ["arXiv:2502.02737", "head 23.0", "float('nan')", "0.816497 nandu"]
)
def test_what_looks_right_is_left_alone(text: str):
    assert not BROKEN.search(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_it_is(page: Path):
    text = page.read_text(encoding="utf-8")
    meta = read(page).meta()
    assert 40 < len(meta["description"]) <= 160 and meta["og:description"] == meta["description"]
    assert meta["citation_title"] == CITE["title"] and meta["citation_author"]
    title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)[1]
    assert title.count(CITE["title"]) == 1
    data = json.loads(re.search(r'<script type="application/ld\+json">(.*?)</script>', text)[1])
    assert data["@type"] == ("Book" if page.stem == "index" else "Chapter")
    assert f"Version {CITE['version']}" in text and "Last updated on" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_light_and_asks_nobody_else(page: Path):
    assert not report.over(page.name, report.report_of(page)[0])
    links = [found.get("src") for tag, found in read(page).tags if tag in ("script", "img")]
    assert not [link for link in links if link and "://" in link]
    assert "fontawesome" not in page.read_text(encoding="utf-8")


def test_every_link_to_a_file_of_the_site_leads_somewhere():
    for page in PAGES:
        tags = [found for tag, found in read(page).tags if tag in ("a", "link", "script")]
        links = {found.get("href") or found.get("src") or "" for found in tags}
        local = {re.split(r"[?#]", link)[0] for link in links if not re.match(r"\w+:|//", link)}
        assert not [link for link in local if link and not (HTML / link).exists()], page.name


def test_notebooks_run_where_the_page_runs_and_scripts_are_python():
    notebooks = sorted((HTML / "notebooks").glob("*.ipynb"))
    assert {"01_sum", "07_ioi_walk"} <= {file.stem for file in notebooks}
    for file in notebooks:
        book = nbformat.read(file, as_version=4)
        nbformat.validate(book)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        assert code and not any(cell.outputs for cell in code)
        compile(file.with_suffix(".py").read_text(encoding="utf-8"), file.stem, "exec")
    assert "make setup" in nbformat.read(notebooks[0], as_version=4).cells[0].source


def test_robots_are_welcome_and_a_wrong_address_has_a_page():
    assert "Allow: /" in (HTML / "robots.txt").read_text(encoding="utf-8")
    assert "search" in "".join(read(HTML / "404.html").said)
