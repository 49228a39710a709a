"""What is above a page: its notebook and script, its code, what search engines and links show.

One setting gives all ways to the code: the environment variable BOOK_REPOSITORY, an https address.
Without it no page has a link that could be dead. The site's own address is `html_baseurl`; where it
is not set, that of the GitHub pages of the repository.
"""

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

BOOK = Path(__file__).resolve().parent.parent
CITE = yaml.safe_load((BOOK.parent / "CITATION.cff").read_text(encoding="utf-8"))
CARD = BOOK / "images" / "heads_to_logits.png"


def repository() -> str:
    """The address of the code, without a slash at its end; empty where none was set."""
    address = os.environ.get("BOOK_REPOSITORY", "").rstrip("/").removesuffix(".git")
    if address and not re.fullmatch(r"https://[\w.-]+(/[\w.-]+)+", address):
        raise ValueError(f"BOOK_REPOSITORY must be an https address of a project, not {address!r}")
    return address


def site(config: Config) -> str:
    """The address of the site, with a slash at its end; empty where it is not known."""
    if config.html_baseurl:
        return config.html_baseurl.rstrip("/") + "/"
    where = urlsplit(repository())
    owner, _, name = where.path.strip("/").partition("/")
    return f"https://{owner.lower()}.github.io/{name}/" if where.netloc == "github.com" else ""


def version_in_footer(app: Sphinx, config: Config) -> None:
    config.html_theme_options["extra_footer"] += f"<p>Version {CITE['version']}.</p>"


# ---- The head of a page ----


def description(doctree: nodes.document | None) -> str:
    """The question of a page, or its first paragraph, in at most 160 characters."""
    texts = [
        " ".join(p.astext().split())
        for p in (doctree or nodes.container()).findall(nodes.paragraph)
    ]
    texts = [text for text in texts if len(text) > 50]
    asked = [text for text in texts if text.startswith("The question. ")]
    text = ([*asked, *texts, CITE["abstract"]])[0].removeprefix("The question. ")
    return text if len(text) <= 160 else text[:157].rsplit(" ", 1)[0] + " …"


def head(title: str, about: str, address: str, card: str, date: str) -> str:
    """Tags for search engines, for the card that a link shows, and for reference managers."""
    authors = [author["name"] for author in CITE["authors"]]
    known = {
        "description": about,
        "citation_title": CITE["title"],
        "citation_publication_date": date,
    }
    known |= {"twitter:card": "summary_large_image" if card else "summary"}
    shown = {"og:title": title, "og:description": about, "og:site_name": CITE["title"]}
    shown |= {"og:type": "website" if title == CITE["title"] else "article"}
    shown |= {"og:url": address, "og:image": card}
    linked = {"@context": "https://schema.org", "@type": "Book", "name": CITE["title"]}
    if title != CITE["title"]:
        linked = {"@type": "Chapter", "name": title, "isPartOf": linked}
    linked = {"@context": "https://schema.org", **linked, "description": about}
    linked |= {"author": authors, "version": CITE["version"]} | (
        {"url": address} if address else {}
    )
    text = json.dumps(linked, ensure_ascii=False).replace("<", "\\u003c")
    tags = [tag("name", key, value) for key, value in known.items()]
    tags += [tag("name", "citation_author", author) for author in authors]
    tags += [tag("property", key, value) for key, value in shown.items() if value]
    return "\n".join([*tags, f'<script type="application/ld+json">{text}</script>'])


def tag(kind: str, name: str, content: str) -> str:
    content = content.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'<meta {kind}="{name}" content="{content}" />'


def dress(
    app: Sphinx,
    pagename: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Runs for each page, after the theme has filled in what it knows."""
    base, title = site(app.config), re.sub("<[^>]*>", "", context.get("title", ""))
    if pagename == app.config.root_doc:
        context["docstitle"] = ""  # the title of the book, not twice
    context["pageurl"] = f"{base}{pagename}.html" if base else None
    date = os.environ.get("SOURCE_DATE_EPOCH") and context.get("last_updated", "")
    date = date or str(app.config.copyright)[:4]
    card = f"{base}_static/{CARD.name}" if base else ""
    address = context["pageurl"] or ""
    context["metatags"] = context.get("metatags", "") + head(
        title, description(doctree), address, card, date
    )
    if pagename == "404" and base:  # whatever the address was that led here
        context["metatags"] = f'<base href="{base}" />' + context["metatags"]
    context["header_buttons"] = buttons(app, pagename)


def buttons(app: Sphinx, page: str) -> list[dict[str, Any]]:
    """At the top of a page: the notebook and script of it, print, the code."""
    links = []
    if notebook(app, page).exists():
        links = [
            ("Notebook", f"notebooks/{page}.ipynb", "fas fa-code", "Download as a notebook"),
            ("Script", f"notebooks/{page}.py", "fas fa-file", "Download as a Python script"),
        ]
    if repository():
        links.append(("Code", repository(), "fas fa-code", "The project's code"))
        if (BOOK / f"{page}.md").exists():
            source = f"{repository()}/blob/main/book/{page}.md?plain=1"
            links.append(("Source", source, "fas fa-file", "The source of this page"))
    made = [
        {
            "type": "link",
            "text": text,
            "url": url,
            "icon": icon,
            "tooltip": tip,
            "label": text.lower(),
        }
        for text, url, icon, tip in links
    ]
    made.append(
        {
            "type": "javascript",
            "javascript": "window.print()",
            "text": "Print",
            "icon": "fas fa-file-pdf",
            "tooltip": "Print, or save as PDF",
            "label": "print",
        }
    )
    group = {
        "type": "group",
        "tooltip": "Download this page, see its code",
        "label": "download-buttons",
    }
    return [{**group, "icon": "fas fa-download", "buttons": made}]


def notebook(app: Sphinx, page: str) -> Path:
    """Where the build keeps a page as a notebook, if it has cells."""
    return Path(app.outdir).parent / "jupyter_execute" / f"{page}.ipynb"


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", version_in_footer)
    app.connect("html-page-context", dress, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
