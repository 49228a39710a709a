"""The door of the room: hand in a function and its arguments, get plain values."""

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle

from exercises.room.inputs import pack
from exercises.room.plain import from_plain
from exercises.room.process import FORK, leave, warm

LARGEST = 1 << 25  # bytes of a reply; what the largest right answer takes is a hundredth of it
LONG = 5_000  # characters of a text in a reply
START = 300.0  # seconds for the process to load torch, on a machine that is busy otherwise


@dataclass(frozen=True)
class Page:
    """The text of a file that the room cannot read by itself, and its name without folders."""

    name: str
    text: str


Source = Callable[..., Any] | Path | Page


class RoomError(Exception):
    """The process of the room is gone, or said something that is no reply."""


class SessionError(RoomError):
    """The session has ended itself. The room is ready for the next one."""


@dataclass(frozen=True)
class Reply:
    """What came of one call.

    result: a plain value; there is one if `returned`. error: kind, text, frames of an exception.
    late: the limit in seconds, where it did not come back. died: the exit code, where it ended the
    process. changed: arguments that are not as before, in words. settings: settings of the process
    that are not. passes: what `passes.noted` saw. printed: what the function printed.
    """

    returned: bool = False
    result: Any = None
    error: dict[str, Any] = field(default_factory=dict)
    late: float | None = None
    died: int | None = None
    changed: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    passes: list[dict[str, Any]] = field(default_factory=list)
    printed: str = ""


class Session:
    """A learner's functions in the room. trouble: what could not be read, in words."""

    def __init__(self, line: Connection, opened: dict[str, Any]) -> None:
        self._line = line
        self.trouble = str(opened.get("trouble", ""))[:LONG]
        self.functions = [str(name) for name in opened.get("names", [])]

    def call(
        self,
        function: str,
        names: list[str],
        args: tuple[Any, ...],
        limit: float,
        first: tuple[Any, ...] | None = None,
    ) -> Reply:
        """Call a function once, in a process of its own.

        names: of the arguments. limit: seconds of processor time. first: arguments of a call before
        that one, in the same process, whose result does not count.
        """
        order = {"do": "call", "function": function, "names": names, "limit": limit}
        self._line.send_bytes(pickle.dumps(order | {"args": pack((first, args))}))
        return _reply(_read(self._line, START + 10 * limit))


def _reply(row: dict[str, Any]) -> Reply:
    """A reply in its form. Raises: RoomError for another one, which no room of ours sends."""
    late, died, error = row.get("late"), row.get("died"), row.get("error", {})
    try:
        returned = "result" in row
        result = from_plain(row["result"]) if returned else None
        return Reply(
            returned,
            result,
            {
                **{key: str(error[key])[:LONG] for key in ("kind", "text", "file", "takes")},
                "frames": [
                    (str(f), int(n), str(name), str(t)) for f, n, name, t in error["frames"]
                ],
            }
            if error
            else {},
            None if late is None else float(late),
            None if died is None else int(died),
            [str(name)[:LONG] for name in row.get("changed", [])],
            [str(name)[:LONG] for name in row.get("settings", [])],
            [
                {
                    "of": str(one["of"])[:LONG],
                    "by": str(one["by"])[:LONG],
                    "reads": [str(node)[:LONG] for node in one["reads"]],
                    "writes": [str(node)[:LONG] for node in one["writes"]],
                }
                for one in row.get("passes", [])
            ],
            str(row.get("printed", ""))[:LONG],
        )
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as failed:
        raise RoomError(f"not a reply: {type(failed).__name__}") from failed


@contextmanager
def session(source: Source, name: str, limit: float) -> Iterator[Session]:
    """Open the room for a function (name: by which it is called), or for all those of a file.

    Raises: RoomError when the process is gone.
    """
    line = warm().line
    try:
        line.send_bytes(pickle.dumps(_order(source, name, limit)))
        yield Session(line, _read(line, START + 100 * limit))
        line.send_bytes(pickle.dumps({"do": "close"}))
        if line.recv_bytes(LARGEST) != b"closed":
            raise RoomError("the room was left untidy")
        if not FORK:
            leave()
    except SessionError:
        raise
    except (OSError, EOFError, RoomError) as error:
        leave()
        raise RoomError(str(error) or type(error).__name__) from error
    except BaseException:  # Ctrl-C, or an error of ours, in the middle of a call
        leave()
        raise


def _order(source: Source, name: str, limit: float) -> dict[str, Any]:
    if isinstance(source, Page):
        return {"do": "open", "name": source.name, "text": source.text, "limit": limit}
    if isinstance(source, Path):
        return {"do": "open", "path": str(source), "limit": limit}
    inner = getattr(source, "func", source)  # of a functools.partial
    owners = {getattr(thing, "__module__", "") for thing in (inner, type(inner))}
    modules = [sys.modules[name] for name in owners if name in sys.modules]
    own = [m for m in modules if m.__name__.partition(".")[0] not in OTHERS]
    for module in own:  # the room need not find the file in which the function stands
        cloudpickle.register_pickle_by_value(module)
    try:
        data = cloudpickle.dumps(source)
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)
    return {"do": "open", "function": name, "pickle": data, "sys.path": sys.path}


OTHERS = {"__main__", "pathpatch", "exercises", "torch", *sys.stdlib_module_names}


def _read(line: Connection, patience: float) -> dict[str, Any]:
    if not line.poll(patience):
        raise RoomError("no reply")
    if (data := line.recv_bytes(LARGEST)) == b"closed":
        raise SessionError("it ended itself")
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError, RecursionError) as error:
        raise RoomError(f"not a reply: {error}") from error
