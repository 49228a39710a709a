"""What a learner gets: one page, as HTML and as Markdown, without hidden cases and values."""

import html
import re
from typing import Any

from exercises.catalogue import exercises

SIGN = {
    "right": "right",
    "partly right": "partly right",
    "not right": "not right yet",
    "not written": "not written",
    "not there": "not found",
    "to be marked": "will be marked by a person",
}
HOW = (
    "Points are given on calls that you have not seen, of the kinds that "
    "`python -m exercises check` draws. Of each kind several are drawn, and it counts where all of "
    "them are right. A check that passes at home is therefore a good sign, and no promise."
)
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:46em;margin:2em auto;padding:0 1em;color:#222}"
    "h2{margin:1.6em 0 .2em;font-size:1.15em}code{background:#eee;padding:0 .2em}"
    "table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left}"
    "ul{margin:.3em 0}.points{font-weight:bold}"
)


def number(points: float) -> str:
    return f"{points:g}"


def total(marks: list[dict[str, Any]]) -> tuple[float, int]:
    """Points so far, and of how many."""
    return sum(m["points"] or 0 for m in marks), sum(m["of"] for m in marks)


def markdown(row: dict[str, Any], warning: str) -> str:
    """The page of one learner. row: learner, marks, notes."""
    marks = row["marks"]
    got, of = total(marks)
    open_ones = sum(m["points"] is None for m in marks)
    lines = [f"# {_plain(row['learner'])}", "", f"**{number(got)} of {of} points.**"]
    if open_ones:
        lines += ["", f"Still to be marked by a person: {open_ones}."]
    if warning:
        lines += ["", f"**{warning}**"]
    lines += ["", HOW]
    if row["notes"]:
        lines += ["", "What was handed in:", "", *(f"- {_plain(note)}" for note in row["notes"])]
    for mark in marks:
        lines += ["", *_one(mark)]
    return "\n".join(lines) + "\n"


def _one(mark: dict[str, Any]) -> list[str]:
    e = exercises()[mark["id"]]
    points = "open," if mark["points"] is None else number(mark["points"])
    lines = [f"## {e.id} {e.title}", "", f"{points} of {mark['of']} points: {SIGN[mark['state']]}."]
    kinds = mark["kinds"]
    if len(kinds) > 1 and not all(kinds.values()):
        right = [kind for kind, good in kinds.items() if good]
        wrong = [kind for kind, good in kinds.items() if not good]
        lines += ["", f"- Right: {'; '.join(right) or 'none of the kinds'}."]
        lines += [f"- Not right: {'; '.join(wrong)}."]
    words = [f"- {_plain(word)}" for word in mark["words"]]
    if mark.get("comment"):
        words.append(f"- {_plain(mark['comment'])}")
    if mark["state"] in ("partly right", "not right"):
        words.append(
            f"- At home: `python -m exercises check {e.id}`, `python -m exercises hint {e.id}`."
        )
    return [*lines, *([""] if words and len(lines) == 3 else []), *words]


def _plain(text: str) -> str:
    """A text of a learner as text, whatever Markdown or HTML would make of it."""
    one = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    pieces = re.split(r"(`[^`]+`)", one)
    escaped = [re.sub(r"([\\*_\[\]<>#|!&`])", r"\\\1", piece) for piece in pieces]
    return "".join(p if i % 2 else e for i, (p, e) in enumerate(zip(pieces, escaped, strict=True)))


def page(text: str, title: str) -> str:
    """The Markdown above as a page that stands alone. It has no script, and allows none."""
    body: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("- ") != inside:
            inside = not inside
            body.append("<ul>" if inside else "</ul>")
        if line.startswith("- "):
            body.append(f"<li>{_inline(line[2:])}</li>")
        elif line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            body.append(f"<h{level}>{_inline(line.lstrip('# '))}</h{level}>")
        elif line:
            body.append(f"<p>{_inline(line)}</p>")
    body += ["</ul>"] * inside
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
    )
    return head + "\n".join(body) + "</body></html>\n"


def _inline(text: str) -> str:
    """Bold, code and escaped characters; everything else is text."""
    pieces = re.split(r"(\\.|`[^`]+`|\*\*)", text)
    out, bold = [], False
    for piece in pieces:
        if piece == "**":
            bold = not bold
            out.append("<strong>" if bold else "</strong>")
        elif piece.startswith("\\"):
            out.append(html.escape(piece[1:]))
        elif len(piece) > 2 and piece.startswith("`"):
            out.append(f"<code>{html.escape(piece[1:-1])}</code>")
        else:
            out.append(html.escape(piece))
    return "".join(out)
