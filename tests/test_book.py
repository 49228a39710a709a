"""The text of the book, checked without building it."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

import pathpatch

BOOK = Path(__file__).parent.parent / "book"
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(page["file"] for part in TOC["parts"] for page in part["chapters"])]
TEXT = {page: (BOOK / f"{page}.md").read_text(encoding="utf-8") for page in PAGES}
CLAIMS = {file.stem: json.loads(file.read_text("utf-8")) for file in BOOK.glob("claims/*.json")}
CODE = re.compile(r"```\{code-cell\}.*?\n```|```python\n.*?```|`[^`\n]+`", re.DOTALL)

# Public names that are only in the list of the library's functions so far, because the chapters
# that will use them are not written yet. Delete a name when its chapter comes.
IN_CHAPTERS_TO_COME = {
    *("Faithfulness", "Gap", "Search", "choices", "completeness"),  # 9
    *("EdgeKnockout", "Link"),  # 9
    *("faithfulness", "greedy_set", "minimal_sets", "minimality", "random_sets"),  # 9
    *("Edge", "Rule"),  # 12
    *("node_attribution", "edge_attribution"),  # 12
    *("ioi_walk", "wrap"),  # the appendix on GPT-2
}


def test_every_page_is_in_the_table_of_contents():
    assert {page.stem for page in BOOK.glob("*.md")} == set(PAGES)


def test_every_public_name_of_the_library_appears_in_the_book():
    shown = [c for page in PAGES if page != "a_api" for c in CODE.findall(TEXT[page])]
    shown = "\n".join(code for code in shown if "[remove-cell]" not in code)
    used = {name for name in pathpatch.__all__ if re.search(rf"\b{name}\b", shown)}
    missing = set(pathpatch.__all__) - used - IN_CHAPTERS_TO_COME
    assert not missing, f"no page but a_api shows {sorted(missing)}"
    done = IN_CHAPTERS_TO_COME & used
    assert not done, f"these have come, so delete them from IN_CHAPTERS_TO_COME: {sorted(done)}"


@pytest.mark.parametrize("page", [page for page in PAGES if "\n## Exercises" in TEXT[page]])
def test_the_minutes_of_the_exercises_add_up(page: str):
    own = BOOK / "exercises" / f"ch{page}.md"
    text = TEXT[page] + (own.read_text(encoding="utf-8") if own.exists() else "")
    minutes = [int(number) for number in re.findall(r"about (\d+) minutes", text)]
    said = re.search(r"\*\*Time\*\* \d+ minutes to read, about (\d+) for the exercises", text)
    assert said is not None
    assert int(said[1]) == sum(minutes) > 0


@pytest.mark.parametrize("page", CLAIMS)
def test_claims_are_complete_and_checked_by_their_page(page: str):
    for claim in CLAIMS[page]:
        assert claim.keys() == {"statement", "value", "tolerance", "where"}, claim
    keys = [claim["where"] for claim in CLAIMS[page]]
    assert len(keys) == len(set(keys))
    assert f"claims/{page}.json" in TEXT[page]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_links_a_term_once_and_only_to_the_glossary(page: str):
    block = TEXT["a_glossary"].split("```{glossary}")[1].split("```")[0]
    terms = set(re.findall(r"^(\S.*)$", block, re.MULTILINE))
    links = re.findall(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`", TEXT[page])
    assert set(links) <= terms
    if page not in ("00_how_to_use", "a_glossary"):
        assert len(links) == len(set(links)), "only the first use of a term is a link"


def test_the_list_of_functions_has_every_public_name():
    spec = importlib.util.spec_from_file_location("generated", BOOK / "_ext" / "generated.py")
    generated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generated)
    listed = re.findall(r"^`+\{py:(?:function|class|data)\} (\w+)", generated.api(), re.MULTILINE)
    assert sorted(listed) == sorted(pathpatch.__all__)


CELL = re.compile(r"^(`{3,})(?:\{code-cell\}|python)[^\n]*\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
EXERCISES = {f"exercises/{f.stem}": f.read_text("utf-8") for f in BOOK.glob("exercises/*.md")}


@pytest.mark.parametrize("page", [*PAGES, *EXERCISES])
def test_code_fits_the_column_of_a_page(page: str):
    for cell in CELL.finditer((TEXT | EXERCISES)[page]):
        code = re.sub(r"\A---\n.*?\n---\n", "", cell[2], flags=re.DOTALL)  # options of the cell
        if "remove-cell" not in cell[2]:
            long = [line for line in code.splitlines() if len(line) > 76]
            assert not long, long
