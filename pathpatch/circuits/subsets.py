"""Sets of nodes to leave out of a circuit: at random, or those that put it to the hardest test.

Book: chapter 9.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pathpatch.circuits.evaluation import Gap, inside
from pathpatch.circuits.knockouts import Knockout
from pathpatch.circuits.links import Part, Parts, parts
from pathpatch.engine.progress import progress
from pathpatch.errors import check_number


@dataclass(frozen=True)
class Search:
    """A greedy search for a set K: start empty, add the best of a few nodes, again and again.

    Each of `steps` steps tries `nodes_per_step` nodes drawn at random, so that several `runs` find
    several sets; the best one on the way is kept. A set whose members matter only together (a
    head and its backup) may need many runs: until the last of them, no step looks better.

    Source: the submission of Wang et al., App. M: 10 runs, 10 nodes a step. It adds the node that
    changes F(C \\ K) most; here it is the one with the largest score.
    """

    generator: np.random.Generator
    runs: int = 10
    steps: int = 10
    nodes_per_step: int = 10

    def __post_init__(self) -> None:
        for name in ("runs", "steps", "nodes_per_step"):
            check_number(name, getattr(self, name), 1, whole=True)

    def best(
        self,
        value: Callable[[list[Part]], float],
        nodes: list[Part],
        tick: Callable[[int], object] = int,
    ) -> list[Part]:
        """The set with the largest value that was seen, in the order of `nodes`."""
        best: list[Part] = []
        for _ in range(self.runs):
            chosen: list[Part] = []
            for _ in range(min(self.steps, len(nodes))):
                left = [node for node in nodes if node not in chosen]
                some = [
                    left[i] for i in self.generator.permutation(len(left))[: self.nodes_per_step]
                ]
                chosen = max(([*chosen, node] for node in some), key=value)
                best = max(best, chosen, key=value)
                tick(len(some))
        return [node for node in nodes if node in best]

    def size(self, n: int) -> int:
        """How many sets `best` tries for n nodes."""
        return self.runs * sum(min(self.nodes_per_step, n - i) for i in range(min(self.steps, n)))


def random_sets(circuit: Parts, n: int, generator: np.random.Generator) -> dict[str, list[Part]]:
    """n subsets of the circuit, each part in or out with even odds."""
    nodes = parts(circuit)
    check_number("the number of random sets", n, 0, whole=True)
    draws = generator.random((n, len(nodes))) < 0.5
    return {
        f"random {i + 1}": [node for node, drawn in zip(nodes, row, strict=True) if drawn]
        for i, row in enumerate(draws)
    }


def greedy_set(knockout: Knockout, circuit: Parts, search: Search) -> list[Part]:
    """A set K for which the circuit is far from complete. The cost is said first."""
    circuit = parts(circuit)
    total = search.size(len(circuit))
    knockout.say_cost("greedy set, at most", 2 * total)

    def gap(k: list[Part]) -> float:
        return Gap(k, knockout.score(circuit, k), knockout.score(None, k)).size

    with progress(total=total, unit="set", desc="greedy set") as bar:
        return search.best(gap, circuit, bar.update)


def minimal_sets(
    knockout: Knockout, circuit: Parts, search: Search, classes: Mapping[str, Parts] | None = None
) -> dict[Part, list[Part]]:
    """For each part a set K, of its own class, without which it matters most.

    The whole circuit is one class, unless you give others; a part that is in no class gets no K.
    The cost is said first, if it is over two seconds.
    """
    circuit = parts(circuit)
    groups = [inside(circuit, nodes) for nodes in (classes or {"all": circuit}).values()]
    rivals = {
        v: parts(n for nodes in groups if v in nodes for n in nodes if n != v) for v in circuit
    }
    total = sum(search.size(len(nodes)) for nodes in rivals.values())
    knockout.say_cost("minimality, at most", 2 * total)
    found = {}
    with progress(total=total, unit="set", desc="minimality") as bar:
        for v, nodes in rivals.items():

            def gap(k: list[Part], v: Part = v) -> float:
                return Gap(k, knockout.score(circuit, k), knockout.score(circuit, [*k, v])).size

            found[v] = search.best(gap, nodes, bar.update)
    return found
