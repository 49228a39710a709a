"""What is knocked out, and what it says instead: the choices behind every score of a circuit.

    mean      the mean over the x_new prompts of its template, position by position (the paper's)
    zero      zero
    resample  the value on the prompt's own x_new
    shuffle   the value on an x_new prompt of its template, drawn at random

Source: Wang et al. 2023, section 2.1 and 4 (mean); Miller et al. 2024 (the others, and why the
choice matters). Book: chapter 9.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.engine.blocks import BLOCK, blocks
from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.forward import run
from pathpatch.metrics import Metric, logit_diff
from pathpatch.nodes import FROZEN, Model, Node
from pathpatch.prompts import Prompts

REFERENCES = ("mean", "zero", "resample", "shuffle")
POSITIONS = ("labelled", "all")
CANDIDATES = tuple(FROZEN)  # heads, heads+mlps
CHOICES = {"reference": REFERENCES, "candidates": CANDIDATES, "positions": POSITIONS}


@dataclass(frozen=True)
class Ablation:
    """The choices behind every score of a circuit. None of them is forced.

    `reference` is what a knocked-out node says (see above). With the `positions` "labelled" a node
    is kept at its own position, with "all" at every position. `candidates` are what is knocked out,
    outside the circuit; with "heads" all MLPs stay. `over` has the prompts from whose x_new mean
    and shuffle draw, by default those that are scored. Shuffle needs a `generator`.
    """

    reference: str = "mean"
    positions: str = "labelled"
    candidates: str = "heads"
    metric: Metric = logit_diff
    over: Prompts | None = None
    generator: np.random.Generator | None = None

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if (given := getattr(self, name)) not in known:
                raise PathPatchError(f"unknown {name} {given!r}; {did_you_mean(given, known)}")
        if self.reference == "shuffle" and self.generator is None:
            raise PathPatchError("shuffle draws at random: give Ablation a generator")


def references(
    model: Model, prompts: Prompts, rules: Ablation, nodes: Sequence[Node]
) -> dict[Node, Float[Tensor, "batch pos ..."]]:
    """The reference value of each node, for each prompt and position. Nodes that are shuffled
    together come from one prompt."""
    over = _over(prompts, rules)
    shares = torch.split(donors(prompts, rules), BLOCK, dim=1)
    found: dict[Node, Tensor] = {}
    for part, share in zip(blocks(model, over), shares, strict=True):
        values = run(model, part.new, reads=nodes)
        for node, value in values.items():
            # In half precision shares such as 1/6 and long sums would lose two digits.
            wide = torch.promote_types(value.dtype, torch.float32)
            some = torch.tensordot(share.to(wide).to(value.device), value.to(wide), dims=1)
            found[node] = found[node] + some if node in found else some  # [batch, pos, ...]
    # Beyond END is only padding, of which one set of prompts may have more than the other.
    missing = prompts.orig.ids.shape[1] - over.orig.ids.shape[1]
    padded = {n: torch.nn.functional.pad(v, (0, 0, 0, missing)) for n, v in found.items()}
    return {node: value.to(model.W_E.dtype) for node, value in padded.items()}


def donors(prompts: Prompts, rules: Ablation) -> Float[Tensor, "batch donor"]:
    """How much each x_new prompt counts in the reference values of each prompt: rows sum to 1.

    Only prompts of one template count for one another: the same group, length and labelled
    positions, so that a position means the same in all. A prompt without a group is alone.
    Raises: PathPatchError for a prompt that has none.
    """
    over = _over(prompts, rules)
    if rules.reference == "zero":
        return torch.zeros(len(prompts), len(over), device="cpu", dtype=torch.float64)
    own = torch.eye(len(prompts), device="cpu", dtype=torch.float64)  # [batch, donor]
    if rules.reference == "resample":
        return own
    mine, theirs = _templates(prompts), _templates(over)
    alike = [[a == b and a[0] != "" for b in theirs] for a in mine]
    same = torch.tensor(alike, device="cpu", dtype=torch.float64)
    if over is prompts:
        same = same.maximum(own)
    if alone := (same.sum(1) == 0).nonzero().flatten().tolist():
        raise PathPatchError(
            f"prompts {alone} find no prompt of their template in `over`: a prompt with the same "
            "group (which must not be empty), length and labelled positions"
        )
    if rules.reference == "mean":
        return same / same.sum(1, keepdim=True)
    assert rules.generator is not None
    drawn = [rules.generator.choice(row.nonzero().flatten().numpy()) for row in same]
    return torch.eye(len(over), device="cpu", dtype=torch.float64)[drawn]


def _over(prompts: Prompts, rules: Ablation) -> Prompts:
    own = rules.over is None or rules.reference == "resample"
    return prompts if own else rules.over  # type: ignore[return-value]


def _templates(prompts: Prompts) -> list[tuple[object, ...]]:
    index = {label: where.tolist() for label, where in sorted(prompts.orig.positions.items())}
    return [
        (pair.group, *((label, where[i]) for label, where in index.items()))
        for i, pair in enumerate(prompts.pairs)
    ]
