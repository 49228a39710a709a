"""Hover text: every link to a term of the glossary gets the first paragraph of its definition.

It is put into the `title` of the link when the pages are written, so that it works without a script
and in a site that is opened from disk.
"""

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

GLOSSARY = "a_glossary"


def definitions(app: Sphinx) -> dict[str, str]:
    """Target of a term -> the first paragraph of what the glossary says about it."""
    found = {}
    for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        first = next(item.findall(nodes.paragraph)).deepcopy()
        for cited in [x for x in first.findall(pending_xref) if x["refdomain"] == "cite"]:
            cited.parent.remove(cited)
        text = first.astext().replace(" .", ".").replace(" :", ":")
        for term in item.findall(nodes.term):
            found |= {f"{GLOSSARY}.html#{target}": text for target in term["ids"]}
    return found


def add_titles(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Runs when a page is written, with its references resolved."""
    if app.builder.format == "html" and GLOSSARY in app.env.found_docs:
        known = definitions(app)
        for link in doctree.findall(nodes.reference):
            if text := known.get(link.get("refuri", "")):
                link["reftitle"] = text


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", add_titles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
