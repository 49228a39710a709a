"""Parts of pages that are written when the book is built.

A line `% generated: map` (or `claims`, `families`, `peers`, `versions`, `audit`, `api`) is replaced
by Markdown that the function of that name returns, before the page is parsed.
"""

import ast
import dataclasses
import hashlib
import inspect
import json
import platform
import re
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx

import pathpatch
from pathpatch.models.smollm2 import SMOLLM2_INSTALL, SMOLLM2_SHA256

BOOK = Path(__file__).resolve().parent.parent
AUDIT = BOOK.parent / "tests" / "audit.json"
PACKAGES = ("pathpatch", "torch", "transformer-lens", "transformers", "numpy", "scipy")


def pages() -> dict[str, str]:
    """Name of each page in the order of the table of contents -> its text."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    names = [page["file"] for part in toc["parts"] for page in part["chapters"]]
    return {name: (BOOK / f"{name}.md").read_text(encoding="utf-8") for name in names}


def map_of_pages() -> str:
    """A table of the pages that have a question: the question, and the time it takes."""
    rows = ["| page | its question | time |", "| --- | --- | --- |"]
    for name, text in pages().items():
        question = re.search(r"\*\*The question\.\*\* (.+?)\n\n", text, re.DOTALL)
        time = re.search(r"\*\*Time\*\* (.+?)\.\n", text)
        if question and time:
            asked = re.sub(r"\$(\w)\$", r"*\1*", " ".join(question[1].split()))  # no equations here
            rows.append(f"| {{doc}}`{name}` | {asked} | {time[1]} |")
    return "\n".join(rows)


def claims() -> str:
    """A section for each page with a claims file."""
    parts = []
    for name, page in pages().items():
        file = BOOK / "claims" / f"{name}.json"
        if not file.exists():
            continue
        rows = ["| claim | value | tolerance | key |", "| --- | --- | --: | --- |"]
        for claim in json.loads(file.read_text(encoding="utf-8")):
            value, tolerance = claim["value"], claim["tolerance"]
            value = f"{value:.6g}" if isinstance(value, float) else value
            value = ", ".join(value) if isinstance(value, list) else str(value)
            value = value.replace("-", "\N{MINUS SIGN}")
            statement = claim["statement"].replace("|", "\\|")
            rows.append(f"| {statement} | {value} | {tolerance or 'exact'} | `{claim['where']}` |")
        title = re.search(r"^# (.+)$", page, re.M)[1]
        parts += [f"## {title}", f"Computed on {{doc}}`{name}`.", "\n".join(rows)]
    return "\n\n".join(parts)


def versions() -> str:
    """What the book was built with."""
    source = b"".join(f.read_bytes() for f in sorted(Path(pathpatch.__file__).parent.rglob("*.py")))
    rows = {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    rows["processor"] = platform.machine()
    rows |= {
        "source of pathpatch, SHA-256": f"`{hashlib.sha256(source).hexdigest()[:16]}…`",
        "SmolLM2-135M, installed with": f"`{SMOLLM2_INSTALL}`",
        "its model file, SHA-256": f"`{SMOLLM2_SHA256}`",
    }
    return "\n".join(
        ["| what | which |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in rows.items())]
    )


def audit() -> str:
    """What the last runs of `make audit` found, a row for each part."""
    if not AUDIT.exists():
        return "No audit has been run yet."
    rows = ["| checked | held | figures | when, on which commit | where | minutes |"]
    rows.append("| --- | --- | --- | --- | --- | --: |")
    for part in json.loads(AUDIT.read_text(encoding="utf-8")).values():
        figures = "; ".join(f"{name}: {value}" for name, value in part["figures"].items())
        figures = " ".join(figures.replace("|", "\\|").split())
        held = "yes" if part["held"] else "**no**"
        when = f"{part['date']}, {part['commit']}"
        cells = [part["what"], held, figures, when, part["machine"], f"{part['minutes']}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def families() -> str:
    """A row for each architecture, plain and with shared keys and values."""
    rows = [
        "| architecture | heads | result | fast | ignored |",
        "| --- |" + " --- |" * 4,
    ]
    for row in json.loads((BOOK / "data" / "families.json").read_text(encoding="utf-8")):
        heads = "plain" if row["kv_heads"] == 4 else "shared"
        deaf = ", ".join(f"`{kind}`" for kind in row["deaf"])
        name, fast = row["family"].removesuffix("ForCausalLM"), row["fast"].replace("@END", "")
        cells = (f"`{name}`", heads, row["result"], fast, deaf)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def peers() -> str:
    """A row for each thing that another project computed and this library gives too."""
    rows = ["| whose | what | numbers | apart | differs in |"]
    rows.append("| --- | --- | --: | --: | --- |")
    for row in json.loads((BOOK / "data" / "peers.json").read_text(encoding="utf-8")):
        apart = row["apart"].replace("-", "\N{MINUS SIGN}")
        project = row["repository"].split(" ")[0].split("/")[-1]
        cells = (project, row["what"], f"{row['numbers']:,}", apart, row["why"])
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def api() -> str:
    """Every public name, by module; the modules in the order of the map in the package."""
    order = inspect.getdoc(pathpatch)
    named = [(n, getattr(pathpatch, n)) for n in pathpatch.__all__]
    home = {name: value.__module__.removeprefix("pathpatch.") for name, value in named}
    parts = ["```{py:currentmodule} pathpatch\n```"]
    for module in sorted(set(home.values()), key=lambda m: place(order, m)):
        about = inspect.getdoc(sys.modules[f"pathpatch.{module}"])
        parts += [f"## `{module}`", about.split("\n\n")[0]]
        parts += [entry(name, value) for name, value in named if home[name] == module]
    return "\n\n".join(parts)


def place(order: str, module: str) -> int:
    """Where a module stands in the map: its line begins with its room, the root's with nothing."""
    room, _, file = f".{module}".rpartition(".")
    start = order.index(f"{room.strip('.')}/") if room else 0
    return start + re.search(rf"\b{file}\b", order[start:]).start()


