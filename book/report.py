"""What each page of the built site weighs: bytes that travel, and files that are asked for.

Usage: python book/report.py. It fails where a page is over its budget. Counted are the page, and
the styles, scripts and pictures that it names, compressed as a server sends them; not what is
loaded later (fonts of equations, other pages).
"""

import gzip
import re
import sys
from functools import cache
from pathlib import Path

HTML = Path(__file__).resolve().parent.parent / "out" / "book" / "html"
FIRST, OTHERS = 350, 700  # kB
NAMED = re.compile(
    r'<(?:link[^>]+(?:stylesheet|icon)[^>]+href|script[^>]+src|img[^>]+src)="([^"]+)"'
)


@cache
def travels(file: Path) -> int:
    """The bytes of a file as a server sends it."""
    data = file.read_bytes()
    return min(len(data), len(gzip.compress(data, 6)))


def named(page: Path) -> list[Path]:
    """The files that the browser asks for when it opens the page, the page first."""
    text = page.read_text(encoding="utf-8")
    links = [link.split("?")[0] for link in NAMED.findall(text)]
    links += re.findall(r'<link href="([^"?]+)[^"]*" rel="stylesheet"', text)
    files = [HTML / link for link in links if "://" not in link and not link.startswith("data:")]
    return list(dict.fromkeys([page, *files]))


def report_of(page: Path) -> tuple[int, int, int]:
    """kB of a page with what it names, kB of the page alone, number of files."""
    sizes = [travels(file) for file in named(page) if file.exists()]
    return round(sum(sizes) / 1000), round(sizes[0] / 1000), len(sizes)


def over(name: str, size: int) -> bool:
    return size > (FIRST if name == "index.html" else OTHERS)


if __name__ == "__main__":
    rows = {page.name: report_of(page) for page in sorted(HTML.glob("*.html"))}
    if not rows:
        sys.exit("There is no built book: run `make book` first.")
    print(f"{'page':32}{'kB':>6}{'itself':>8}{'files':>7}")
    for name, (size, own, files) in rows.items():
        print(f"{name:32}{size:6}{own:8}{files:7}{'  over budget' if over(name, size) else ''}")
    heavy = [name for name, (size, _, _) in rows.items() if over(name, size)]
    sys.exit(f"Over {FIRST} kB (first page) or {OTHERS} kB: {', '.join(heavy)}" if heavy else 0)
