"""The walk backward from the logits: what one sweep finds receives in the next."""

from collections.abc import Iterator

import numpy as np

from pathpatch.circuits.discovery import within
from pathpatch.effects import Effects
from pathpatch.engine.spec import SweepOptions
from pathpatch.engine.sweeps import path_sweep
from pathpatch.errors import PathPatchError, check_number
from pathpatch.nodes import Model, Node, heads
from pathpatch.prompts import Prompts

STEPS = ("1-heads-to-logits", "2-heads-to-queries", "3-heads-to-values", "4-heads-to-keys")


def ioi_walk(
    model: Model, prompts: Prompts, options: SweepOptions | None = None
) -> Iterator[tuple[str, Effects]]:
    """The IOI circuit backward from the logits: each step's strongest heads receive in the next.

    Yields a title and the Effects of every head: to the logits at END; to the queries at END of
    the three heads that step found; to the values and to the keys at S2 of the three that the
    second step found. Found means: patching it lowers the metric, and its corrected p is below
    0.05 (`strongest`). Each step gets a folder of its own in `options.folder` (STEPS). The p values
    are drawn from `options.seed`, in the walk and wherever its tables are shown.

    Source: Wang et al. 2023, section 3. Book: chapter 7.
    """
    at_end, at_s2, options = heads(model, "END"), heads(model, "S2"), options or SweepOptions()

    def step(number: int, senders: list[Node], receivers: list[str]) -> Effects:
        there = within(options, STEPS[number])
        return path_sweep(model, prompts, senders=senders, receivers=receivers, options=there)

    found = step(0, at_end, ["logits@END"])
    yield "heads to the logits", found
    movers = strongest(found, 3)
    found = step(1, at_end, [f"{head}.q@END" for head in movers])
    yield f"heads to the queries of {', '.join(movers)}", found
    readers = strongest(found, 3)
    for number, kind, name in ((2, "v", "values"), (3, "k", "keys")):
        found = step(number, at_s2, [f"{head}.{kind}@S2" for head in readers])
        yield f"heads to the {name} of {', '.join(readers)}", found


def strongest(effects: Effects, n: int) -> list[str]:
    """At most n heads ("9.6"): lowest mean change first, below zero with corrected p < 0.05.

    Raises: PathPatchError when a row is not a single head, and when no head is like that.
    """
    check_number("the number of heads", n, 1, whole=True)
    if not effects.of_heads():
        raise PathPatchError("the strongest heads: needs effects of single heads, one in each row")
    mean, p = effects.mean(), effects.p_adjusted()
    order = [i for i in np.argsort(mean, kind="stable") if mean[i] < 0 and p[i] < 0.05][:n]
    if not order:
        raise PathPatchError(
            "no head lowers the metric with a corrected p below 0.05; "
            "try more prompts, or more templates (fewer than six can never show it)"
            + "".join(f"; {caution}" for caution in effects.cautions())
        )
    nodes = [effects.senders[i][0] for i in order]
    return [f"{node.layer}.{node.head}" for node in nodes]