def entry(name: str, value: Any, kind: str = "function") -> str:
    """A directive of Sphinx's Python domain: signature, docstring, and what a class has."""
    if not callable(value) and not isinstance(value, property):
        return f"```{{py:data}} {name}\n:value: {value!r}\n```"
    code = value.fget if isinstance(value, property) else value
    node = ast.parse(textwrap.dedent(inspect.getsource(code))).body[0]
    text = [prose(inspect.getdoc(value) or "")]
    if isinstance(node, ast.ClassDef):
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        if dataclasses.is_dataclass(value):
            lines = textwrap.dedent(inspect.getsource(value)).splitlines()
            lines = lines[fields[0].lineno - 1 : fields[-1].end_lineno]
            text.append("```python\n" + textwrap.dedent("\n".join(lines)) + "\n```")
        members = [(n, m) for n, m in vars(value).items() if n[0] != "_" and inspect.getdoc(m)]
        for n, m in members:
            if isinstance(m, staticmethod):
                text.append(entry(n, m.__func__, "method"))
            elif inspect.isfunction(m) or isinstance(m, property):
                text.append(entry(n, m, "property" if isinstance(m, property) else "method"))
        head = f"{{py:class}} {name}"
    elif kind == "property":
        head = f"{{py:property}} {name}\n:type: {ast.unparse(node.returns)}"
    else:
        node.args.args = [a for a in node.args.args if a.arg != "self"]
        returns = ast.unparse(node.returns).strip("'")  # 'Node' inside Node is a string
        head = f"{{py:{kind}}} {name}({ast.unparse(node.args)}) -> {returns}"
    fence = "`" * (4 if kind == "function" else 3)
    return f"{fence}{head}\n\n" + "\n\n".join(text) + f"\n{fence}"


def prose(docstring: str) -> str:
    """The parts of a docstring that begin with a known word, as paragraphs of their own."""
    return re.sub(r"\n*^(Returns|Raises|Source|Book): ", r"\n\n**\1:** ", docstring, flags=re.M)


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Runs when a page is read."""
    parts = (map_of_pages, claims, versions, audit, families, peers, api)
    found = {part.__name__.partition("_")[0]: part for part in parts}
    if "\n% generated: " not in source[0]:
        return
    for name in pages():  # read this page again when one that it tells about has changed
        app.env.note_dependency(str(BOOK / f"{name}.md"))
    app.env.note_dependency(str(AUDIT))
    source[0] = re.sub(r"(?m)^% generated: (\w+)$", lambda part: found[part[1]](), source[0])


def true_minus(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Numbers that a cell put into the text get a minus sign in place of their hyphen."""
    for number in doctree.findall(nodes.inline):
        if "pasted-text" in number["classes"] and re.match(r"-\d", text := number.astext()):
            number.children = [nodes.Text("\N{MINUS SIGN}" + text[1:])]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", fill)
    app.connect("doctree-resolved", true_minus)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
