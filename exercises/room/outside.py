"""What a function takes from the cells around it, in place of its arguments."""

import dis
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

import torch

from pathpatch import HandMade, Prompts, Run, Tokens

HELD = (torch.nn.Module, Prompts, Run, Tokens, HandMade)


def from_outside(function: Callable[..., Any]) -> list[str]:
    """The names of models, prompts and runs that a function uses and was not given."""
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
    return isinstance(thing, HELD)


def _globals_of(code: CodeType) -> set[str]:
    own = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return own.union(*map(_globals_of, inner))
