"""A circuit put to every test in one call: is it faithful, complete and minimal?

Book: chapter 9.
"""

from dataclasses import dataclass

from pathpatch.circuits.evaluation import (
    Faithfulness,
    Gap,
    choices,
    completeness,
    faithfulness,
    minimality,
)
from pathpatch.circuits.knockouts import Knockout
from pathpatch.circuits.links import Part, Parts, parts
from pathpatch.circuits.subsets import Search, greedy_set, minimal_sets, random_sets


@dataclass(frozen=True)
class Assessment:
    """What `assess` found.

    completeness: the gap of every set K, by its name. minimality: the gap of every part of the
    circuit. choices: a row for every combination of the choices in `Ablation`.
    """

    circuit: list[Part]
    faithfulness: Faithfulness
    completeness: dict[str, Gap]
    minimality: dict[Part, Gap]
    choices: list[dict[str, str | float]]


def assess(knockout: Knockout, circuit: Parts, search: Search, n_random: int = 10) -> Assessment:
    """Put a circuit to every test of this wing, as the command `circuit` does.

    Completeness is tested with the set K that the search finds and with `n_random` random ones,
    minimality with the set K that the search finds for each node. Each step says first what it
    costs, if that is over two seconds.

    Raises: PathPatchError for nodes that are not there or are not candidates.
    Source: Wang et al. 2023, section 4.
    """
    nodes = parts(circuit)
    faithful = faithfulness(knockout, nodes)
    sets = {"greedy": greedy_set(knockout, nodes, search)}
    sets |= random_sets(nodes, n_random, search.generator)
    return Assessment(
        circuit=nodes,
        faithfulness=faithful,
        completeness=completeness(knockout, nodes, sets),
        minimality=minimality(knockout, nodes, minimal_sets(knockout, nodes, search)),
        choices=choices(knockout.model, knockout.prompts, nodes, knockout.rules),
    )
