"""Build the book: run every page and write the site to out/book/html. Warnings are errors.

Usage: python book/build.py
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOK, OUT = ROOT / "book", ROOT / "out" / "book"
AT_ONCE = 2  # pages; each holds a model of about a gigabyte
MYST = {"name": "myst_nb_md", "type": "plugin"}  # how MyST-NB reads a page
ALONE = {"11_fast_and_exact.md"}  # it measures time: Sphinx runs it later


def digest(files: Iterable[Path]) -> str:
    """A short hash of these files, their names included."""
    sha = hashlib.sha256()
    for file in sorted(files):
        data = file.read_bytes()
        sha.update(f"{file.relative_to(ROOT).as_posix()} {len(data)}\n".encode() + data)
    return sha.hexdigest()[:16]


def encrypt_kernels() -> None:
    """Let each page's kernel encrypt what it says to us: if not, it warns of it on every page."""
    import jupyter_client
    from traitlets import default

    class Encrypting(jupyter_client.AsyncKernelManager):
        @default("transport_encryption")
        def _where_it_can(self) -> str:
            return "auto"

    jupyter_client.AsyncKernelManager = Encrypting  # where nbclient takes it from


def run_pages(cells: Path) -> None:
    """Run the pages whose outputs are not in this cache, a few at a time.

    Sphinx runs one after the other what it does not find there; so it does, and says what is
    wrong, with a page that fails here. One page with two processors is slower than two with one.
    """
    from jupyter_cache import get_cache
    from jupyter_cache.executors.utils import create_cache_bundle, single_nb_execution

    cache = get_cache(cells)
    for page in sorted(BOOK.glob("*.md")):
        if "kernelspec:" in page.read_text("utf-8") and page.name not in ALONE:
            cache.add_nb_to_project(str(page), read_data=MYST)

    def run_page(key: int) -> None:
        page = cache.get_project_notebook(key)
        name = Path(page.uri).name
        print(f"running {name} ...", flush=True)
        done = single_nb_execution(page.nb, str(BOOK), timeout=900, allow_errors=False)
        print(f"{name}: {done.time:.0f} s{', failed' * bool(done.err)}", flush=True)
        if done.err is not None:
            print(str(done.err)[-2000:], flush=True)
        else:
            bundle = create_cache_bundle(page, done.cwd, None, done.time, None)
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)

    keys = [record.pk for record in cache.list_unexecuted()]
    at_once = max(1, min(AT_ONCE, len(keys)))
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // at_once))
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(run_page, keys))
    del os.environ["OMP_NUM_THREADS"]


def build() -> int:
    """Build what has changed. Returns 0 when there was neither an error nor a warning."""
    from jupyter_book.sphinx import build_sphinx
    from sphinx.util.console import color_terminal, nocolor

    if not color_terminal():
        nocolor()  # no escape codes in a log file
    encrypt_kernels()
    # The outputs of cells are cached by the text of the cells alone. When the library, a package or
    # a file that pages read changes, the cache must change too, or pages would show old numbers.
    library = ROOT / "pathpatch"
    code = [*library.rglob("*.py"), *BOOK.glob("*.py")]
    data = [*library.rglob("*.json"), *BOOK.rglob("*.json"), *BOOK.rglob("*.npz")]
    inputs = [*code, ROOT / "requirements.lock", BOOK / "matplotlibrc", *data]
    cache = OUT / "cache" / digest(inputs)
    # Parsed pages hold those outputs, the list of all chapters, and what _ext writes into them.
    shared = [*BOOK.glob("_*.yml"), *BOOK.glob("_ext/*.py"), BOOK / "a_glossary.md"]
    parsed = cache / f"pages-{digest(shared)}"
    if not parsed.exists():
        shutil.rmtree(OUT / "html", ignore_errors=True)  # so that no page outlives its source
    run_pages(cache / "cells")
    status = build_sphinx(
        BOOK,
        OUT / "html",
        noconfig=True,
        path_config=BOOK / "_config.yml",
        confoverrides={
            "external_toc_path": (BOOK / "_toc.yml").as_posix(),
            "nb_execution_cache_path": str(cache / "cells"),
            "latex_individualpages": False,  # build_sphinx insists on this key
        },
        doctreedir=parsed,
        warningiserror=True,
        keep_going=True,
    )
    for old in (OUT / "cache").glob("*"):
        if old != cache:
            shutil.rmtree(old)
    if status == 0:
        return 0
    # Sphinx warns about a page only when it reads it: read all of them next time, from the cache.
    shutil.rmtree(parsed, ignore_errors=True)
    return 1


if __name__ == "__main__":
    try:
        failed = build()
    except ModuleNotFoundError as error:
        sys.exit(f"{error}. Run `make setup` first, then `.venv/bin/python book/build.py`.")
    if failed:
        sys.exit("The book was not built: see the errors and warnings above.")
    print(f"\nThe book is built. Open this file in a browser:\n  {OUT / 'html' / 'index.html'}")
