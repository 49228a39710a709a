"""Knock-outs: what is left of a model when all heads outside a circuit say nothing about a prompt.

A circuit is a list of nodes, the outputs of heads or MLPs: `9.6@END` keeps a head at one position
of each prompt, `9.6` at all of them. What is knocked out gets a reference value instead:

    mean      the mean over the x_new prompts of its template, position by position (the paper's)
    zero      zero
    resample  the value on the prompt's own x_new
    shuffle   the value on an x_new prompt of its template, drawn at random

Source: Wang et al. 2023, section 2.1 and 4 (mean); Miller et al. 2024 (the others, and why the
choice matters). Book: chapter 9.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pathpatch.engine.blocks import BLOCK, as_array, beside, blocks
from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.forward import run
from pathpatch.metrics import Metric, logit_diff, per_prompt
from pathpatch.nodes import FROZEN, LOGITS, Model, Node, as_nodes
from pathpatch.prompts import END, Prompts

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


class Knockout:
    """A model on the same prompts, with one set of nodes after another knocked out.

    The reference values are computed once, and a score that was asked before is not run again.
    Raises: PathPatchError when there is no x_new prompt of a prompt's template to draw from.
    """

    def __init__(self, model: Model, prompts: Prompts, rules: Ablation | None = None) -> None:
        self.model, self.prompts, self.rules = model, prompts, rules or Ablation()
        self.reference = references(model, prompts, self.rules)
        self._there = beside(model, prompts)
        self._known: dict[tuple[frozenset[Node] | None, frozenset[Node]], np.ndarray] = {}

    def score(
        self, kept: Iterable[Node | str] | None = None, without: Iterable[Node | str] = ()
    ) -> Float[np.ndarray, " batch"]:
        """F: the metric on every prompt when, of all candidates, only `kept` less `without` act.

        `kept` of None means the whole model. So score() is F(M), score(c) is F(C), score(c, k) is
        F(C \\ K), score(None, k) is F(M \\ K), and score([]) is F of no candidate at all.
        Raises: PathPatchError for nodes that are not there, or are not candidates.
        """
        key = (None if kept is None else frozenset(as_nodes(kept)), frozenset(as_nodes(without)))
        if key not in self._known:
            self._known[key] = self._measure(self.masks(*key))
        return self._known[key]

    def masks(
        self, kept: Iterable[Node] | None, without: Iterable[Node]
    ) -> dict[Node, Bool[Tensor, "batch pos"]]:
        """For each candidate, where it keeps what the pass computes. Each prompt by itself."""
        ids = self._there.orig.ids  # [batch, pos]
        found = {
            node: torch.full_like(ids, kept is None, dtype=torch.bool) for node in self.reference
        }
        for nodes, keep in ((kept or (), True), (without, False)):
            for node in nodes:
                self._check(node)
                found[node.everywhere()][self._where(node)] = keep
        return found

    def _where(self, node: Node) -> tuple[Tensor, ...]:
        tokens = self._there.orig
        if node.at is None or self.rules.positions == "all":
            return (tokens.index(END)[0],)
        # One position in each row: with [:, at] every prompt would keep the positions of all.
        return tokens.index(node.at)

    def _measure(self, masks: dict[Node, Tensor]) -> np.ndarray:
        found = []
        for i in range(0, len(self._there), BLOCK):
            rows = slice(i, i + BLOCK)
            writes = {
                node: _keep(mask[rows], self.reference[node][rows])
                for node, mask in masks.items()
                if not mask.all()
            }
            part = self._there[rows]
            logits = run(self.model, part.orig, reads=[LOGITS], writes=writes)[LOGITS]
            found.append(as_array(per_prompt(self.rules.metric, logits, part)))
        return np.concatenate(found)

    def _check(self, node: Node) -> None:
        node.check(self.model)
        if node.everywhere() not in self.reference:
            example = next(iter(self.reference))
            raise PathPatchError(
                f"{node} cannot be kept or knocked out: candidates are {self.rules.candidates}, by "
                f"their outputs, such as {example} (choices: {', '.join(CANDIDATES)})"
            )


def references(
    model: Model, prompts: Prompts, rules: Ablation
) -> dict[Node, Float[Tensor, "batch pos ..."]]:
    """The reference value of every candidate, for each prompt and position."""
    over, nodes = _over(prompts, rules), FROZEN[rules.candidates](model)
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


def _keep(mask: Tensor, reference: Tensor) -> Callable[[Tensor], Tensor]:
    """A write that leaves what was computed where the mask says so."""
    return lambda computed: torch.where(mask[..., None], computed, reference)
