"""What the numbers of a sweep depend on, as texts that another process can compare.

A folder of finished blocks is only worth something if it is certain whose they are: the weights
do not tell (a model with another rotary base has the same), nor does the name of a metric.

Nor does the code of a metric: it may read a file, a module, an object with weights. So whoever
brings a metric vouches for it with an identity. What can be seen of it (its code, that of the
functions of its author that it calls, the values that they read) is compared as well,
for the day on which the identity is forgotten; it is not what the certainty rests on.
"""

import contextlib
import functools
import hashlib
import json
import platform
import sysconfig
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any

import numpy as np
import torch

from pathpatch.errors import PathPatchError
from pathpatch.metrics import METRICS, Metric
from pathpatch.models.weights import PLAIN, settings
from pathpatch.nodes import Model
from pathpatch.prompts import Prompts

OTHERS = ("torch", "transformers", "transformer-lens", "numpy")  # what else computes the numbers
ROOT = Path(__file__).parents[1]
# Where functions are whose versions are compared: `library`.
INSTALLED = (*(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")), str(ROOT))


def identity(model: Model, prompts: Prompts, metric: Metric, vouched: str) -> dict[str, str]:
    """What a sweep's numbers depend on, beside the weights, token ids and nodes.

    vouched: what the caller calls a metric that is not the library's (`SweepOptions.identity`).
    Raises: PathPatchError where that is missing.
    """
    return {
        "metric_source": metric_source(metric, vouched),
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
    for path in sorted(ROOT.rglob("*.py")):
        source.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    versions = [f"python {platform.python_version()}", *(f"{n} {version(n)}" for n in OTHERS)]
    return ", ".join([*versions, f"pathpatch {source.hexdigest()[:16]}"])


def metric_source(metric: Metric, vouched: str = "") -> str:
    """The name of a metric of this library; a hash of the identity and the sight of any other.

    Raises: PathPatchError for a metric of the caller's without an identity.
    """
    for name, known in METRICS.items():
        if metric is known:
            return name
    if not vouched:
        name = getattr(metric, "__name__", repr(metric))
        raise PathPatchError(
            f"the finished blocks of a sweep cannot be kept for a metric of your own ({name}): "
            f"nobody can see all that it computes with. Say what it is, as in "
            f"SweepOptions(folder=..., identity='log odds, version 1'), and another version when "
            f"something of that changes; or take logit_diff, answer_prob, or no folder"
        )
    return digest("\n".join([vouched, *_seen(metric, set())]))


def _seen(thing: Any, known: set[int]) -> Iterator[str]:
    """The code of a function, the values that it reads or holds, and the same of functions among
    them, unless they came with Python, a package, or this library."""
    held: dict[Any, Any] = {}
    if isinstance(thing, PLAIN):
        yield repr(thing)
        return
    if id(thing) in known:  # a list may hold itself
        return
    known.add(id(thing))
    if isinstance(thing, torch.Tensor | np.ndarray):
        yield numbers(thing)
    elif isinstance(thing, list | tuple | dict):
        held = thing if isinstance(thing, dict) else dict(enumerate(thing))
    elif isinstance(thing, functools.partial):
        held = {"of": thing.func, "arguments": thing.args, **thing.keywords}
    elif isinstance(thing, FunctionType) and not thing.__code__.co_filename.startswith(INSTALLED):
        codes = list(_codes(thing.__code__))
        yield from map(_text, codes)
        names = {name for code in codes for name in code.co_names} & thing.__globals__.keys()
        held = {name: thing.__globals__[name] for name in sorted(names)}
        cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
        held["around"] = {name: _content(cell) for name, cell in cells}
        held["defaults"] = [thing.__defaults__, thing.__kwdefaults__, dict(vars(thing))]
    for name, value in held.items():
        yield f"{name!r}:"
        yield from _seen(value, known)


def _content(cell: CellType) -> Any:
    """What a name of the function around stands for; None where it has no value yet."""
    with contextlib.suppress(ValueError):
        return cell.cell_contents


def numbers(values: Any) -> str:
    """Of an array; of kinds that have none to show, such as sparse tensors, only the shape; of no
    array nothing."""
    if values is None:
        return ""
    with contextlib.suppress(Exception):  # of every class
        values = torch.as_tensor(values, device="cpu").detach().double().numpy()
        return f"{values.shape} {hashlib.sha256(values.tobytes()).hexdigest()}"
    return f"{tuple(values.shape)}"


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code and that of what is defined inside: comprehensions, lambdas."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _text(code: CodeType) -> str:
    """The code without names of files and numbers of lines: moving a function changes nothing."""
    plain = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    said = [sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c) for c in plain]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {said}"
