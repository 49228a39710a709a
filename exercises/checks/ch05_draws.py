"""What the exercises of chapter 5 on path patching are asked: models, prompts, nodes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from exercises.room.inputs import random_prompts, tiny
from pathpatch import Node, Prompts
from pathpatch.nodes import Model

LABELS = ("IO", "S1", "S2", "END")  # of the prompts that are drawn, in the order of their places
COMMON = 9  # the shortest of these prompts has as many tokens: these have the same place in all


@dataclass(frozen=True)
class Lab:
    """A random model with prompts, and what can be drawn from it."""

    kind: str
    model: Model
    prompts: Prompts
    random: Random

    @property
    def layers(self) -> int:
        return int(self.model.cfg.n_layers)

    @property
    def shown(self) -> str:
        return f"tiny_model({self.kind!r}, layers={self.layers})"

    def place(self) -> str | int:
        """A position: a label, or now and then a token index."""
        index = self.random.randrange(1, COMMON)
        return index if self.random.random() < 0.2 else self.random.choice(LABELS)

    def head(self, layer: int, at: str | int | None) -> Node:
        """The output of some head of a layer."""
        return Node("z", layer, self.random.randrange(self.model.cfg.n_heads), at=at)

    def door(self, layer: int, at: str | int | None, kinds: str = "qkv") -> Node:
        """An input of some head of a layer; where heads share a key, now and then all of them."""
        kind, group = self.random.choice(kinds), self.model.cfg.query_heads_per_kv
        head = self.random.randrange(self.model.cfg.n_heads)
        if kind != "q" and group > 1 and self.random.random() < 0.4:
            return Node(kind, layer, head // group, shared=True, at=at)
        return Node(kind, layer, head, at=at)

    def seen(self, layer: int, at: str | int | None) -> Node:
        """An input of a head that END can see: a query of the last layer acts at its own place."""
        last = layer == self.layers - 1 and at not in (None, "END")
        return self.door(layer, at, "kv" if last else "qkv")


def labs(random: Random) -> Iterator[tuple[Lab, Lab, Lab, Lab]]:
    """Both families with three layers, one with 5 or 6, and the other with 2 or 4; new prompts.

    No more models than that for one check: each takes a quarter of a second to make.
    """
    one, other = random.sample(["gpt2", "llama"], 2)
    some = ((one, 3), (other, 3), (other, random.choice([5, 6])), (one, random.choice([2, 4])))
    sizes = [2, 3, 4, 5]
    while True:
        first, second, deep, low = (tiny(kind, layers) for kind, layers in some)
        batches = [*random.sample(sizes, 3), random.choice([1, 2, 3])]
        kinds = [kind for kind, _ in some]
        made = [
            Lab(kind, model, _prompts(model, random, batch), random)
            for kind, model, batch in zip(kinds, (first, second, deep, low), batches, strict=True)
        ]
        yield made[0], made[1], made[2], made[3]


def few_labs(random: Random) -> Iterator[tuple[Lab, Lab, Lab]]:
    """One family with three layers, the other with 4 to 6, and one of them with 2; new prompts."""
    one, other = random.sample(["gpt2", "llama"], 2)
    some = (one, 3), (other, random.choice([4, 5, 6])), (random.choice([one, other]), 2)
    while True:
        batches = [*random.sample([2, 3, 4, 5], 2), random.choice([1, 2, 3])]
        made = []
        for (kind, layers), batch in zip(some, batches, strict=True):
            model = tiny(kind, layers)
            made.append(Lab(kind, model, _prompts(model, random, batch), random))
        yield made[0], made[1], made[2]


def _prompts(model: Model, random: Random, batch: int) -> Prompts:
    """The first is not the longest, so that its END is not the last position."""
    while True:
        drawn = random_prompts(model, random, batch)
        if batch == 1 or int(drawn.orig.at("END")[0]) < drawn.orig.ids.shape[1] - 1:
            return drawn


def names(nodes: Sequence[Node]) -> str:
    """Nodes as one would write them in a call."""
    return str([str(node) for node in nodes])
