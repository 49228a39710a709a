"""How sure a mean over prompts is: an interval for each sender, one test for all of them.

Prompts that share a template resemble one another, so what is drawn again (interval) or turned
round (test) is never a prompt alone but its cluster: all prompts of its template, in both orders.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from pathpatch.errors import PathPatchError

Array = np.ndarray
DRAWS = 4999  # with what was observed itself, 5000


def interval(
    values: Float[Array, "*rows batch"],
    generator: np.random.Generator,
    clusters: Sequence[str] = (),
    per: Float[Array, " batch"] | None = None,
) -> Float[Array, "*rows 2"]:
    """95 % bootstrap interval of the mean over prompts, in units of values; NaN for one cluster.

    `clusters` has a name for each prompt, and prompts of one name are drawn together. A prompt
    named "" is a cluster by itself; so is every prompt when `clusters` is empty. When `per` is
    given, the interval is that of sum(values) / sum(per), both drawn again together.

    The plain percentiles, 2.5 and 97.5, are too narrow when clusters are few; these are widened,
    and still too narrow for very few. Share of intervals that held the true mean, in 10,000
    simulations of 6, 15 and 30 clusters of 4 prompts, half of the variance common to a cluster:
    normal values 94, 95, 95 %; skewed ones (exponential) 91, 94, 94 %. Ignoring the clusters: 78 %.

    Raises: PathPatchError when clusters is neither empty nor one name for each prompt.
    Source: Efron and Tibshirani 1993, chapter 13; Hesterberg 2015 (expanded percentiles).
    """
    sums = _cluster_sums(values, clusters)
    sizes = _cluster_sums(np.ones(values.shape[-1]) if per is None else per, clusters)
    n = len(sizes)
    if n < 2:
        return np.full((*values.shape[:-1], 2), np.nan)
    times = generator.multinomial(n, np.full(n, 1 / n), DRAWS)  # [draw, cluster]: how often drawn
    means = sums @ times.T / (times @ sizes)  # [*rows, draw]
    # Two corrections for few clusters, so that normal values get Student's interval: his heavier
    # tail, and n / (n - 1), since the spread of the draws is that of the sample about its own mean.
    tail = stats.norm.cdf(stats.t.ppf(0.025, n - 1) * np.sqrt(n / (n - 1)))
    return np.moveaxis(np.quantile(means, [tail, 1 - tail], axis=-1), 0, -1)


def sign_flip_test(
    values: Float[Array, "sender batch"],
    generator: np.random.Generator,
    clusters: Sequence[str] = (),
) -> Float[Array, " sender"]:
    """Test of each sender whether its mean is zero, corrected for the number of senders (max-T).

    Returns: one p value for each sender. `clusters` is as in `interval`.

    If a sender does nothing on average, a cluster's change could as well have had the other sign.
    So flip the signs of whole clusters at random, for all senders together (they stay as dependent
    as they are), and see how often the largest statistic of the whole grid reaches a sender's own.
    The error rate: in how many experiments any sender that does nothing gets p < 0.05. At most 5 %,
    exactly, if changes are symmetric about zero (2,000 simulations with 40 senders and 15 clusters:
    4.4 %). It is more if they are skewed: 14 % for exponential changes, 10 % with 60 clusters, and
    20 % with 270 senders; without the correction it would be 83 and 88 %. So look at the prompts
    of a sender that barely stands out. The least p is 2 / 2**clusters (five clusters show nothing),
    and 1 for a sender that never changes anything.

    Source: Westfall and Young 1993 (max-T, single step).
    """
    sums = _cluster_sums(values, clusters)  # [sender, cluster]
    # |t| of the cluster sums grows with |sum| / root of the sum of squares, which flips only above
    # the line: so one matrix product serves all flips and senders.
    size = np.sqrt((sums**2).sum(1, keepdims=True))
    scaled = sums / np.where(size == 0, 1, size)
    signs = generator.choice([-1.0, 1.0], (DRAWS, sums.shape[1]))  # [draw, cluster]
    largest = np.sort(np.abs(signs @ scaled.T).max(1))
    # Equal statistics may differ in the last digit; they count as reached.
    reached = DRAWS - np.searchsorted(largest, np.abs(scaled.sum(1)) - 1e-9)
    return (1 + reached) / (1 + DRAWS)


def _cluster_sums(
    values: Float[Array, "*rows batch"], clusters: Sequence[str]
) -> Float[Array, "*rows cluster"]:
    if not any(clusters):
        return values
    if len(clusters) != values.shape[-1]:
        raise PathPatchError(f"{len(clusters)} cluster names for {values.shape[-1]} prompts")
    names = [(name, 0 if name else i) for i, name in enumerate(clusters)]
    rows = {name: i for i, name in enumerate(dict.fromkeys(names))}
    member = np.array([[name == other for other in rows] for name in names], float)
    return values @ member
