"""Is it the circuit? Faithfulness, completeness, minimality, and what moves them.

F(C): the metric when only the circuit's parts C act; F(M): that of the whole model; C \\ K: the
circuit without the parts K. Parts are nodes (`knockouts`) or edges (`edges`). All values are kept
for every prompt; scores compare means, since single prompts may miss in both directions.

Source: Wang et al. 2023, section 4; Miller et al. 2024 (the choices). Book: chapter 9.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Float

from pathpatch.circuits.ablation import CHOICES, Ablation
from pathpatch.circuits.edges import EdgeKnockout
from pathpatch.circuits.knockouts import Knockout
from pathpatch.circuits.links import Link, Part, Parts, parts
from pathpatch.engine.cost import announce
from pathpatch.engine.progress import progress
from pathpatch.errors import PathPatchError
from pathpatch.nodes import Model
from pathpatch.prompts import Prompts

Array = np.ndarray


@dataclass(frozen=True)
class Faithfulness:
    """F(M), F(C) and F of nothing (all candidates knocked out), on every prompt."""

    model: Float[Array, " batch"]
    circuit: Float[Array, " batch"]
    nothing: Float[Array, " batch"]

    def scores(self) -> dict[str, float]:
        """Four ways to make one number of them; papers differ, so name yours.

        gap is |F(M) - F(C)|, in units of the metric; 0 is faithful (Wang et al.).
        ratio_of_means is F(C) / F(M); 1 is faithful, and more than 1 is possible.
        mean_of_ratios is the same for each prompt, then the mean. One prompt with F(M) near zero
        can outweigh all others.
        above_nothing is (F(C) - F(0)) / (F(M) - F(0)) (Hanna et al.).
        A score is NaN where its divisor is zero.
        """
        model, circuit, nothing = (float(v.mean()) for v in vars(self).values())
        ratios = self.circuit / np.where(self.model == 0, np.nan, self.model)
        return {
            "gap": abs(model - circuit),
            "ratio_of_means": circuit / (model or np.nan),
            "mean_of_ratios": float(ratios.mean()),
            "above_nothing": (circuit - nothing) / ((model - nothing) or np.nan),
        }


@dataclass(frozen=True)
class Gap:
    """Two values of F on every prompt, after the nodes or edges K (`removed`) are knocked out."""

    removed: list[Part]
    one: Float[Array, " batch"]
    other: Float[Array, " batch"]

    @property
    def size(self) -> float:
        """How far apart their means are, in units of the metric."""
        return float(abs(self.one.mean() - self.other.mean()))

    def percent(self, model: Float[Array, " batch"]) -> float:
        """The size as percent of F(M), as in Wang et al., Fig. 7. NaN for a mean F(M) of zero."""
        return 100 * self.size / (abs(float(model.mean())) or np.nan)


def faithfulness(knockout: Knockout, circuit: Parts) -> Faithfulness:
    """What the circuit does alone. Its `scores` say how far that is from the whole model.

    Raises: PathPatchError for parts that are not there, are not candidates, or no list (None).
    """
    return Faithfulness(knockout.score(), knockout.score(parts(circuit)), knockout.score([]))


def completeness(knockout: Knockout, circuit: Parts, sets: Mapping[str, Parts]) -> dict[str, Gap]:
    """For each named set K of the circuit's parts: F(C \\ K) beside F(M \\ K).

    A complete circuit has small gaps for every K: without K, it fails as the model fails. Sets
    come from you (classes of heads), from `random_sets` and from `greedy_set`.

    Raises: PathPatchError for a K that is not part of the circuit.
    """
    circuit, found = parts(circuit), {}
    for name, nodes in progress(sets.items(), unit="set", desc="completeness"):
        k = inside(circuit, nodes)
        found[name] = Gap(k, knockout.score(circuit, k), knockout.score(None, k))
    return found


def minimality(
    knockout: Knockout,
    circuit: Parts,
    sets: Mapping[Part, Parts] | Mapping[str, Parts] | None = None,
) -> dict[Part, Gap]:
    """For each part v of the circuit: F(C \\ K) beside F(C \\ (K + v)), K = sets[v] or empty.

    A part earns its place when some K gives it a large gap (see `Gap.percent`). Sets come from you
    or from `minimal_sets`.

    Raises: PathPatchError for a K that holds v, or parts that are not in the circuit.
    """
    circuit, found, given = parts(circuit), {}, sets or {}
    sets_of = dict(zip(inside(circuit, given), given.values(), strict=True))
    for v in progress(circuit, unit="part", desc="minimality"):
        others = [part for part in circuit if part != v]
        k = inside(others, sets_of.get(v, ()))
        found[v] = Gap(k, knockout.score(circuit, k), knockout.score(circuit, [*k, v]))
    return found


def choices(
    model: Model, prompts: Prompts, circuit: Parts, rules: Ablation
) -> list[dict[str, str | float]]:
    """Faithfulness under every combination of the choices in `Ablation`, one row for each.

    Each row has the choices, F(M), F(C) and F of nothing, and the four `scores`. Where only heads
    are candidates, MLPs of the circuit are kept like all others, and edges of MLPs are left out.
    `rules` has the rest of the choices, and the generator for shuffling, which is the same in all
    rows. The cost is said first, if it is over two seconds.
    """
    if rules.generator is None:
        raise PathPatchError("shuffle draws at random: give Ablation a generator")
    circuit, rows, seed = parts(circuit), [], rules.generator.integers(2**32)
    kind = EdgeKnockout if any(isinstance(part, Link) for part in circuit) else Knockout
    combinations = list(product(*CHOICES.values()))
    announce(model, prompts, "table of choices", 4 * len(combinations) * kind.passes(model))
    for chosen in progress(combinations, desc="choices"):
        choice = dict(zip(CHOICES, chosen, strict=True))
        generator = np.random.default_rng(seed)  # the same shuffle in all rows
        knockout = kind(model, prompts, replace(rules, **choice, generator=generator))
        there = [part for part in circuit if choice["candidates"] != "heads" or not _of_mlp(part)]
        found = faithfulness(knockout, there)
        means = {name: float(values.mean()) for name, values in vars(found).items()}
        rows.append({**choice, **means, **found.scores()})
    return rows


def _of_mlp(part: Part) -> bool:
    ends = [part.sender, part.receiver] if isinstance(part, Link) else [part]
    return any(node.kind.startswith("mlp") for node in ends)


def inside(circuit: list[Part], some: Parts) -> list[Part]:
    """The parts, all of which must be in the circuit."""
    found = parts(some)
    if outside := [str(part) for part in found if part not in circuit]:
        raise PathPatchError(f"{', '.join(outside)}: not among {', '.join(map(str, circuit))}")
    return found
