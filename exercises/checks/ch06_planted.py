"""Check of chapter 6: the capstone (6.3), a walk through a planted circuit."""

from collections.abc import Iterator
from typing import Any

from exercises.checks.cases import CLOSE, Case, Wrong, checks
from exercises.planted import Edges, true_edges
from pathpatch import Node, PathPatchError

FORM = '("1.0.z@END", "2.0.q@END")'
SHOWN = 3  # of many mistakes of one kind


@checks
def planted_circuit() -> Iterator[Case]:
    def compare(function: Any) -> dict[str, str]:
        found = function()
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
            raise Wrong(f"came back {found!r}\n  expected  your key, and a dict of edges")
        key, rows = found
        if not isinstance(key, str) or not key:
            raise Wrong(f"the key is {key!r}; expected the key that you were given, or your name")
        edges, true = {_pair(pair): _number(pair, x) for pair, x in rows.items()}, true_edges(key)
        if problems := _problems(edges, true):
            here = f"{len(edges.keys() & true.keys())} of {len(true)} edges are found."
            raise Wrong("\n  ".join([here, *problems]))
        return {}

    yield Case("planted_circuit()", compare, {})


def _pair(pair: Any) -> tuple[str, str]:
    try:
        one, other = pair
        return str(Node.parse(str(one))), str(Node.parse(str(other)))
    except (PathPatchError, TypeError, ValueError) as error:
        raise Wrong(f"an edge is {pair!r}; it must look like {FORM}") from error


def _number(pair: Any, change: Any) -> float:
    try:
        return float(change)
    except (TypeError, ValueError) as error:
        raise Wrong(f"the effect of {pair} is {change!r}; expected a number") from error


def _problems(edges: Edges, true: Edges) -> list[str]:
    none = [_why_not(pair, true) for pair in edges.keys() - true.keys()]
    both = edges.keys() & true.keys()
    off = [pair for pair in both if abs(edges[pair] - true[pair]) > CLOSE]
    signs = [pair for pair in off if abs(edges[pair] + true[pair]) < CLOSE]
    sizes = [f"{_arrow(p)} is an edge, but its effect is not {edges[p]:g}." for p in off]
    if signs:
        sizes = [f"The sign of {_arrow(min(signs))} is turned round: patched minus before."]
    missing = []
    if absent := true.keys() - edges.keys():
        last = max(receiver for _, receiver in absent)  # the logits come after all digits
        where = "to the logits" if last[0] == "l" else f"to a head of layer {last[0]}"
        missing = [f"{len(absent)} missing, one of them {where}: sweep all its inputs."]
    return _some(none) + _some(sizes) + missing


def _some(lines: list[str]) -> list[str]:
    more = [f"And {len(lines) - SHOWN} more like these."] if len(lines) > SHOWN else []
    return sorted(lines)[:SHOWN] + more


def _arrow(pair: tuple[str, str]) -> str:
    return f"{pair[0]} -> {pair[1]}"


def _why_not(pair: tuple[str, str], true: Edges) -> str:
    """Why a pair is no edge."""
    here, head = f"{_arrow(pair)} is no edge", pair[0].split(".z")[0]
    heads = [_heads(other) for other in true]
    if _heads(pair) in heads:
        doors = [other[1] for other in true if _heads(other) == _heads(pair)]
        if Node.parse(pair[1]).kind in [Node.parse(door).kind for door in doors]:
            return f"{here}: these two heads are joined, but at another position."
        return f"{here}: these two heads are joined, but through another door."
    if head in [one for one, _ in heads]:
        return (
            f"{here}: {head} belongs to the circuit, but reaches this only through other heads. "
            "Freeze them: that is what path patching is for."
        )
    return f"{here}: {head} writes where nobody reads. Does it change the logit difference?"


def _heads(pair: tuple[str, str]) -> tuple[str, str]:
    """The pair without doors and positions."""
    one, other = (Node.parse(name) for name in pair)
    return f"{one.layer}.{one.head}", f"{other.layer}.{other.head}"
