"""Knock-outs: what is left of a model when all heads outside a circuit say nothing about a prompt.

A circuit is a list of nodes, the outputs of heads or MLPs: `9.6@END` keeps a head at one position
of each prompt, `9.6` at all of them. What is knocked out gets a reference value instead, by the
choices in `Ablation`.

Source: Wang et al. 2023, section 4. Book: chapter 9.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.circuits.ablation import CANDIDATES, Ablation, references
from pathpatch.circuits.links import Part, Parts, parts
from pathpatch.engine.blocks import BLOCK, as_array, beside
from pathpatch.engine.cost import announce
from pathpatch.errors import PathPatchError
from pathpatch.forward import run
from pathpatch.metrics import per_prompt
from pathpatch.nodes import FROZEN, LOGITS, Model, Node
from pathpatch.prompts import END, Prompts


class Knockout:
    """A model on the same prompts, with one set of nodes after another knocked out.

    The reference values are computed once, and a score that was asked before is not run again.
    Raises: PathPatchError when there is no x_new prompt of a prompt's template to draw from.
    """

    def __init__(self, model: Model, prompts: Prompts, rules: Ablation | None = None) -> None:
        self.model, self.prompts, self.rules = model, prompts, rules or Ablation()
        self.reference = references(model, prompts, self.rules, self.senders())
        self._there = beside(model, prompts)
        self._known: dict[tuple[frozenset[Part] | None, frozenset[Part]], np.ndarray] = {}

    def score(self, kept: Parts | None = None, without: Parts = ()) -> Float[np.ndarray, " batch"]:
        """F: the metric on every prompt when, of all candidates, only `kept` less `without` act.

        `kept` of None means the whole model. So score() is F(M), score(c) is F(C), score(c, k) is
        F(C \\ K), score(None, k) is F(M \\ K), and score([]) is F of no candidate at all.
        Raises: PathPatchError for nodes that are not there, or are not candidates.
        """
        key = (None if kept is None else frozenset(parts(kept)), frozenset(parts(without)))
        if key not in self._known:
            self._known[key] = self._measure(*key)
        return self._known[key]

    def senders(self) -> list[Node]:
        """What may be kept or knocked out, or sends over what may be."""
        return FROZEN[self.rules.candidates](self.model)

    @staticmethod
    def passes(model: Model) -> int:
        """About how many forward passes a score takes, for what it costs to be said first."""
        return 1

    def say_cost(self, what: str, scores: int) -> None:
        """Say what so many scores cost, if it is over two seconds."""
        announce(self.model, self.prompts, what, scores * self.passes(self.model))

    def masks(self, kept: Iterable[Part] | None, without: Iterable[Part]) -> Any:
        """For each candidate, where it keeps what the pass computes. Each prompt by itself."""
        ids = self._there.orig.ids  # [batch, pos]
        found = {
            node: torch.full_like(ids, kept is None, dtype=torch.bool) for node in self.reference
        }
        for nodes, keep in ((kept or (), True), (without, False)):
            for node in nodes:
                found[self._candidate(node)][self._where(node)] = keep
        return found

    def _where(self, part: Part) -> tuple[Tensor, ...]:
        tokens = self._there.orig
        if part.at is None or self.rules.positions == "all":
            return (tokens.index(END)[0],)
        # One position in each row: with [:, at] every prompt would keep the positions of all.
        return tokens.index(part.at)

    def _measure(self, kept: Iterable[Part] | None, without: Iterable[Part]) -> np.ndarray:
        masks, found = self.masks(kept, without), []
        for i in range(0, len(self._there), BLOCK):
            rows = slice(i, i + BLOCK)
            logits = self._logits(rows, masks, kept is None)
            found.append(as_array(per_prompt(self.rules.metric, logits, self._there[rows])))
        return np.concatenate(found)

    def _logits(self, rows: slice, masks: Any, rest: bool) -> Float[Tensor, "batch vocab"]:
        """The logits at END of some prompts. rest: whether what `masks` does not name is kept."""
        writes = {
            node: _keep(mask[rows], self.reference[node][rows])
            for node, mask in masks.items()
            if not mask.all()
        }
        return run(self.model, self._there[rows].orig, reads=[LOGITS], writes=writes)[LOGITS]

    def _candidate(self, node: Part) -> Node:
        if not isinstance(node, Node):
            raise PathPatchError(f"{node} is an edge, and nodes are knocked out here: EdgeKnockout")
        node.check(self.model)
        if node.everywhere() not in self.reference:
            example = next(iter(self.reference))
            raise PathPatchError(
                f"{node} cannot be kept or knocked out: candidates are {self.rules.candidates}, by "
                f"their outputs, such as {example} (choices: {', '.join(CANDIDATES)})"
            )
        return node.everywhere()


def _keep(mask: Tensor, reference: Tensor) -> Callable[[Tensor], Tensor]:
    """A write that leaves what was computed where the mask says so."""
    return lambda computed: torch.where(mask[..., None], computed, reference)
