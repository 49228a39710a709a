"""What the numbers of a sweep depend on, as texts that another process can compare.

A folder of finished blocks is only worth something if it is certain whose they are: the weights
do not tell (a model with another rotary base has the same), nor does the name of a metric.
"""

import dis
import functools
import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from pathpatch.errors import PathPatchError
from pathpatch.metrics import METRICS, Metric
from pathpatch.models.weights import PLAIN, settings
from pathpatch.nodes import Model
from pathpatch.prompts import Prompts

OTHERS = ("torch", "transformers", "transformer-lens", "numpy")  # what else computes the numbers


def identity(model: Model, prompts: Prompts, metric: Metric) -> dict[str, str]:
    """What a sweep's numbers depend on, beside the weights, token ids and nodes.

    Raises: PathPatchError for a metric that cannot be told from another one.
    """
    return {
        "metric_source": metric_source(metric),
        "config": digest(config(model)),
        "dtype": str(model.cfg.dtype),
        "pairs": digest(repr(prompts.pairs)),  # a metric may read them
        "library": library(),
    }


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def config(model: Model) -> str:
    """The configuration, without what only says where the model came from, and the settings."""
    given: Any = getattr(model.original_model, "config", None)
    facts = given.to_dict() if hasattr(given, "to_dict") else vars(model.cfg)
    said = {k: v for k, v in facts.items() if k not in ("_name_or_path", "device", "design")}
    said["query_heads_per_kv"] = model.cfg.query_heads_per_kv
    said["settings"] = digest("\n".join(settings(model)))
    return json.dumps(said, sort_keys=True, default=str)


@functools.cache
def library() -> str:
    """The versions of what computes, and a hash of this library's own source."""
    source = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        source.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    versions = [f"python {platform.python_version()}", *(f"{n} {version(n)}" for n in OTHERS)]
    return ", ".join([*versions, f"pathpatch {source.hexdigest()[:16]}"])


def metric_source(metric: Metric) -> str:
    """The name of a metric of this library; a hash of what any other does and of all it reads.

    Raises: PathPatchError for a lambda, a partial, a closure, a callable object, and a function
    that reads something whose value cannot be compared.
    """
    for name, known in METRICS.items():
        if metric is known:
            return name
    return digest("\n".join(_source(metric, set())))


def _source(function: Any, seen: set[Any]) -> Iterator[str]:
    """What a function does: its compiled code, the values it reads, the functions it calls."""
    if not isinstance(function, FunctionType) or not function.__qualname__.isidentifier():
        raise _unnamed(function, "is not a function of a module, so another may look the same")
    if function.__closure__ or function.__defaults__ or function.__kwdefaults__:
        raise _unnamed(function, "holds values of its own (defaults, or variables around it)")
    seen.add(function)
    yield from _code(function.__code__)
    yield from (f".{k} = {_value(function, k, v)}" for k, v in sorted(vars(function).items()))
    for name in sorted(set(_reads(function.__code__)) & set(function.__globals__)):
        value = function.__globals__[name]
        if isinstance(value, FunctionType) and not _installed(value.__module__):
            if value not in seen:
                yield from _source(value, seen)
        else:
            yield f"{name} = {_value(function, name, value)}"


def _code(code: CodeType) -> Iterator[str]:
    """The code without names of files and numbers of lines: moving a function changes nothing."""
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield str(
                sorted(map(repr, constant)) if isinstance(constant, frozenset) else [constant]
            )


def _reads(code: CodeType) -> Iterator[str]:
    """The names of all globals that a function reads, those inside comprehensions included."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _reads(inner)


def _installed(module: str) -> bool:
    """Whether a module came with Python or a package, so that its name says what it is."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in ("builtins", "pathpatch"):
        return top != "__main__"
    return "-packages" in str(getattr(sys.modules.get(top), "__file__", ""))


def _value(function: FunctionType, name: str, value: Any) -> str:
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, list | tuple):
        return repr([_value(function, name, item) for item in value])
    if isinstance(value, dict):
        return repr([(repr(key), _value(function, name, item)) for key, item in value.items()])
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.shape} {digest(value.tobytes().hex())}"
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if home and _installed(home) and (isinstance(value, ModuleType | type) or callable(value)):
        return f"{home}.{getattr(value, '__qualname__', '')}"
    raise _unnamed(function, f"reads {name!r}, a {type(value).__name__} that cannot be compared")


def _unnamed(metric: Any, why: str) -> PathPatchError:
    name = getattr(metric, "__qualname__", None) or repr(metric)
    return PathPatchError(
        f"the finished blocks of a sweep cannot be kept for the metric {name}: it {why}; what "
        f"would work: a function written with def at the top of a module, which reads only "
        f"numbers, texts and tensors there (or no folder)"
    )
