"""Toys for a pencil: p + q + h with whole numbers, and gates of two heads.

A prompt such as "given -2 2 3 =" holds three numbers. In layer 0 a head for each copies it to
END; the answer's logit (" yes") is the result, the foil's (" no") is 0, so that the logit
difference is y itself.

The toy: p = a + h, R = p + q + h, y = 10 R + h. From x_orig (a, q, h) = (-2, 2, 3) to x_new
(1, 0, 4), with h as sender and R as receiver:

    none                              p = 1, R = 6    y = 63
    path patch, p a head (frozen)     p = 1, R = 7    y = 73
    path patch, p an MLP (recomputed) p = 2, R = 8    y = 83
    activation patch h                p = 2, R = 8    y = 84   (the 10 R + h sees h = 4)
    overwrite R with its x_new value         R = 9    y = 93

Source: the questions in the reader's notes that began this project. Book: chapter 1.
"""

from dataclasses import replace

from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.handmade.build import build
from pathpatch.handmade.designs import Design, HandMade, Head, TrueEffect, Unit
from pathpatch.prompts import Pair
from pathpatch.tasks.pairs import make_prompts

X_ORIG = {"a": -2, "q": 2, "h": 3}
X_NEW = {"a": 1, "q": 0, "h": 4}
NUMBERS = tuple(f" {n}" for n in range(-9, 10))
LABELS = {"A": 1, "Q": 2, "H": 3}
SCALARS = {name: 1 for name in ("number", "a", "q", "h", "p", "R")}


def _input(head: int, name: str) -> Head:
    """Copy the number at position head + 1 to its subspace; before that position, rest."""
    here = f"at {head + 1}"
    return Head(0, head, (("one", here, 2), ("one", "first", 1)), ("number", name, 1))


def _self(layer: int, view: str, into: str) -> Head:
    """Each position attends to itself and adds a view of itself."""
    return Head(layer, 0, (("position", "position", 1),), (view, into, 1))


INPUTS = tuple(_input(i, name) for i, name in enumerate("aqh"))
SUMS = {"a+h": "ah", "p+q+h": "pqh", "a+q+h": "aqh", "a+q": "aq"}
BASE = Design(
    name="toy-head",
    circuit="0.0: a, 0.1: q, 0.2: h, all copied to END. 1.0: p = a + h. 2.0: R = p + q + h. "
    "Logit: y = 10 R + h.",
    words=("given", *NUMBERS, " =", " yes", " no"),
    spaces={"position": 5, **SCALARS},
    views={
        **{f"at {i}": {"position": [float(j == i) for j in range(5)]} for i in (1, 2, 3)},
        **{name: {letter: [1] for letter in letters} for name, letters in SUMS.items()},
    },
    embed=tuple((word, "number", 0, int(word)) for word in NUMBERS),
    unembed=((" yes", "R", 0, 10), (" yes", "h", 0, 1)),
    heads=(*INPUTS, _self(1, "a+h", "p"), _self(2, "p+q+h", "R")),
    before={"x_new": 63},
    effects=(
        TrueEffect("0.2@END", "2.0.v@END", 73 - 63, "x_new"),
        TrueEffect("0.2@END", "1.0.v@END", 73 - 63, "x_new"),  # h -> p -> R, and not h -> R
        TrueEffect("1.0@END", "2.0.v@END", 40, "x_new"),  # p becomes 5
        TrueEffect("0.2@END", "2.0.q@END+2.0.k@END", 0, "x_new"),  # R reads its values alone
        TrueEffect("0.2@END", "logits@END", 1, "x_new"),
        TrueEffect("0.2@END", "", 84 - 63, "x_new"),
        TrueEffect("2.0.v@END", "", 93 - 63, "x_new"),
    ),
)
WITH_MLP = replace(
    BASE,
    name="toy-mlp",
    circuit="As toy-head, but p = a + h is computed by the MLP of layer 0, from a + h and from "
    "-(a + h), since a unit passes only what is positive. R is 1.0.",
    heads=(*INPUTS, _self(1, "p+q+h", "R")),
    units=(Unit(0, "a+h", "p"), Unit(0, "a+h", "p", times=-1, sign=-1)),
    effects=(
        TrueEffect("0.2@END", "1.0.v@END", 83 - 63, "x_new"),
        TrueEffect("0.2@END", "1.0.v@END", 73 - 63, "x_new", "heads+mlps"),
        TrueEffect("0.mlp_out@END", "1.0.v@END", 40, "x_new"),  # p becomes 5
        TrueEffect("0.2@END", "logits@END", 1, "x_new"),
        TrueEffect("0.2@END", "", 84 - 63, "x_new"),
        TrueEffect("1.0.v@END", "", 93 - 63, "x_new"),
    ),
)
SEED = replace(
    BASE,
    name="toy-sum",
    circuit="R = p + q + h with p (0.0), q (0.1) and h (0.2) read from the prompt; y = R. "
    "1 + 2 + 3 becomes 1 + 2 + 4.",
    unembed=((" yes", "R", 0, 1),),
    heads=(*INPUTS, _self(1, "a+q+h", "R")),
    before={"x_new": 6},
    effects=(
        TrueEffect("0.2@END", "1.0.v@END", 7 - 6, "x_new"),
        TrueEffect("0.2@END", "", 7 - 6, "x_new"),
        TrueEffect("1.0.v@END", "", 9 + 0 + 4 - 6, "x_new"),
    ),
)


