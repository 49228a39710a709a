"""What each hidden case is about, and how right cases become points.

An exercise is judged on kinds of cases. Everything is drawn twice, and a kind counts where all its
cases are right. What the learner's own check draws is of the same kinds, and gives no points.
"""

from math import floor

DRAWS = 2
KINDS: dict[str, tuple[str, ...]] = {  # exercise -> the kind of each case of a draw
    "1.2": (
        "the sum, the sender is a term",
        "the sum, another sender",
        "a head is between, which is held",
        "a head is between, and sends",
        "an MLP is between, which is recomputed",
        "an MLP is between, another sender",
    ),
    "1.3": ("whole numbers",) * 6,
    "5.2": (
        "one path",
        "MLPs are frozen, and one sends",
        "some heads are not frozen",
        "nothing is frozen",
        "a receiver without a position",
        "several senders and receivers, in several layers",
        "queries, patterns and sums are frozen, and one of them receives",
        "heads are frozen at END alone",
    ),
    "5.3": (
        "one receiver",
        "several receivers",
        "the logits receive",
        "a sum receives",
        "a shared key receives",
        "the logits receive, in the other family",
        "receivers in many layers",
    ),
    "5.4": (
        "a key or value or query, at any position",
        "another door, in the other family",
        "two layers",
        "everything at END",
        "the next layer receives",
        "many layers, from the first",
        "many layers, from the middle",
    ),
    "5.5": (
        "one path",
        "several senders, one an MLP",
        "two positions",
        "the embedding sends, a sum receives",
        "many layers",
        "a receiver without a position",
        "receivers before and after the senders",
    ),
    "5.6": (
        "one head",
        "one head, in the other family",
        "a toy in which one of two terms is enough, or both are needed",
        "several nodes of several kinds",
        "several nodes, in the other family",
        "a toy, both terms",
        "an MLP, a query and a head",
    ),
    "6.2": (
        "six readers share a vector",
        "every reader has its own",
        "many layers",
        "the embedding sends, in a machine",
        "an MLP sends",
        "every reader has its own, another position",
        "sender and receiver at two positions",
    ),
    "7.1": ("effects of heads",) * 6,
}


def earned(of: int, right: int, kinds: int) -> float:
    """Points for so many right kinds: a share of all, in halves; none for less than half."""
    if right == kinds:
        return float(of)
    return min(of - 0.5, floor(2 * of * right / kinds) / 2) if 2 * right >= kinds else 0.0
