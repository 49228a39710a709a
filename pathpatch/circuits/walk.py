"""The walk backward from the logits: what one sweep finds receives in the next."""

from collections.abc import Iterator

from pathpatch.circuits.discovery import within
from pathpatch.effects import Effects, strongest
from pathpatch.engine.spec import SweepOptions
from pathpatch.engine.sweeps import path_sweep
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
    0.05. options.folder: each step gets a folder in it (STEPS).

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
