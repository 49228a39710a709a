"""What runs inside a sandbox, before anything of a learner does. It is a copy of this file.

The keeper has loaded torch. For each learner it copies itself (fork); the copy becomes a user of
its own, locks itself in and opens the room. When the grader says so, the keeper ends everything
that this user has started and empties its folder, and is ready for the next learner. Where it may
not become another user, a keeper has one learner only.

    python inside.py '{"line": 5, "room": ..., "writable": ..., ...}'
"""

import json
import os
import resource
import shutil
import socket
import sys
import tempfile
from multiprocessing.connection import Connection
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> None:
    asked = json.loads(sys.argv[1])
    sys.path[:0] = [asked["room"], HERE]
    import landlock  # noqa: F401  before it can be read no more

    from exercises.room import server

    sys.path.remove(HERE)
    server.load()
    grader = socket.socket(fileno=asked["line"])
    os.set_inheritable(asked["line"], False)
    grader.send(b"ready")
    while True:
        words, lines, _, _ = socket.recv_fds(grader, 1000, 1)
        if not words:
            return
        order = json.loads(words)
        if order["do"] == "begin":
            folder = os.path.join(asked["writable"], f"u{order['uid']}")
            child = _begin(asked, order["uid"], folder, lines[0], grader)
        else:
            _end(order["uid"], child, folder)
            grader.send(b"clean")


def _begin(asked: dict[str, Any], uid: int, folder: str, line: int, grader: socket.socket) -> int:
    os.mkdir(folder, 0o700)
    if (child := os.fork()) != 0:
        os.close(line)
        return child
    try:
        grader.close()
        _become(asked, uid, folder)
        from exercises.room import server

        server.serve(Connection(line))
    finally:
        os._exit(0)


def _become(asked: dict[str, Any], uid: int, folder: str) -> None:
    """This process is a user without rights from now on."""
    import landlock

    os.setsid()
    for name, number in asked["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, most = resource.getrlimit(kind)
        number = number if most == resource.RLIM_INFINITY else min(number, most)
        resource.setrlimit(kind, (number, number))
    if uid:
        os.chown(folder, uid, uid)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.chdir(folder)
    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR"):
        os.environ[name] = folder
    tempfile.tempdir = folder
    if asked["landlock"]:
        landlock.confine(asked["readable"], [folder, "/dev/null"])
    if asked["filter"]:
        landlock.refuse_calls()
    del sys.modules["landlock"]


def _end(uid: int, child: int, folder: str) -> None:
    """Nothing of this user goes on or stays."""
    if uid and os.fork() == 0:
        try:
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, 9)  # all but itself, and before any of them can start another
        finally:
            os._exit(0)
    if not uid:
        os.kill(child, 9)
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
