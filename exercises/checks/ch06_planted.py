"""Check of chapter 6: the capstone (6.3), a walk through a planted circuit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from exercises.checks.cases import Wrong, examined
from exercises.checks.compare import CLOSE, describe
from exercises.planted import drawn
from exercises.room.plain import Array
from pathpatch import Node, PathPatchError

FORM = '("1.0.z@END", "2.0.q@END")'
Pair = tuple[str, str]
Edges = dict[Pair, float]  # (sender, receiver) -> change of the logit difference


def true_edges(key: str) -> Edges:
    """The edges from heads to heads and to the logits, as the wiring has them."""
    _, wiring = drawn(key)
    (first, *_), (second, *_), movers = wiring.numbers
    inhibit = f"1.{second}"
    total = float(sum(wiring.says))
    edges: Edges = {(f"0.{first}.z@S2", f"{inhibit}.{wiring.door}@S2"): -total}
    for number, times in zip(movers, wiring.says, strict=False):
        edges[f"{inhibit}.z@END", f"2.{number}.q@END"] = -float(times)
        edges[f"2.{number}.z@END", "logits@END"] = -float(times)
    return edges


@examined
def planted_circuit(found: Any) -> None:
    if not (isinstance(found, tuple | list) and len(found) == 2):
        raise Wrong(f"came back {describe(found)}\n  expected  your key, and a dict of edges")
    key, rows = found
    if not isinstance(key, str) or not key:
        raise Wrong(f"the key is {key!r}; expected the key that you were given, or your name")
    edges, true = _edges(rows), true_edges(key)
    if problem := _problem(edges, true):
        here = len(edges.keys() & true.keys())
        raise Wrong(f"{here} of {len(true)} edges are found.\n  {problem}")


def _edges(rows: Any) -> Edges:
    """A dict, or a list of edges with their effects. Raises: Wrong for another form."""
    given = list(rows.items()) if isinstance(rows, Mapping) else rows
    if not isinstance(given, list | tuple):
        raise Wrong(f"came back {describe(rows)}\n  expected  your key, and a dict of edges")
    edges: Edges = {}
    for row in given:
        if not (isinstance(row, list | tuple) and len(row) in (2, 3)):
            raise Wrong(f"an edge is {describe(row)}; it must look like {FORM}, with its effect")
        *ends, effect = row
        pair = _pair(ends[0] if len(ends) == 1 else ends)
        number = _number(pair, effect)
        if abs(edges.get(pair, number) - number) > CLOSE:
            raise Wrong(f"{_arrow(pair)} is there twice, with different effects.")
        edges[pair] = number
    return edges


def _pair(pair: Any) -> Pair:
    """An edge in the form of the truth. The logits are those at END, with or without its name."""
    try:
        if isinstance(pair, str):
            raise ValueError("a text, and not two nodes")
        sender, receiver = (Node.parse(str(end)) for end in pair)
    except (PathPatchError, TypeError, ValueError) as error:
        raise Wrong(f"an edge is {pair!r}; it must look like {FORM}: {error}") from error
    if receiver.kind == "logits" and receiver.at is None:
        receiver = replace(receiver, at="END")
    for node in (sender, receiver):
        if node.at is None:
            raise Wrong(f"{node} has no position; an edge must look like {FORM}")
    return str(sender), str(receiver)


def _number(pair: Pair, effect: Any) -> float:
    if isinstance(effect, Array) and effect.values.numel() == 1:
        effect = effect.values.item()
    if isinstance(effect, bool) or not isinstance(effect, int | float):
        raise Wrong(f"the effect of {_arrow(pair)} is {describe(effect)}; expected a number")
    return float(effect)


def _problem(edges: Edges, true: Edges) -> str:
    """One thing at a time: an edge that is none, one with another effect, one that is missing."""
    if none := sorted(edges.keys() - true.keys(), key=lambda pair: _why_not(pair, true)[0]):
        return f"{_count(none, 'is no edge', 'are no edges')}. {_why_not(none[0], true)[1]}"
    off = sorted(p for p in edges if not abs(edges[p] - true[p]) <= CLOSE * (1 + abs(true[p])))
    if off and all(abs(edges[pair] + true[pair]) < CLOSE for pair in off):
        return f"The sign of {_arrow(off[0])} is turned round: patched minus before."
    if off:
        ratios = {round(edges[pair] / true[pair], 6) for pair in true if pair in edges}
        if len(ratios) == 1 and len(off) > 1:
            return "All effects are off by one factor: the change is asked for, in logits."
        return f"{_arrow(off[0])} is an edge, but its effect is not {edges[off[0]]:g}."
    if missing := true.keys() - edges.keys():
        last = max(receiver for _, receiver in missing)  # the logits come after all digits
        where = "to the logits" if last[0] == "l" else f"to a head of layer {last[0]}"
        return f"{len(missing)} missing, one of them {where}: sweep all its inputs."
    return ""


def _count(pairs: list[Pair], one: str, more: str) -> str:
    return f"1 of yours {one}" if len(pairs) == 1 else f"{len(pairs)} of yours {more}"


def _arrow(pair: Pair) -> str:
    return f"{pair[0]} -> {pair[1]}"


def _why_not(pair: Pair, true: Edges) -> tuple[int, str]:
    """Why a pair is no edge, and how early that should be said."""
    name, (sender, receiver) = f"{_arrow(pair)} is none", map(Node.parse, pair)
    ends, circuit = [_ends(other) for other in true], {_ends(other)[0] for other in true}
    if sender.kind != "z" or receiver.kind not in ("q", "k", "v", "logits"):
        return 0, f"{name}: an edge goes from a head (z) to a head's q, k or v, or to the logits."
    if sender.at != receiver.at:
        return 1, (
            f"{name}: a direct path stays in its position; only heads carry anything elsewhere, "
            "and they are frozen."
        )
    if _ends(pair) in ends:
        doors = [Node.parse(other[1]).kind for other in true if _ends(other) == _ends(pair)]
        if receiver.kind in doors:
            return 2, f"{name}: these two heads are joined, but at another position."
        return 2, f"{name}: these two heads are joined, but through another door."
    if _ends(pair)[0] in circuit:
        return 3, (
            f"{name}: {_ends(pair)[0]} belongs to the circuit, but reaches this only through "
            "other heads, or not at all. Freeze them: that is what path patching is for."
        )
    return 4, f"{name}: {_ends(pair)[0]} writes where nobody reads."


def _ends(pair: Pair) -> Pair:
    """The pair without doors and positions."""
    one, other = (Node.parse(name) for name in pair)
    return f"{one.layer}.{one.head}", f"{other.layer}.{other.head}"
