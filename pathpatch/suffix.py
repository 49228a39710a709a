"""What the fast engine needs of passes A and B, and pass D on the part that can change.

Pass D. Below the lowest receiver, and before the first receiver position, everything is as in
pass B. Only the layers and positions after that (the suffix) are run, against the keys and values
of pass B, and the last layer at END only. Where the logits or the final residual stream receive at
END, nothing is left to run.

Book: chapter 5.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pathpatch.forward import Run, run
from pathpatch.models import Model
from pathpatch.nodes import LOGITS, Node, Sets, grid, mlps
from pathpatch.prompts import END, Tokens

Stored = dict[Node, Tensor]  # receiver -> its value [sender, batch, place, ...]


@dataclass(frozen=True)
class Question:
    """Where the receivers are, in the layers and in every prompt, before anything has run."""

    model: Model
    tokens: Tokens
    receivers: Sequence[Node]
    mlps_frozen: bool

    @staticmethod
    def ask(
        model: Model, tokens: Tokens, receivers: Sequence[Node], frozen: Sequence[Node]
    ) -> "Question":
        """The question for all heads frozen, or all heads and all MLPs."""
        last = model.cfg.n_layers - 1

        def at_end(node: Node) -> bool:  # of all its positions only END can reach the logits
            in_last = node.at is None and node.layer == last and node.kind in ("q", "resid_post")
            return in_last or node.kind == "logits"

        receivers = [replace(n, at=END) if at_end(n) else n for n in receivers]
        no_mlps = model.cfg.attn_only or any(n.kind == "mlp_out" for n in frozen)
        return Question(model, tokens, receivers, no_mlps)

    def top(self) -> int:
        """The depth of the highest receiver: a sender in that layer or above reaches none."""
        return max(map(self.depth, self.receivers))

    def ends_in_c(self) -> bool:
        """Whether the state after the last layer at END receives, so that pass D has no work."""
        last = self.model.cfg.n_layers
        return any(self.depth(n) == last and n.at == END for n in self.receivers)

    def depth(self, node: Node) -> int:
        """How many layers lie below the point where a receiver reads the residual stream."""
        if node.layer is None:
            return self.model.cfg.n_layers
        return node.layer + (node.kind == "resid_post")

    def places(self, node: Node) -> Int[Tensor, "batch place"]:
        """The token indices of a node in every prompt: one, or all positions."""
        if node.at is None:
            return torch.arange(self.tokens.ids.shape[1]).expand(len(self.tokens), -1)
        return self.tokens.at(node.at)[:, None]

    def suffix(self) -> Int[Tensor, "batch pos"]:
        """The positions that pass D runs: from the first receiver position of each prompt on."""
        first = torch.cat([self.places(node) for node in self.receivers], 1).amin(1)
        length = int((self.tokens.at(END) - first).max()) + 1
        return first[:, None] + torch.arange(length)

    def live(self, layer: int = -1) -> Bool[Tensor, "batch pos"]:
        """Which positions of the suffix END can see above a layer; above the last only itself."""
        pos, end = self.suffix(), self.tokens.at(END)[:, None]
        return pos == end if layer == self.model.cfg.n_layers - 1 else pos <= end

    def rows(self) -> int:
        """How many residual vectors one sender needs at once, in pass C or D."""
        places = [self.places(node).shape[1] for node in self.receivers]
        return len(self.tokens) * max([*places, 0 if self.ends_in_c() else self.suffix().shape[1]])


@dataclass(frozen=True)
class Scene(Question):
    """A question with its passes A and B."""

    a: Run
    b: Run
    resid: Float[Tensor, "depth batch pos d_model"]  # B's residual stream below layer `depth`


def look(question: Question, corrupt: Tokens, senders: Sets) -> Scene:
    """Run passes A and B and read what C and D need."""
    model, nodes = question.model, stream(question.model)
    sent = [node.everywhere() for nodes in senders for node in nodes]
    a = run(model, corrupt, reads=sent)
    b = run(model, question.tokens, reads=[*sent, *nodes, *mlps(model), LOGITS])
    resid = torch.stack([b.pop(node) for node in nodes])
    return Scene(**vars(question), a=a, b=b, resid=resid)


def stream(model: Model) -> list[Node]:
    """The residual stream below every layer, and above the last."""
    last = model.cfg.n_layers - 1
    return [*grid(model, "resid_pre"), Node("resid_post", last)]


def pass_d(scene: Scene, stored: Stored) -> Float[Tensor, "sender batch d_model"]:
    """Run what the receivers can change. Returns: the state after the last layer at END."""
    n_layers, end, pos = scene.model.cfg.n_layers, scene.tokens.at(END), scene.suffix()
    writes: dict[int, Stored] = {}
    for node, value in stored.items():
        writes.setdefault(scene.depth(node), {})[node] = value
        if scene.depth(node) == n_layers and node.at == END:
            return value[:, :, 0]
    low, count = min(writes), len(next(iter(stored.values())))
    x = take(scene.resid[low], pos).expand(count, -1, -1, -1).clone()
    for depth in range(low, n_layers + 1):
        inputs = writes.get(depth, {})
        for node in [node for node in inputs if node.head is None]:
            _write(scene, node, inputs.pop(node), x)
        if depth < n_layers:
            x = x + _attention(scene, depth, x, pos, inputs)
            if not scene.model.cfg.attn_only:
                x = x + _only(scene.live(depth), partial(_mlp, scene.model.blocks[depth]), x)
    return x[:, torch.arange(len(end)), end - pos[:, 0]]


def _attention(scene: Scene, depth: int, x: Tensor, pos: Tensor, inputs: Stored) -> Tensor:
    """One attention layer over the suffix `pos`, with B's keys and values before it."""
    attn, every = scene.model.blocks[depth].attn, torch.arange(int(pos[:, 0].max()))
    here = {"q": scene.live(depth), "k": scene.live(), "v": scene.live()}
    own = {kind: _only(here[kind], partial(project, scene, depth, kind), x) for kind in here}
    for node, value in inputs.items():
        for head in node.heads(scene.model):
            _write(scene, node, value, own[node.kind][..., head, :])
    q, k = (_rotate(scene, own[kind], pos) for kind in "qk")
    resid = scene.resid[depth, :, : len(every)]
    before = {kind: project(scene, depth, kind, resid) for kind in "kv"}
    k_before = _rotate(scene, before["k"], every.expand(len(pos), -1))
    to_b = torch.einsum("sbqhd,bkhd->sbhqk", q, k_before)
    scores = torch.cat([to_b, torch.einsum("sbqhd,sbkhd->sbhqk", q, k)], -1)
    scores = scores * scene.model.cfg.d_head**-0.5
    steps = torch.arange(pos.shape[1])
    in_b = (every < pos[:, :1])[:, None].expand(-1, len(steps), -1)
    seen = torch.cat([in_b, (steps <= steps[:, None]).expand(len(pos), -1, -1)], -1)
    pattern = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
    old, new = pattern.split([len(every), len(steps)], dim=-1)
    z = torch.einsum("sbhqk,bkhd->sbqhd", old, before["v"])
    z = z + torch.einsum("sbhqk,sbkhd->sbqhd", new, own["v"])
    return _only(here["q"], attn.o, z.flatten(-2))


