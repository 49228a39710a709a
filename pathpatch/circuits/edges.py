"""Knock-outs of edges: what is left of a model when only some paths carry what was computed.

Every input of a head or an MLP, and the end of the residual stream, is the sum of what the parts
below it write. Over an edge of the circuit a part sends what it computes, in the circuit; over any
other it sends its reference value (`knockouts`). So each receiver gets a pass C of its own: all
parts below are set, those on its edges to what they compute and the others to their reference.

Source: Conmy et al. 2023 (ACDC); Miller et al. 2024, section 2 (edges and nodes). Book: chapter 9.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pathpatch.circuits.ablation import Ablation
from pathpatch.circuits.knockouts import Knockout
from pathpatch.circuits.links import FORM, Link, Part, step
from pathpatch.errors import PathPatchError
from pathpatch.forward import run
from pathpatch.nodes import LOGITS, Model, Node, grid
from pathpatch.prompts import Prompts

EMBED = Node("embed")
Masks = dict[Node, dict[Node, Bool[Tensor, "prompt pos"]]]  # receiver -> sender -> where it is kept


class EdgeKnockout(Knockout):
    """A model on the same prompts, with one set of edges after another knocked out.

    `score`, and all tests of circuits, as for nodes; the parts of a circuit are edges here. Senders
    are the embedding and the candidates (`Ablation`); with the candidates "heads", MLPs belong to
    the direct paths, as in the paper. score([]) is F when every part sends its reference value.

    A score takes a pass for each receiver whose edges differ from those of its neighbours, and one
    for each layer whose heads or MLP are needed.

    Raises: PathPatchError when there is no x_new prompt of a prompt's template to draw from.
    """

    def __init__(self, model: Model, prompts: Prompts, rules: Ablation | None = None) -> None:
        super().__init__(model, prompts, rules)
        # Receivers that are read together, and what is computed from them, in the order of a pass.
        self._layers: list[tuple[list[Node], str]] = []
        inputs = [node for kind in "qkv" for node in grid(model, kind)]
        for layer in range(model.cfg.n_layers):
            self._layers.append(([node for node in inputs if node.layer == layer], "z"))
            if Node("mlp_out", layer) in self.reference:
                self._layers.append(([Node("mlp_in", layer)], "mlp_out"))

    def senders(self) -> list[Node]:
        return [EMBED, *super().senders()]

    @staticmethod
    def passes(model: Model) -> int:
        return int(4 * model.cfg.n_layers + 1)

    def masks(self, kept: Iterable[Part] | None, without: Iterable[Part]) -> Masks:
        """For each edge that is not like all others, where it is kept. Each prompt by itself."""
        ids = self._there.orig.ids  # [batch, pos]
        found: Masks = defaultdict(dict)
        for some, keep in ((kept or (), True), (without, False)):
            for part in some:
                for link in self._links(part):
                    ends = link.everywhere()
                    of = found[ends.receiver]
                    if ends.sender not in of:
                        of[ends.sender] = torch.full_like(ids, kept is None, dtype=torch.bool)
                    of[ends.sender][self._where(link)] = keep
        return found

    def _links(self, part: Part) -> list[Link]:
        if not isinstance(part, Link):
            raise PathPatchError(f"{part} is a node, and edges are knocked out here: {FORM}")
        part.check(self.model)
        links, kinds = part.copies(self.model), ["q", "k", "v", "logits"]
        kinds += ["mlp_in"] * (self.rules.candidates != "heads")
        if part.sender.everywhere() not in self.reference or part.receiver.kind not in kinds:
            raise PathPatchError(
                f"{part} cannot be kept or knocked out: candidates are {self.rules.candidates}, "
                "and MLPs belong to the paths between them"
            )
        return links

    def _logits(self, rows: slice, masks: Masks, rest: bool) -> Float[Tensor, "batch vocab"]:
        """The logits at END. rest: whether edges that `masks` does not name are kept."""
        tokens = self._there[rows].orig
        reference = {node: value[rows] for node, value in self.reference.items()}
        computed = dict(run(self.model, tokens, reads=[EMBED]))
        heard = {sender for of in masks.values() for sender in of}

        def sent(receiver: Node) -> dict[Node, Tensor]:
            """What every part below a receiver sends to it, [batch, pos, ...]."""
            of = {sender: mask[rows] for sender, mask in masks.get(receiver, {}).items()}
            everywhere = torch.full_like(tokens.ids, rest, dtype=torch.bool)
            return {
                sender: torch.where(of.get(sender, everywhere)[..., None], computed[sender], value)
                if sender in computed
                else value
                for sender, value in reference.items()
                if step(sender) < step(receiver)
            }

        for receivers, kind in self._layers:
            needed = [n for n in receivers if rest or replace(n, kind=kind) in heard]
            stored: dict[Node, Tensor] = {}
            for alike in _alike(needed, masks):
                stored |= run(self.model, tokens, reads=alike, writes=sent(alike[0]))
            outputs = [replace(node, kind=kind) for node in needed]
            computed |= run(self.model, tokens, reads=outputs, writes=stored)
        end = LOGITS.everywhere()
        return run(self.model, tokens, reads=[LOGITS], writes=sent(end))[LOGITS]


def _alike(receivers: list[Node], masks: Masks) -> list[list[Node]]:
    """The receivers, those with the same edges together."""
    found: dict[tuple[tuple[Node, bytes], ...], list[Node]] = defaultdict(list)
    for node in receivers:
        of = masks.get(node, {})
        key = tuple((sender, of[sender].cpu().numpy().tobytes()) for sender in sorted(of, key=str))
        found[key].append(node)
    return list(found.values())
