"""The door of the library: a public call that gets a thing of a wrong kind is told so here.

What a parameter may be is in its annotation, so this file knows no function. Before a call it asks
for what is of a class of its own: is this a model, are these prompts, is it a generator of numpy?
Texts, numbers, lists and arrays are judged by the functions, which know more; only where one of
them stumbles are its annotations asked about these, too. Where a call has both a model and prompts,
these must be the model's: texts that its tokenizer reads so.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from jaxtyping import Shaped, jaxtyped

from pathpatch.cli.texts import check_texts
from pathpatch.cli.words import BY_NAME, PLAIN, WIDE, WORDS
from pathpatch.errors import PathPatchError
from pathpatch.forward import Run
from pathpatch.metrics import METRICS
from pathpatch.nodes import Node
from pathpatch.prompts import Pair, Prompts, Tokens
from pathpatch.tasks.facts import Fact

# These hold what somebody wrote, which gets a sentence for each row when it is used.
WRITTEN = (Node, Pair, Fact)
OFTEN = (Tokens, Run, Prompts)  # a pass makes and asks these thousands of times


def at_the_door(thing: Any) -> Any:
    """A function of which every call is looked at, or a class with such methods.

    Metrics, which the library knows by identity, look after themselves.
    """
    if inspect.isfunction(thing) and thing not in METRICS.values():
        look = _looked_at(thing)
        setattr(sys.modules[thing.__module__], thing.__name__, look)  # where pickle finds it
        return look
    parts = vars(thing) if inspect.isclass(thing) else {}
    for name, part in list(parts.items()):
        method = getattr(part, "__func__", part)  # of a static method
        public = thing not in WRITTEN if name == "__init__" else not name.startswith("_")
        if inspect.isfunction(method) and method not in METRICS.values() and public:
            look = _looked_at(method, first=thing not in (*WRITTEN, *OFTEN))
            setattr(thing, name, look if part is method else staticmethod(look))
    return thing


def _looked_at(function: Any, first: bool = True) -> Any:
    """The function, and a sentence when it gets what it cannot use. first: before it runs."""
    signature = inspect.signature(function)
    hints = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    hints.pop("self", None)
    of_classes = {name: hint for name, hint in hints.items() if not _is_plain(hint)}
    who = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def look(*args: Any, **kwargs: Any) -> Any:
        if first:
            _check_call(who, signature, of_classes, args, kwargs)
        try:
            result = function(*args, **kwargs)
        except PathPatchError:
            raise
        except Exception as error:
            _check_call(who, signature, hints, args, kwargs, error)
            raise
        if first and function.__name__ == "__init__":  # which keeps what came, and would stumble
            _check_call(who, signature, hints, args, kwargs)
        return result

    return look if hints else function


def _check_call(
    who: str,
    signature: inspect.Signature,
    hints: dict[str, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: Exception | None = None,
) -> None:
    with contextlib.suppress(TypeError):  # too many, too few: Python says that well
        _check(who, signature.bind(*args, **kwargs).arguments, hints, error)


def _check(
    who: str, given: Mapping[str, Any], hints: dict[str, Any], error: Exception | None = None
) -> None:
    """Raises: PathPatchError for the first value of a kind that its annotation does not have."""
    with jaxtyped("context"):  # a dimension that two arrays share is of one length
        for name in [name for name in given if name in hints]:
            value, hint = given[name], hints[name]
            if hint is Any and name in BY_NAME:
                needs, words = BY_NAME[name]
                right = needs(value)
            else:
                right, words = _fits(value, hint), ""
            if not right:
                said = f"{who}: {name} must be {words or in_words(hint)}; got {_came(value)}"
                raise PathPatchError(said) from error
    for some in (given.get("prompts"), getattr(given.get("rules"), "over", None)):
        if error is None and "model" in given and isinstance(some, Prompts):
            check_texts(given["model"], some)


def _came(value: Any) -> str:
    if value is None or isinstance(value, str | int | float):
        return repr(value)
    name, shape = type(value).__name__, getattr(value, "shape", None)
    article = "an" if name[0] in "aeiouAEIOU" or name == "ndarray" else "a"
    return f"{article} {name}" + (f" of shape {list(shape)}" if shape is not None else "")


def _is_plain(hint: Any) -> bool:
    """Whether it is Python's own, or an array."""
    inside = get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint]
    return any(_kind(one) in PLAIN for one in inside)


def _kind(hint: Any) -> Any:
    """The class of an annotation; None for those that no value is checked against."""
    kind = getattr(hint, "array_type", None) or get_origin(hint) or hint  # jaxtyping has array_type
    kind = WIDE.get(kind, kind)
    return kind if isinstance(kind, type) and kind not in (Any, Union, UnionType) else None


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    kind, inside = _kind(hint), get_args(hint)
    if kind is None:
        return True
    if not isinstance(value, kind) or (kind is Iterable and isinstance(value, str)):
        return False
    if hasattr(hint, "dim_str"):
        shaped: Any = Shaped[kind, hint.dim_str]
        return isinstance(value, shaped)
    if get_origin(hint) is tuple and ... not in inside:  # each item has a kind of its own
        return len(value) == len(inside) and all(map(_fits, value, inside))
    # What is in lists and dicts is looked at, too, but not in iterators: that would use them up.
    if kind in (Iterable, Mapping) and inside and hasattr(value, "__len__"):
        items, of = (value.values(), inside[-1]) if kind is Mapping else (value, inside[0])
        return all(_fits(item, of) for item in items)
    return True


def in_words(hint: Any) -> str:
    """What would work."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(in_words, get_args(hint)))
    kind, inside = _kind(hint), get_args(hint)
    words = WORDS.get(kind, getattr(kind, "__name__", "another"))
    if hasattr(hint, "dim_str"):
        return f"{words} [{hint.dim_str.strip()}]"
    if get_origin(hint) is tuple and ... not in inside:
        return f"{words} of {', '.join(map(in_words, inside))}"
    of = inside[-1 if kind is Mapping else 0] if inside else None
    if kind in (Iterable, Mapping) and of:
        return f"{words}, each {'value ' * (kind is Mapping)}{in_words(of)}"
    return words