def _mlp(block: Model, x: Tensor) -> Tensor:
    return block.mlp(block.ln2(x))


def _only(live: Tensor, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function to the live positions of [sender, batch, pos, ...]. The rest stays 0."""
    found = function(x[:, live])
    whole = found.new_zeros(*x.shape[:3], *found.shape[2:])
    whole[:, live] = found
    return whole


def _write(scene: Scene, node: Node, value: Tensor, target: Tensor) -> None:
    """Write a receiver's value into a suffix [sender, batch, pos, ...], in place."""
    batch, first = torch.arange(len(scene.tokens))[:, None], scene.suffix()[:, :1]
    target[:, batch, scene.places(node) - first] = value


def project(scene: Scene, depth: int, kind: str, x: Tensor) -> Float[Tensor, "... head d_head"]:
    """Queries, keys or values of a layer from the residual stream below it."""
    block = scene.model.blocks[depth]
    return getattr(block.attn, kind)(block.ln1(x)).unflatten(-1, (scene.model.cfg.n_heads, -1))


def _rotate(scene: Scene, x: Tensor, pos: Int[Tensor, "batch pos"]) -> Tensor:
    """Apply rotary positions, if the model has them, to [..., batch, pos, head, d_head]."""
    if scene.model.cfg.positional_embedding_type != "rotary":
        return x
    cos, sin = (table[:, :, None] for table in scene.model.rotary_emb(x, pos))
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def take(values: Float[Tensor, "batch pos ..."], pos: Int[Tensor, "batch place"]) -> Tensor:
    """Pick places of every prompt; those past the padding (never read) repeat the last."""
    batch = torch.arange(len(pos))[:, None]
    return values[batch, pos.clamp(max=values.shape[1] - 1)]
