"""An IOI machine whose wiring follows from a key, for the last exercise of chapter 6.

Which head has which role, whether the signal goes by token, by key or by position, how loud the
movers are, and whether one of them speaks against the answer: all of it is drawn from the key. All
other heads look somewhere and write where nobody reads.
"""

import hashlib
from dataclasses import dataclass, replace
from random import Random

from pathpatch.handmade.build import build
from pathpatch.handmade.designs import Design, HandMade, Head
from pathpatch.handmade.ioi_machine import KEYS, POSITION, REST, TOKEN, machine_pairs, mover
from pathpatch.tasks.pairs import make_prompts

WIDTH = 4  # heads in a layer
LAYERS = 3


@dataclass(frozen=True)
class Wiring:
    """Which heads do something. numbers: of the heads of each layer, those that do come first.

    says: for each mover, how loud; door: through which 1's inhibition reads, "k" or "v".
    """

    numbers: list[list[int]]
    says: list[int]
    door: str


def planted(key: str) -> HandMade:
    """The machine of a key, with `abc` prompts. The same key gives the same machine everywhere."""
    design, _ = drawn(key)
    model = build(design)
    pairs = list(machine_pairs("abc"))[::14]
    return HandMade(model, design, {"abc": make_prompts(model.tokenizer, pairs)})


def drawn(key: str) -> tuple[Design, Wiring]:
    """What a key stands for. The true edges follow from it: `checks.ch06_planted` says how."""
    random = Random(hashlib.sha256(key.encode()).digest())
    base = random.choice((TOKEN, KEYS, POSITION))
    door = "k" if base is KEYS else "v"
    numbers = [random.sample(range(WIDTH), WIDTH) for _ in range(LAYERS)]
    loud = random.sample((1, 2, 3, 4, 5), 2)
    says = [*loud, -1] if random.random() < 0.5 else loud
    duplicate, inhibit, first, _ = base.heads
    heads = [
        replace(duplicate, head=numbers[0][0]),
        replace(inhibit, head=numbers[1][0]),
        *(
            replace(mover(number, times), match=first.match)
            for number, times in zip(numbers[2], says, strict=False)
        ),
    ]
    taken = {(head.layer, head.head) for head in heads}
    idle = [
        _decoy(layer, number, random)
        for layer in range(LAYERS)
        for number in range(WIDTH)
        if (layer, number) not in taken
    ]
    design = replace(
        base,
        name="planted",
        circuit="Find it.",
        spaces={**base.spaces, "spare": base.spaces["name"]},
        heads=(*heads, *idle),
        effects=(),
    )
    return design, Wiring(numbers, says, door)


def _decoy(layer: int, number: int, random: Random) -> Head:
    """A head that looks at a name, as others do, and writes where nobody reads."""
    look = random.choice(("early name", "late name"))
    return Head(layer, number, (("end", look, 2), REST), ("name", "spare", 1))
