"""Answers to the exercises of chapter 7."""

from itertools import pairwise
from math import comb

import numpy as np
import pandas as pd

from mutants.answers import right, wrong

ORDERS = ("ABBA", "BABA")
TRUE = {
    "a: 23.3 in both orders": "yes",
    "b: 23.2 in either order": "no",
    "c: 24.4 has none in ABBA": "no",
    "d: the answer needs 18.0": "no",
    "e: nobody needs 17.4": "no",
    "f: 23.3 is beyond 23.0": "yes",
    "g: 23.0 and 23.3 add up": "no",
    "h: each has an effect": "no",
}

# ---- 7.1 which heads stand out ----


def coins(k, n):
    return sum(comb(n, j) for j in range(k, n + 1)) / 2**n


def frame_means(effects, order, frame):
    """Order -> a table [head, frame]."""
    means = pd.DataFrame(np.asarray(effects).T).groupby([list(order), list(frame)]).mean()
    return {one: means.loc[one].to_numpy().T for one in ORDERS}


def rows_by(keep, effects, order, frame):
    means = frame_means(effects, order, frame)
    return {one: [i for i, m in enumerate(means[one]) if keep(m, len(effects))] for one in ORDERS}


def p_of(means):
    above, below = int((means > 0).sum()), int((means < 0).sum())
    return min(1.0, 2 * coins(max(above, below), len(means)))


@right("7.1")
def with_pandas(effects, order, frame, least):
    def keep(m, heads):
        return p_of(m) * heads < 0.05 and abs(m.mean()) >= least

    return rows_by(keep, effects, order, frame)


@right("7.1")
def with_loops_alone(effects, order, frame, least):
    found = {}
    for one in ORDERS:
        names = sorted({f for f, o in zip(frame, order, strict=True) if o == one})
        rows = []
        for row in range(len(effects)):
            means = []
            for name in names:
                of = [i for i in range(len(order)) if (order[i], frame[i]) == (one, name)]
                means.append(sum(effects[row][i] for i in of) / len(of))
            above, below = sum(m > 0 for m in means), sum(m < 0 for m in means)
            p = 2 * coins(max(above, below), len(means)) * len(effects)
            mean = sum(means) / len(means)
            if p < 0.05 and (mean >= least or mean <= -least):
                rows.append(np.int64(row))
        found[one] = np.array(rows, dtype=int)
    return found


@wrong("7.1", "every prompt is counted, and not every frame")
def counted_prompts(effects, order, frame, least):
    order, found = np.array(order), {}
    means = frame_means(effects, order, frame)
    for one in ORDERS:
        part = effects[:, order == one]
        p = np.array([p_of(row) for row in part]) * len(effects)
        found[one] = np.flatnonzero((p < 0.05) & (np.abs(means[one].mean(1)) >= least)).tolist()
    return found


@wrong("7.1", "p is not multiplied by the number of heads")
def did_not_correct(effects, order, frame, least):
    return rows_by(lambda m, n: p_of(m) < 0.05 and abs(m.mean()) >= least, effects, order, frame)


@wrong("7.1", "p is not doubled")
def one_tail(effects, order, frame, least):
    def keep(m, heads):
        return p_of(m) / 2 * heads < 0.05 and abs(m.mean()) >= least

    return rows_by(keep, effects, order, frame)


@wrong("7.1", "not of its size")
def positive_ones_only(effects, order, frame, least):
    def keep(m, heads):
        return p_of(m) * heads < 0.05 and m.mean() >= least

    return rows_by(keep, effects, order, frame)


@wrong("7.1", "both orders are tested as one")
def pooled(effects, order, frame, least):
    order, frame = np.array(order), np.array(frame)
    means = np.stack([effects[:, frame == f].mean(1) for f in np.unique(frame)], 1)
    p = np.array([p_of(row) for row in means]) * len(effects)
    rows = np.flatnonzero((p < 0.05) & (np.abs(means.mean(1)) >= least)).tolist()
    return dict.fromkeys(ORDERS, rows)


@wrong("7.1", "`least` is not used")
def forgot_the_size(effects, order, frame, least):
    return rows_by(lambda m, heads: p_of(m) * heads < 0.05, effects, order, frame)


@wrong("7.1", "p is the probability of exactly k heads")
def exactly_k(effects, order, frame, least):
    def keep(m, heads):
        k, n = max(int((m > 0).sum()), int((m < 0).sum())), len(m)
        return 2 * comb(n, k) / 2**n * heads < 0.05 and abs(m.mean()) >= least

    return rows_by(keep, effects, order, frame)


@wrong("7.1", "larger frames count for more")
def mean_over_prompts(effects, order, frame, least):
    order, found = np.array(order), {}
    means = frame_means(effects, order, frame)
    for one in ORDERS:
        size = np.abs(effects[:, order == one].mean(1))
        p = np.array([p_of(row) for row in means[one]]) * len(effects)
        found[one] = np.flatnonzero((p < 0.05) & (size >= least)).tolist()
    return found


@wrong("7.1", "rows are counted from 1")
def counted_from_one(effects, order, frame, least):
    found = with_pandas(effects, order, frame, least)
    return {one: [row + 1 for row in rows] for one, rows in found.items()}


@wrong("7.1", "a dict with the keys ABBA, BABA")
def a_pair_of_lists(effects, order, frame, least):
    return list(with_pandas(effects, order, frame, least).values())


@wrong("7.1", "only heads are kept whose frames all have one sign")
def all_frames_alike(effects, order, frame, least):
    def keep(m, heads):
        alike = all(x * y > 0 for x, y in pairwise(m))
        return alike and abs(m.mean()) >= least

    return rows_by(keep, effects, order, frame)


@wrong("7.1", "a mean of 0 counts as negative")
def counted_silent_frames(effects, order, frame, least):
    def keep(m, heads):
        k = max(int((m > 0).sum()), int((m <= 0).sum()))
        return 2 * coins(k, len(m)) * heads < 0.05 and abs(m.mean()) >= least

    return rows_by(keep, effects, order, frame)


# ---- 7.2 what may you conclude ----


@right("7.2")
def in_capitals():
    return {key: word.upper() for key, word in TRUE.items()}


@wrong("7.2", "5 of 8 are right")
def believed_the_small_ones():
    small = ("c: 24.4 has none in ABBA", "d: the answer needs 18.0", "e: nobody needs 17.4")
    return TRUE | dict.fromkeys(small, "yes")


@wrong("7.2", "Ask yourself")
def doubted_the_first():
    return TRUE | {"a: 23.3 in both orders": "no"}


@wrong("7.2", "2 of 8 are right")
def believed_everything():
    return dict.fromkeys(TRUE, "yes")


@wrong("7.2", 'expected  "yes" or "no"')
def said_true_and_false():
    return {key: word == "yes" for key, word in TRUE.items()}


@wrong("7.2", "are still '?'")
def left_one_open():
    return TRUE | {"h: each has an effect": "?"}


@wrong("7.2", "expected  a dict with the keys")
def returned_letters():
    return {key[0]: word for key, word in TRUE.items()}
