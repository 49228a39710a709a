"""Check of 7.1: which heads stand out, in which order of the names?"""

from collections.abc import Iterator
from itertools import cycle, islice
from math import comb
from random import Random
from typing import Any

import numpy as np

from exercises.checks.cases import Case, check
from exercises.checks.rules import TIDIED
from exercises.measured import ORDERS, direct_effects

# Heads and frames. In each some head is near the edge: with one frame apart it stands out in the
# second and just does not in the third and fourth; a test in one direction keeps it in the first.
SIZES = ((30, 10), (7, 12), (8, 12), (28, 14), (30, 12))
# What a head is like, in turn: frames of the other sign, frames that are silent, size of its mean
# in `least`, and how much louder it is in large frames, which only a mean over prompts would let
# count for more.
HEADS = (
    (0, 0, 1.03, 0.3),
    (0, 0, 0.97, 2.0),
    (1, 0, 1.6, 1.0),
    (0, 1, 1.6, 1.0),
    (0, 0, 1.6, 1.0),
    (1, 0, 1.6, 2.0),
    (0, 0, 0.7, 1.0),
    (2, 0, 1.6, 1.0),
    (5, 0, 1.6, 1.0),
)


def _drawn(random: Random) -> Iterator[Case]:
    for heads, frames in SIZES:
        yield _case(random, heads, frames)
    yield _measured(0.2)
    while True:
        yield _case(random, *random.choice(SIZES))


def _case(random: Random, heads: int, frames: int) -> Case:
    """Heads that are loud in one order only, with frames of 1 to 6 prompts, some of them apart."""
    rng = np.random.default_rng(random.randrange(2**32))
    order, frame, parts = [], [], []
    least = round(random.uniform(0.2, 0.6), 2)
    for one in ORDERS:
        counts = rng.integers(1, 7, frames)  # prompts of each frame
        means = _means(rng, heads, counts, least)
        for name, (count, mean) in enumerate(zip(counts, means.T, strict=True)):
            noise = rng.normal(0, 1, (heads, count))  # large beside the means, and 0 in all
            noise[mean == 0] = 0  # a frame that is silent is so in every prompt
            parts.append(mean[:, None] + noise - noise.mean(1, keepdims=True))
            order += [one] * count
            frame += [f"frame {name}"] * count
    mixed = rng.permutation(len(order))
    effects = np.hstack(parts)[:, mixed]  # [head, prompt]
    labels = [order[i] for i in mixed], [frame[i] for i in mixed]
    shown = f"standing_out(effects [{heads} heads, {len(mixed)} prompts], order, frame, {least})"
    return Case(f"{shown}, with {frames} frames in each order", (effects, *labels, least))


def _means(
    rng: np.random.Generator, heads: int, counts: np.ndarray[Any, Any], least: float
) -> np.ndarray[Any, Any]:
    """The mean of each frame, [head, frame]."""
    rows = []
    for against, silent, size, weight in islice(cycle(HEADS), heads):
        row = rng.uniform(0.9, 1.1, len(counts))
        row[np.argsort(-counts)[: len(counts) // 3]] *= weight
        row[rng.choice(len(counts), against, replace=False)] *= -1
        row[rng.choice(len(counts), silent, replace=False)] = 0
        rows.append(row * size * least / row.mean())
    return rng.permutation(rows) * rng.choice([-1, 1], (heads, 1))


def _measured(least: float) -> Case:
    """SmolLM2 itself."""
    parts = {one: direct_effects(one) for one in ORDERS}
    effects = np.hstack([part.change for part in parts.values()])
    order = [one for one, part in parts.items() for _ in part.base]
    frame = [name for part in parts.values() for name in part.templates]
    shown = f"standing_out(effects of SmolLM2's 270 heads on 210 prompts, order, frame, {least})"
    return Case(shown, (effects, order, frame, least))


@check(
    _drawn,
    6,
    advice="Print k, n and p of the first row that is too many or missing.",
    tidy=TIDIED["standing_out"],
)
def standing_out(effects, order, frame, least, *, slip):
    order, frame = np.array(order), np.array(frame)
    if slip("the rows of ABBA and BABA have changed places"):
        order = np.array([ORDERS[1 - ORDERS.index(one)] for one in order])
    pooled = slip("both orders are tested as one")
    count_prompts = slip("every prompt is counted, and not every frame")
    tests = len(effects)
    if slip("p is not multiplied by the number of heads"):
        tests = 1
    if slip("p is multiplied by the number of frames, and not of heads"):
        tests = len(np.unique(frame))
    if slip("p is multiplied by the number of heads in both orders"):
        tests *= 2
    tails = 2
    if slip("p is not doubled: a head may stand out in either direction"):
        tails = 1
    found = {}
    for one in ORDERS:
        inside = np.full(len(order), True) if pooled else order == one
        means = _of_frames(effects[:, inside], frame[inside], slip)
        signed = effects[:, inside] if count_prompts else means
        size = means.mean(1)
        if slip("the mean is taken over the prompts, so that larger frames count for more"):
            size = effects[:, inside].mean(1)
        if slip("`least` is asked of the mean with its sign, not of its size"):
            large = size >= least
        elif slip("`least` is asked of the negative mean: heads with a positive one are lost"):
            large = size <= -least
        elif slip("`least` is not used"):
            large = np.full(len(size), True)
        elif slip("`least` is asked of every frame, and not of their mean"):
            large = (np.abs(means) >= least).all(1)
        else:
            large = np.abs(size) >= least
        above, below = (signed > 0).sum(1), (signed < 0).sum(1)
        if slip("a mean of 0 counts as negative"):
            below = (signed <= 0).sum(1)
        if slip("a mean of 0 counts as positive"):
            above = (signed >= 0).sum(1)
        k = np.maximum(above, below)
        if slip("only positive means are counted"):
            k = above
        if slip("only negative means are counted"):
            k = below
        if slip("k is the smaller of the two counts"):
            k = np.minimum(above, below)
        p = np.array([_tail(int(number), signed.shape[1], slip) for number in k]) * tails
        if slip("only heads are kept whose frames all have one sign"):
            p = np.where(k == signed.shape[1], 0.0, 1.0)
        small = p * tests < 0.05
        if slip("nothing is asked of p"):
            small = np.full(len(p), True)
        rows = np.flatnonzero(small & large)
        if slip("the rows that do *not* stand out are returned"):
            rows = np.flatnonzero(~(small & large))
        if slip("rows are counted from 1"):
            rows = rows + 1
        found[one] = rows.tolist()
    return found


def _of_frames(effects: Any, frame: Any, slip: Any) -> Any:
    """The mean of each frame, [head, frame]."""
    groups = [effects[:, frame == name] for name in np.unique(frame)]
    if slip("the first prompt of a frame stands for all of it"):
        return np.stack([group[:, 0] for group in groups], 1)
    if slip("a frame has the sum of its prompts, and not their mean"):
        return np.stack([group.sum(1) for group in groups], 1)
    if slip("a frame has the median of its prompts, and not their mean"):
        return np.stack([np.median(group, 1) for group in groups], 1)
    return np.stack([group.mean(1) for group in groups], 1)


def _tail(k: int, n: int, slip: Any) -> float:
    """The probability of at least k heads of n fair coins."""
    if slip("p is the probability of exactly k heads, and not of at least k"):
        return comb(n, k) / 2**n
    if slip("p is the probability of *more* than k heads, and not of at least k"):
        k += 1
    return sum(comb(n, j) for j in range(k, n + 1)) / 2**n
