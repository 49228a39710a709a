"""The check of 2.1: pairs of prompts that differ in one fact.

What is drawn differs from answer to answer, so not the texts are compared but what holds of them.
"""

from collections.abc import Iterator
from copy import copy
from random import Random

from exercises.checks.cases import Case, check
from exercises.checks.pairs import MANY, what_holds
from pathpatch.tasks.ioi import NAMES, PLACES, TEMPLATES, THINGS

FACTS = ("repetition", "who", "names")


def _drawn(random: Random) -> Iterator[Case]:
    while True:
        for fact in FACTS:
            yield _case(random, fact, MANY, random.randint(5, 6))
        for fact in FACTS:
            yield _case(random, fact, MANY + 1, 5)


def _case(random: Random, fact: str, n: int, count: int) -> Case:
    # a template may name somebody twice in other words, but has three places
    frame = random.choice([t for t in TEMPLATES if all(t.count(f"{{{i}}}") == 1 for i in range(3))])
    frame = frame.replace("{place}", random.choice(PLACES)).replace(
        "{thing}", random.choice(THINGS)
    )
    names = random.sample(list(NAMES), count)
    shown = f"pairs_for({fact!r}, {frame!r}, {names}, {n}, random)"
    return Case(shown, (fact, frame, names, n, Random(random.randrange(2**32))))


@check(
    _drawn,
    6,
    advice="Each letter below is a name: A is the first in the clean prompt, B the second.",
    tidy=what_holds,
)
def pairs_for(fact, frame, names, n, random, *, slip):
    random = copy(random)  # every call of this function draws the same
    if slip("nothing is drawn for a pair by itself: all pairs have the same names"):
        drawn = random.sample(names, 5)
        random.sample = lambda names, k: drawn
    some = slip("the names of the corrupt prompt are drawn by themselves, and may be taken already")
    every = slip("each name is drawn by itself, and may be taken already")
    if slip("repetition and who have changed places"):
        fact = {"repetition": "who", "who": "repetition", "names": "names"}[fact]
    if slip("three other names are drawn, whatever the fact"):
        fact = "names"
    if slip("a third name gives, whatever the fact"):
        fact = "repetition"
    if slip("the other name gives, whatever the fact"):
        fact = "who"
    pairs = []
    for i in range(n - slip("the last pair is missing")):
        io, s, x, y, z = random.sample(names, 5)
        if every:
            io, s = random.choices(names, k=2)
        if some or every:
            x, y, z = random.choices(names, k=3)
        first, other = [(io, s), (s, io)][:: 1 - 2 * (i % 2)]
        if slip("ABBA and BABA have changed places"):
            first = other
        if slip("all pairs are ABBA"):
            first = io, s
        if slip("all pairs are BABA"):
            first = s, io
        if slip("the first half of the pairs is ABBA, and not every second one"):
            first = (io, s) if i < n // 2 else (s, io)
        gives = s
        if slip("the first name gives in the clean prompt of every pair"):
            gives = first[0]
        if slip("the second name gives in the clean prompt of every pair"):
            gives = first[1]
        if slip("the one who does not give comes twice in the clean prompt"):
            gives = io
        corrupt = {"repetition": (*first, x), "who": (*first, io), "names": (x, y, z)}[fact]
        if slip("in p_ABC a name comes twice"):
            corrupt = {"names": (x, y, y)}.get(fact, corrupt)
        if slip("the first two names of the corrupt prompt have changed places"):
            corrupt = corrupt[1], corrupt[0], corrupt[2]
        if slip("the first two names are exchanged, and the giver stays"):
            corrupt = {"who": (first[1], first[0], s)}.get(fact, corrupt)
        clean = (*first, gives)
        if slip("clean and corrupt have changed places"):
            clean, corrupt = corrupt, clean
        pairs.append((frame.format(*clean), frame.format(*corrupt)))
    return pairs