def _gate(
    name: str, circuit: str, units: tuple[Unit, ...], truth: tuple[TrueEffect, ...]
) -> Design:
    return replace(
        BASE,
        name=name,
        circuit=circuit,
        unembed=((" yes", "R", 0, 1),),
        heads=INPUTS[:2],
        units=units,
        before={"noising": 1, "denoising": 0},
        effects=truth,
    )


def _alone_and_both(alone: int, both: int, prompts: str) -> tuple[TrueEffect, ...]:
    senders = {"0.0@END": alone, "0.1@END": alone, "0.0@END+0.1@END": both}
    return tuple(
        effect
        for sender, change in senders.items()
        for effect in (
            TrueEffect(sender, "logits@END", change, prompts),
            TrueEffect(sender, "logits@END", 0, prompts, "heads+mlps"),  # the gate is the MLP
            TrueEffect(sender, "", change, prompts),
        )
    )


AND = _gate(
    "gate-and",
    "0.0 and 0.1 each carry a bit to END; the MLP computes relu(x + y - 1). Noising: each head "
    "is necessary. Denoising: neither is sufficient alone.",
    (Unit(0, "a+q", "R", bias=-1),),
    _alone_and_both(-1, -1, "noising") + _alone_and_both(0, 1, "denoising"),
)
OR = _gate(
    "gate-or",
    "0.0 and 0.1 each carry a bit to END; the MLP computes relu(x + y) - relu(x + y - 1). "
    "Noising: neither head is necessary. Denoising: each is sufficient.",
    (Unit(0, "a+q", "R"), Unit(0, "a+q", "R", times=-1, bias=-1)),
    _alone_and_both(0, -1, "noising") + _alone_and_both(1, 1, "denoising"),
)
NUMBERS_OF = {  # the numbers in the clean text of the pair and in the corrupt one
    "head": (X_ORIG.values(), X_NEW.values()),
    "mlp": (X_ORIG.values(), X_NEW.values()),
    "sum": ((1, 2, 3), (9, 0, 4)),
    "and": ((1, 1, 0), (0, 0, 0)),
    "or": ((1, 1, 0), (0, 0, 0)),
}
TOYS = {"head": BASE, "mlp": WITH_MLP, "sum": SEED, "and": AND, "or": OR}


def toy(name: str) -> HandMade:
    """A toy: p as a `head`, p as an `mlp`, the plain `sum`, the gates `and` and `or`.

    Raises: PathPatchError for another name.
    """
    if name not in TOYS:
        raise PathPatchError(f"there is no toy {name!r}; {did_you_mean(name, TOYS)}")
    design = TOYS[name]
    model = build(design)
    clean, corrupt = (f"given {' '.join(map(str, numbers))} =" for numbers in NUMBERS_OF[name])
    pair = Pair(clean, corrupt, " yes", " no", {**LABELS, "END": 4})
    prompts = make_prompts(model.tokenizer, [pair])
    if "denoising" not in design.before:
        return HandMade(model, design, {"x_new": prompts})
    return HandMade(model, design, {"noising": prompts, "denoising": prompts.swapped()})
