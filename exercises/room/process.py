"""The process of the room, started before anything heavy is imported here."""

import atexit
import os
import subprocess
import sys
from multiprocessing import Pipe

# Where a process cannot be copied safely (macOS), each session has a process of its own. The
# variable is for a test of that.
FORK = sys.platform == "linux" and "EXERCISES_NO_FORK" not in os.environ


class Room:
    """A process that has loaded torch, or is about to, and the line to it."""

    def __init__(self) -> None:
        self.line, other = Pipe()
        paths = [path or os.getcwd() for path in sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exercises.room.server", str(other.fileno())],
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us
        )
        other.close()

    def close(self) -> None:
        self.line.close()
        self.process.kill()
        self.process.wait()


_rooms: list[Room] = []  # none, or the one that is warm


def warm() -> Room:
    """The room; it is started where there is none, and stays for the next check."""
    if not _rooms or _rooms[0].process.poll() is not None:
        leave()
        _rooms.append(Room())
    return _rooms[0]


@atexit.register
def leave() -> None:
    """End the process."""
    while _rooms:
        _rooms.pop().close()
