"""Progress bars, for work of over two seconds."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

EVERY = 10  # seconds between two bars where they are written down: a line for each would fill a log


def progress(of: Iterable[Any] | None = None, **words: Any) -> Any:
    """A bar over these things, or over a total that is given, as `tqdm` has it."""
    seconds = 0.1 if sys.stderr.isatty() else EVERY
    return tqdm(of, delay=2, mininterval=seconds, **words)
