"""How much memory a sandbox holds."""

import re
from contextlib import suppress
from pathlib import Path

import psutil

HELD = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)


def memory(pid: int) -> int:
    """Bytes that a process and all that it started hold, but for files that are mapped.

    What two processes share counts twice.
    """
    total = 0
    with suppress(psutil.Error):
        first = psutil.Process(pid)
        for process in [first, *first.children(recursive=True)]:
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                total += 1024 * sum(map(int, HELD.findall(status)))
    return total
