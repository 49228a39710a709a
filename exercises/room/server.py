"""Inside the room: python -m exercises.room.server FD. `room` is the other side.

Three processes, each a copy (fork) of the one before it, so that nothing outlives its purpose: the
server has loaded torch and is asked for many checks; a session has read the learner's functions;
a call has its arguments, runs one function, and writes what came of it as JSON.
Where a process cannot be copied safely (macOS), the server is its own session and its own call,
and ends with the session; `room` then starts another one.
"""

import contextlib
import functools
import inspect
import json
import os
import pickle
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch

from exercises.room import inputs, passes, plain, state
from exercises.room.pages import Page, in_time, read_page
from exercises.room.process import FORK

PATIENCE = 4  # how many times its limit a call may take on the clock, on a machine busy otherwise
SHOWN = 4_000  # characters that a function may print


def load() -> None:
    """What is loaded once for all sessions."""
    torch.set_num_threads(1)  # more would wait for one another on models this small, or for ever
    for kind in ("gpt2", "llama"):
        inputs.tiny(kind)


def serve(line: Connection) -> None:
    """Do what is asked on a line, until it is closed."""
    while True:
        try:
            order = pickle.loads(line.recv_bytes())
        except EOFError:
            return
        if order["do"] != "open":
            continue  # meant for a session that has ended
        if not FORK:
            _session(line, order)
            return line.send_bytes(b"closed")
        if (session := os.fork()) == 0:
            _leave(functools.partial(_session, line, order))
        os.waitpid(session, 0)
        line.send_bytes(b"closed")


def _leave(work: Callable[[], None]) -> None:
    """Do the work of a copied process, and end it without what belongs to the original."""
    try:
        work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _session(line: Connection, order: dict[str, Any]) -> None:
    """Read the learner's functions, and run them as often as asked."""
    printed = tempfile.TemporaryFile()  # noqa: SIM115  until the process ends
    os.dup2(printed.fileno(), 1)
    os.dup2(printed.fileno(), 2)
    page = _open(order)
    line.send_bytes(json.dumps({"trouble": page.trouble, "names": page.functions()}).encode())
    while (order := pickle.loads(line.recv_bytes()))["do"] == "call":
        printed.seek(0)
        printed.truncate()
        order["first"], args = inputs.unpack(order["args"])
        reply = _call_apart(line, page, order, args)
        printed.seek(0)
        reply["printed"] = printed.read(SHOWN).decode(errors="replace")
        line.send_bytes(json.dumps(reply).encode())


def _open(order: dict[str, Any]) -> Page:
    if "path" in order:
        return read_page(order["path"], order["limit"])
    if "text" in order:
        path = Path(tempfile.gettempdir()) / order["name"]
        path.write_text(order["text"], encoding="utf-8")
        return read_page(path, order["limit"])
    page = Page()
    sys.path[:] = order["sys.path"]
    try:
        page.names[order["function"]] = cloudpickle.loads(order["pickle"])
    except Exception as error:
        page.trouble = f"the function cannot be handed over: {type(error).__name__}: {error}"
    return page


def _call_apart(
    line: Connection, page: Page, order: dict[str, Any], args: tuple[Any, ...]
) -> dict[str, Any]:
    """A call in a process of its own. What it writes is read until it ends or is out of time."""
    if not FORK:
        return in_time(lambda: _call(page, order, args), PATIENCE * order["limit"])
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        line.close()
        os.close(reading)
        _leave(lambda: _call_and_write(writing, page, order, args))
    os.close(writing)
    late = time.monotonic() + PATIENCE * order["limit"]
    text, ended = b"", False
    while not ended and time.monotonic() < late:
        if select.select([reading], [], [], 0.05)[0]:
            piece = os.read(reading, 1 << 20)
            text, ended = text + piece, not piece
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            ended = not select.select([reading], [], [], 0)[0]
    os.close(reading)
    _kill(child)
    _, status = os.waitpid(child, 0)
    try:
        return dict(json.loads(text))
    except ValueError:
        pass
    over = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    if over or not ended:
        return {"late": order["limit"]}
    return {"died": os.waitstatus_to_exitcode(status) if ended else None}


def _kill(child: int) -> None:
    """The call and everything that it started."""
    for kill in (os.killpg, os.kill):
        try:
            kill(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _call_and_write(writing: int, page: Page, order: dict[str, Any], args: tuple[Any, ...]) -> None:
    os.setsid()
    seconds = int(order["limit"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    text = json.dumps(_call(page, order, args)).encode()
    with os.fdopen(writing, "wb") as file:
        file.write(text)


def _call(page: Page, order: dict[str, Any], args: tuple[Any, ...]) -> dict[str, Any]:
    function = page.names[order["function"]]
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    if order["first"] is not None:
        with contextlib.suppress(BaseException):
            function(*order["first"])
    before, set_before = state.state_of(order["names"], args), state.settings()
    reply: dict[str, Any] = {"passes": []}
    with passes.noted(order["names"], args, reply["passes"]):
        try:
            reply["result"] = plain.to_plain(function(*args))
        except BaseException as error:  # SystemExit and KeyboardInterrupt too
            reply["error"] = _error(function, error)
    reply["settings"] = state.changes(set_before, state.settings())
    reply["changed"] = state.changes(before, state.state_of(order["names"], args))
    _flush()
    return reply


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _error(function: Any, error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    code = getattr(inspect.unwrap(function), "__code__", None)
    try:
        takes = str(inspect.signature(function))
    except (TypeError, ValueError):
        takes = "something that cannot be called like this"
    return {
        "kind": type(error).__name__,
        "text": str(error)[:2000],
        "file": getattr(code, "co_filename", ""),
        "takes": takes,
        "frames": [[f.filename, f.lineno or 0, f.name, f.line or ""] for f in frames[-30:]],
    }


if __name__ == "__main__":
    load()
    serve(Connection(int(sys.argv[1])))
