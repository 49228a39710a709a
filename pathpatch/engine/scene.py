"""What the fast engine needs of passes A and B, and where the receivers are in them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pathpatch.forward import Run, run
from pathpatch.nodes import LOGITS, Model, Node, Sets, mlps
from pathpatch.prompts import END, Tokens

Stored = dict[Node, Tensor]  # receiver -> its value [sender, batch, place, d_model or d_head]


@dataclass(frozen=True)
class Layout:
    """Where the receivers are, in the layers and in every prompt, before anything has run.

    tokens: x_orig; for a Scene where the model is (a plan only counts). mlps_frozen: whether the
    MLPs are frozen in pass C too.
    """

    model: Model
    tokens: Tokens
    receivers: Sequence[Node]
    mlps_frozen: bool

    @staticmethod
    def of(
        model: Model, tokens: Tokens, receivers: Sequence[Node], frozen: Sequence[Node]
    ) -> "Layout":
        """The layout for all heads frozen, or all heads and all MLPs."""
        receivers = [
            replace(node, at=END) if node.at is None and only_end(model, node) else node
            for node in receivers
        ]
        no_mlps = model.cfg.attn_only or any(n.kind == "mlp_out" for n in frozen)
        return Layout(model, tokens, receivers, no_mlps)

    def top(self) -> int:
        """The depth of the highest receiver: a sender in that step or above reaches none."""
        return max(map(self.depth, self.receivers))

    def ends_in_c(self) -> bool:
        """Whether the state after the last layer at END receives, so that pass D has no work."""
        return any(self.depth(n) == self.steps() and n.at == END for n in self.receivers)

    def steps(self) -> int:
        """How many steps the model has, see `steps_each`."""
        return steps_each(self.model) * self.model.cfg.n_layers

    def depth(self, node: Node) -> int:
        """How many steps lie below the point where a receiver reads the residual stream; below the
        step in which any other node is computed."""
        each = steps_each(self.model)
        within = {"mlp_in": 1, "mlp_out": 1, "resid_post": each, "logits": self.steps()}
        return each * (node.layer or 0) + within.get(node.kind, 0)

    def places(self, node: Node) -> Int[Tensor, "batch place"]:
        """The token indices of a node in every prompt: one, or all positions."""
        if node.at is None:
            ids = self.tokens.ids  # [batch, pos]
            return torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
        return self.tokens.at(node.at)[:, None]  # [batch, 1]

    def once(self, nodes: Iterable[Node]) -> Iterator[tuple[Node, Bool[Tensor, "batch place"]]]:
        """Each node of a set, and which of its places no node before it holds.

        A set of nodes is a set of places: what two of them name (9.6 and 9.6@END, or two labels of
        one token) counts once.
        """
        held: dict[Node, Tensor] = {}  # activation -> [batch, pos]
        for node in nodes:
            here, places = node.everywhere(), self.places(node)
            taken = held.setdefault(here, torch.zeros_like(self.tokens.ids, dtype=torch.bool))
            yield node, ~taken.gather(1, places)
            taken.scatter_(1, places, True)

    def suffix(self) -> Int[Tensor, "batch pos"]:
        """The positions that pass D runs: from the first receiver position of each prompt on."""
        where = {node.at: node for node in self.receivers}.values()
        end = self.tokens.at(END)  # [batch]: what comes after it is no part of what is run
        first = torch.cat([self.places(node) for node in where], 1).amin(1).minimum(end)
        length = int((end - first).max()) + 1
        return first[:, None] + torch.arange(length, device=first.device)

    def live(self, layer: int = -1) -> Bool[Tensor, "batch pos"]:
        """Which positions of the suffix END can see above a layer; above the last only itself."""
        pos, end = self.suffix(), self.tokens.at(END)[:, None]  # [batch, pos], [batch, 1]
        return pos == end if layer == self.model.cfg.n_layers - 1 else pos <= end

    def rows(self) -> int:
        """How many residual vectors one sender needs at once, in pass C or D."""
        places = [self.places(node).shape[1] for node in self.receivers]
        return len(self.tokens) * max([*places, 0 if self.ends_in_c() else self.suffix().shape[1]])


@dataclass(frozen=True)
class Scene(Layout):
    """A layout with its passes A and B."""

    a: Run
    b: Run
    resid: Float[Tensor, "depth batch pos d_model"]  # B's residual stream below step `depth`


def run_a_and_b(layout: Layout, x_new: Tokens, senders: Sets) -> Scene:
    """Run passes A and B, and read what passes C and D need of them.

    senders: their values are read at all positions, in both passes.
    """
    model, nodes = layout.model, stream(layout.model)
    sent = [node.everywhere() for nodes in senders for node in nodes]
    a = run(model, x_new, reads=sent)
    b = run(model, layout.tokens, reads=[*sent, *nodes, *mlps(model), LOGITS])
    resid = torch.stack([b.pop(node) for node in nodes])  # [depth, batch, pos, d_model]
    return Scene(**vars(layout), a=a, b=b, resid=resid)


def stream(model: Model) -> list[Node]:
    """The residual stream below every step, and above the last."""
    layers, kinds = range(model.cfg.n_layers), ("resid_pre", "mlp_in")[: steps_each(model)]
    return [*(Node(kind, i) for i in layers for kind in kinds), Node("resid_post", layers[-1])]


def only_end(model: Model, node: Node) -> bool:
    """Whether of all positions of a node only END can reach the logits: in the last layer nothing
    looks at the others any more."""
    in_last = node.layer == model.cfg.n_layers - 1 and node.kind not in ("k", "v", "resid_pre")
    return in_last or node.kind == "logits"


def steps_each(model: Model) -> int:
    """The steps of a layer, in which something is added to the residual stream: 0, its attention,
    and 1, its MLP, which some models lack. They are counted through all layers."""
    return 1 if model.cfg.attn_only else 2


def first_step(model: Model, nodes: Sequence[Node]) -> int:
    """The first step in which a set of senders writes; -1: before the first."""
    each = steps_each(model)
    return min(-1 if n.layer is None else each * n.layer + (n.kind == "mlp_out") for n in nodes)


def project(scene: Scene, layer: int, kind: str, x: Tensor) -> Float[Tensor, "... head d_head"]:
    """Queries, keys or values of a layer from the residual stream [..., d_model] below it.

    kind: q, k or v.
    """
    block = scene.model.blocks[layer]
    flat = getattr(block.attn, kind)(block.ln1(x))  # [..., head * d_head]
    return flat.unflatten(-1, (scene.model.cfg.n_heads, -1))


def _rotate(scene: Scene, x: Tensor, pos: Int[Tensor, "batch pos"]) -> Tensor:
    """Apply rotary positions, if the model has them, to [..., batch, pos, head, d_head]."""
    if scene.model.cfg.positional_embedding_type != "rotary":
        return x
    tables = scene.model.rotary_emb(x, pos)  # two, each [batch, pos, d_head]
    cos, sin = (table[:, :, None] for table in tables)  # [batch, pos, 1, d_head]
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def take(values: Float[Tensor, "batch pos ..."], pos: Int[Tensor, "batch place"]) -> Tensor:
    """Pick places of every prompt; those past the padding (never read) repeat the last.

    Returns: [batch, place, ...].
    """
    rows = torch.arange(len(pos), device=pos.device)[:, None]  # [batch, 1]
    return values[rows, pos.clamp(max=values.shape[1] - 1)]
