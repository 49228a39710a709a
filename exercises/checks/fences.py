"""What keeps a check apart from the function it checks: time, randomness, changes, leftovers."""

import ctypes
import dis
import inspect
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pathpatch import HandMade, Prompts, Run, Tokens

OUTSIDE = (Tensor, torch.nn.Module, Prompts, Run, Tokens, HandMade)
PATIENCE = 4  # how many times its limit a call may take on the clock, on a machine busy otherwise


class TooLongError(Exception):
    """A call did not come back."""


def in_time(call: Callable[[], Any], limit: float) -> Any:
    """The result of a call; it runs in a thread, so that a loop without end can be left.

    limit: seconds of processor time, so that other work on the machine does not count against the
    call. One that only waits is stopped after `PATIENCE` times as many seconds of the clock.

    Raises: TooLongError, or what the call raised.
    """
    found: dict[str, Any] = {}

    def work() -> None:
        try:
            found["value"] = call()
        except BaseException as error:
            found["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    computed, started = time.process_time(), time.monotonic()
    thread.start()
    while thread.is_alive() and time.process_time() - computed < limit:
        if time.monotonic() - started > PATIENCE * limit:
            break
        thread.join(limit / 100)
    if thread.is_alive():
        stop = ctypes.py_object(SystemExit)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), stop)
        thread.join(10)  # so that its own clean-up is done before ours
        raise TooLongError(f"it had not come back after {limit:g} seconds, and was stopped")
    if "error" in found:
        raise found["error"]
    return found["value"]


@contextmanager
def same_conditions() -> Iterator[None]:
    """What a check draws does not change what the learner draws next, and the reverse.

    And one thread: on models this small, more only wait for one another, on a busy machine seconds.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads = torch.get_num_threads()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads(threads)


def tensors(of: Any) -> Iterator[Tensor]:
    """Every tensor in a model, a run, prompts, or a collection of them."""
    if isinstance(of, Tensor):
        yield of
    elif isinstance(of, torch.nn.Module):
        yield from of.parameters()
    elif is_dataclass(of):
        yield from tensors([getattr(of, field.name) for field in fields(of)])
    elif isinstance(of, Mapping):
        yield from tensors(list(of.values()))
    elif isinstance(of, list | tuple):
        for part in of:
            yield from tensors(part)


def copies(given: Any) -> list[Tensor]:
    """What `put_back` needs, taken before a call."""
    return [tensor.detach().clone() for tensor in tensors(given)]


@torch.no_grad()
def put_back(given: Any, before: list[Tensor]) -> str:
    """Undo what a call did to what it was given. Returns: what that was, in words; nothing: ""."""
    words = ""
    for model in [part for part in given if isinstance(part, torch.nn.Module)]:
        points: Mapping[str, Any] = model.hook_dict  # type: ignore[assignment]
        if left := [name for name, point in points.items() if point.fwd_hooks]:
            model.reset_hooks()  # type: ignore[operator]
            words = (
                f"Hooks are left behind on the model ({left[0]}): every later run would be patched "
                "too. Use run_with_hooks, which takes them off again."
            )
    for part in given:
        own = list(tensors(part))
        old, before = before[: len(own)], before[len(own) :]
        changed = [(new, kept) for new, kept in zip(own, old, strict=True) if _differ(new, kept)]
        for new, kept in changed:
            new.copy_(kept)
        if changed and isinstance(part, torch.nn.Module):
            words = words or "The weights of the model are changed. Patch values, not weights."
        elif changed:
            words = words or (
                f"What you were given is changed (a {type(part).__name__}): whoever uses it next "
                "gets other numbers. Change a copy: `x = x.clone()`."
            )
    return words


def _differ(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and not torch.equal(one, other)


def from_outside(function: Callable[..., Any]) -> list[str]:
    """Models, prompts and tensors that a function takes from the cells around it."""
    seen: set[str] = set()
    todo, found = [inspect.unwrap(function)], []
    around = getattr(todo[0], "__globals__", {})
    while todo:
        code = getattr(todo.pop(), "__code__", None)
        for name in _globals_of(code) if code else set():
            if name in seen or name not in around:
                continue
            seen.add(name)
            thing = around[name]
            if _holds(thing):
                found.append(name)
            elif getattr(thing, "__globals__", None) is around:
                todo.append(thing)  # a helper in the same file
    return sorted(found)


def _holds(thing: Any, depth: int = 2) -> bool:
    """Whether a value is one of those that a function must be given, or has one in it."""
    if isinstance(thing, dict | list | tuple) and not isinstance(thing, Run):
        parts = thing.values() if isinstance(thing, dict) else thing
        return depth > 0 and any(_holds(part, depth - 1) for part in parts)
    return isinstance(thing, OUTSIDE)


def _globals_of(code: CodeType) -> set[str]:
    own = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return own.union(*map(_globals_of, inner))
