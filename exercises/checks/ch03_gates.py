"""The check of 3.4: the smallest sets of heads that break a gate, or bring it back."""

from collections.abc import Callable, Iterator
from itertools import combinations, product
from random import Random
from typing import Any

from exercises.checks.cases import Case, check
from exercises.checks.rules import TIDIED

Bits = tuple[int, ...]
Sets = list[list[int]]


def _drawn(random: Random) -> Iterator[Case]:
    while True:
        yield _case(random, 2, all)
        yield _case(random, 2, any)
        yield _case(random, 3, lambda on: sum(on) >= 2)
        yield _case(random, 3, lambda on: (on[0] and on[1]) or on[2])
        yield _case(random, 4, lambda on: (on[0] or on[1]) and on[2], idle=1)
        yield _case(random, 4, random.choice((all, any)))
        yield _case(random, 3, all, idle=1)
        yield _any_gate(random, 3)
        yield _any_gate(random, 4)
        yield _any_gate(random, 4, idle=1)


def _case(random: Random, n: int, output: Callable[[list[bool]], Any], idle: int = 0) -> Case:
    """A gate of what is as in the clean run; in which order its heads come is drawn.

    idle: heads that have one value in both runs.
    """
    clean = tuple(random.randint(0, 1) for _ in range(n))
    order = random.sample(range(n), n)
    still = order[n - idle :]
    corrupt = tuple(bit if i in still else 1 - bit for i, bit in enumerate(clean))
    gate = {
        bits: int(bool(output([bits[i] == clean[i] for i in order])))
        for bits in product((0, 1), repeat=n)
    }
    return _shown(gate, clean, corrupt)


def _any_gate(random: Random, n: int, idle: int = 0) -> Case:
    """A gate without any rule."""
    clean = tuple(random.randint(0, 1) for _ in range(n))
    still = random.sample(range(n), idle)
    corrupt = tuple(bit if i in still else 1 - bit for i, bit in enumerate(clean))
    gate = {bits: random.randint(0, 1) for bits in product((0, 1), repeat=n)}
    return _shown(gate | {clean: 1, corrupt: 0}, clean, corrupt)


def _shown(gate: dict[Bits, int], clean: Bits, corrupt: Bits) -> Case:
    ones = [bits for bits, output in gate.items() if output]
    shown = f"smallest_sets(gate, {clean}, {corrupt}), a gate that is 1 for {ones} only"
    return Case(shown, (gate, clean, corrupt))


@check(
    _drawn,
    10,
    advice="Write out the mixed run of one set: the value of each head, and the output.",
    tidy=TIDIED["smallest_sets"],
)
def smallest_sets(gate, clean, corrupt, *, slip):
    n = len(clean)
    found = {}
    for way, base, other, goal in (
        ("noising", clean, corrupt, 0),
        ("denoising", corrupt, clean, 1),
    ):
        if slip("noising and denoising have changed places"):
            base, other, goal = other, base, 1 - goal
        if slip("both directions start from the clean run"):
            base, other, goal = clean, corrupt, 0
        if slip("both directions start from the corrupt run"):
            base, other, goal = corrupt, clean, 1
        if slip("it is asked where the output stays as it was, and not where it changes"):
            goal = 1 - goal
        if slip("a patched head is flipped; it gets its value of the other run"):
            other = tuple(1 - bit for bit in base)
        if slip("a patched head is set to 0; it gets its value of the other run"):
            other = (0,) * n
        if slip("a patched head is set to 1; it gets its value of the other run"):
            other = (1,) * n
        if slip("the heads of a set keep their values and all others are patched"):
            base, other = other, base
        good = [
            list(chosen) for chosen in _all_sets(n) if goal == gate[_mixed(base, other, chosen)]
        ]
        found[way] = _kept(good, n, slip)
    if slip("the sets are counted, and not listed"):
        return {way: len(sets) for way, sets in found.items()}
    if slip("the size of the sets is returned, and not the sets"):
        return {way: len(sets[0]) for way, sets in found.items()}
    return found


def _all_sets(n: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, n + 1):
        yield from combinations(range(n), size)


def _mixed(base: Bits, other: Bits, chosen: tuple[int, ...]) -> Bits:
    return tuple(other[i] if i in chosen else base[i] for i in range(len(base)))


def _kept(good: Sets, n: int, slip: Any) -> Sets:
    """Which of the sets that succeed are returned; they come in the order of their size."""
    if slip("sets of all sizes are returned, and not only the smallest"):
        return good
    if slip("every set is returned that needs all its heads, and not only the smallest"):
        return [one for one in good if not any(set(other) < set(one) for other in good)]
    if slip("only single heads are tried"):
        return [one for one in good if len(one) == 1]
    if slip("sets of three heads and more are not tried"):
        good = [one for one in good if len(one) <= 2]
    if slip("only the first of the smallest sets is returned"):
        good = good[:1]
    if slip("only the last of the smallest sets is returned"):
        smallest = [one for one in good if len(one) == len(good[0])]
        good = smallest[-1:]
    if slip("the largest sets are returned, and not the smallest"):
        return [one for one in good if len(one) == len(good[-1])]
    sets = [one for one in good if len(one) == len(good[0])]
    if slip("the heads of all smallest sets are put into one"):
        return [sorted({head for one in sets for head in one})]
    if slip("heads are counted from 1"):
        return [[head + 1 for head in one] for one in sets]
    return sets
