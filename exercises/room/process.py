"""The process of the room, started before anything heavy is imported here."""

import atexit
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

# Where a process cannot be copied safely (macOS), each session has a process of its own. The
# variable is for a test of that.
FORK = sys.platform == "linux" and "EXERCISES_NO_FORK" not in os.environ


class Room:
    """A process that has loaded torch, or is about to, and the line to it.

    command: what starts it, given the number of its end of the line. more: for `Popen`.
    """

    def __init__(self, command: Callable[[str], Sequence[str]], **more: Any) -> None:
        self.line: Connection
        self.line, other = Pipe()
        self.process = subprocess.Popen(
            command(str(other.fileno())),
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
            **more,
        )
        other.close()

    def close(self) -> None:
        self.line.close()
        self.process.kill()
        self.process.wait()


def beside_us() -> Room:
    """The room of who checks an answer of their own: the same user, the same files."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return Room(
        lambda line: [sys.executable, "-m", "exercises.room.server", line],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )


_rooms: list[Room] = []  # none, or the one that is warm
_makers: list[Callable[[], Room]] = [beside_us]


def furnish(make: Callable[[], Room]) -> None:
    """From now on rooms are made by `make`: whoever grades the answers of others confines them."""
    leave()
    _makers[:] = [make]


def warm() -> Room:
    """The room; it is started where there is none, and stays for the next check."""
    if not _rooms or _rooms[0].process.poll() is not None:
        leave()
        _rooms.append(_makers[0]())
    return _rooms[0]


@atexit.register
def leave() -> None:
    """End the process."""
    while _rooms:
        _rooms.pop().close()
