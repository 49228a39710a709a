"""The IOI machine: an attention-only transformer, written by hand, that solves IOI exactly.

Two heads a layer, three layers, all at the positions where the paper finds their kind:

    0.0  duplicate token, at S2: finds the same name earlier and writes it (`seen`)
    1.0  S-inhibition, at END: finds S2 and copies `seen` into `inhibit`
    2.0  name movers, at END: attend to one of the first two names that is not inhibited, or
    2.1  to both, half each; copy it into `say`, from which the logits are read (4 and 2)

A head with nothing to find rests at position 0, where its value is zero. So the logit difference
is 4 + 2 = 6, and 0 where nothing is inhibited. Signal paths: 0.0 reaches 1.0 through its values
only; 1.0 reaches the movers through their queries only. `ioi_variants` changes a thing or two.

Source: Wang et al. 2023, section 3. Book: chapter 7.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product

from pathpatch.handmade.designs import Design, Head, Number, TrueEffect
from pathpatch.prompts import Pair
from pathpatch.tasks.ioi import ORDERS

NAMES = tuple("Anna Brian Carol Daniel Emma Frank Helen James".split())
TEMPLATES = {  # and the positions of the names in them
    "When {} and {} met, {} spoke to": (1, 3, 6),
    "When {} and {} went out, {} spoke to": (1, 3, 7),
}
FILLERS = ("When", " and", " met", " went", " out", ",", " spoke", " to")
PLACES = 10
KINDS = ("abc", "flip", "exchange")

REST = ("one", "first", 3.0)
DUPLICATE = Head(
    0, 0, (("name", "name", 4), ("position", "position", -4), REST), ("name", "seen", 1)
)
INHIBIT = Head(1, 0, (("end", "late name", 2), REST), ("seen", "inhibit", 1))


def mover(head: int, times: Number, signal: str = "inhibit", layer: int = 2) -> Head:
    look = (("end", "early name", 2), (signal, "name", -2), REST)
    return Head(layer, head, look, ("name", "say", times))


MOVERS = (mover(0, 4), mover(1, 2))
BOTH_Q = "2.0.q@END+2.1.q@END"
BASE_EFFECTS = (
    # x_new = p_ABC: nothing is seen twice, nothing inhibited, the movers say two other names.
    TrueEffect("2.0@END", "logits@END", -4),
    TrueEffect("2.1@END", "logits@END", -2),
    TrueEffect("2.0@END+2.1@END", "", -6),
    TrueEffect("1.0@END", "2.0.q@END", -4),  # 2.0 then says IO and S, 2 each
    TrueEffect("1.0@END", "2.1.q@END", -2),
    TrueEffect("1.0@END", BOTH_Q, -6),
    TrueEffect("1.0@END", "2.0.k@END+2.0.v@END", 0),
    TrueEffect("1.0@END", "logits@END", 0),
    TrueEffect("1.0@END", "", -6),
    TrueEffect("0.0@S2", BOTH_Q, 0),  # 0.0 reaches them only through 1.0, a head
    TrueEffect("0.0@S2", "1.0.q@END+1.0.k@S2", 0),
    TrueEffect("0.0@S2", "1.0.v@S2", -6),
    TrueEffect("0.0@END", "1.0.v@S2", 0),  # no direct path leaves its position
    TrueEffect("0.0@S2", "1.0.v@S2+2.0.q@END", -2),  # 2.0.q is stored as it was: 1.0 is frozen
    TrueEffect("0.0@S2", "", -6),
    TrueEffect("embed@S2", "1.0.v@S2", 0),  # the name itself is not read; that 0.0 sees it is
    TrueEffect("embed@S1", "2.0.k@S1", -4),  # another name stands there, and is not inhibited
    # flip: S2 is the other name, so that IO and S change roles and the wrong name is inhibited.
    TrueEffect("2.0@END", "logits@END", -8, "flip"),
    TrueEffect("1.0@END", BOTH_Q, -12, "flip"),
    TrueEffect("0.0@S2", "1.0.v@S2", -12, "flip"),
    # exchange: the first two names change places. The name that is inhibited stays.
    TrueEffect("1.0@END", BOTH_Q, 0, "exchange"),
    TrueEffect("0.0@S2", "1.0.v@S2", 0, "exchange"),
    TrueEffect("2.0@END", "logits@END", 0, "exchange"),
)

SPACES = {"name": 8, "word": 8, "position": PLACES, "seen": 8, "inhibit": 8, "say": 8}
ALL_NAMES = [1.0] * len(NAMES)
TOKEN = Design(
    name="ioi-machine-token",
    circuit=__doc__ or "",
    words=(*FILLERS, *(f" {name}" for name in NAMES)),
    spaces=SPACES,
    views={
        "end": {"word": [float(word == " to") for word in FILLERS]},
        "early name": {"name": ALL_NAMES, "position": [float(0 < i < 5) for i in range(PLACES)]},
        "late name": {"name": ALL_NAMES, "position": [float(i >= 5) for i in range(PLACES)]},
        "is name": {"name": ALL_NAMES},
    },
    embed=tuple((word, "word", i, 1) for i, word in enumerate(FILLERS))
    + tuple((f" {name}", "name", i, 1) for i, name in enumerate(NAMES)),
    unembed=tuple((f" {name}", "say", i, 1) for i, name in enumerate(NAMES)),
    heads=(DUPLICATE, INHIBIT, *MOVERS),
    before=dict.fromkeys(KINDS, 6),
    effects=BASE_EFFECTS,
)


def variant(name: str, circuit: str, before: Number = 6, **changes: object) -> Design:
    design = replace(TOKEN, name=f"ioi-machine-{name}", circuit=circuit)
    return replace(design, before=dict.fromkeys(KINDS, before), **changes)  # type: ignore[arg-type]


def but(*effects: TrueEffect) -> tuple[TrueEffect, ...]:
    """The effects of the plain machine, but for these."""
    where = {(e.senders, e.receivers, e.prompts, e.frozen): e for e in (*BASE_EFFECTS, *effects)}
    return tuple(where.values())


KEYS = variant(
    "keys",
    "0.0 writes only *that* the name was seen. 1.0 finds S2 by this mark, and copies the name "
    "that stands there: 0.0 reaches 1.0 through its keys only.",
    spaces={**SPACES, "seen": 1},
    heads=(
        replace(DUPLICATE, copy=("is name", "seen", 1)),
        Head(1, 0, (("end", "seen", 6), REST), ("name", "inhibit", 1)),
        *MOVERS,
    ),
    effects=but(
        TrueEffect("0.0@S2", "1.0.v@S2", 0),
        TrueEffect("0.0@S2", "1.0.q@END+1.0.k@S2", -6),
        TrueEffect("0.0@S2", "1.0.v@S2+2.0.q@END", 0),
        TrueEffect("embed@S2", "1.0.v@S2", -6),
        TrueEffect("0.0@S2", "1.0.v@S2", 0, "flip"),
        TrueEffect("0.0@S2", "1.0.k@S2", 0, "flip"),  # seen as before
        TrueEffect("embed@S2", "1.0.v@S2", -12, "flip"),
    ),
)
POSITION = variant(
    "position",
    "0.0 writes at which position it found the name, 1.0 copies that, and the movers avoid the "
    "position, whatever name stands there. At rest 0.0 writes position 0, where no name is.",
    spaces={**SPACES, "seen": SPACES["position"], "inhibit": SPACES["position"]},
    heads=(
        replace(DUPLICATE, copy=("position", "seen", 1)),
        INHIBIT,
        *(replace(m, match=(m.match[0], ("inhibit", "position", -2), REST)) for m in MOVERS),
    ),
    effects=but(
        TrueEffect("embed@S1", "2.0.k@S1", 0),
        TrueEffect("1.0@END", BOTH_Q, -12, "exchange"),
        TrueEffect("0.0@S2", "1.0.v@S2", -12, "exchange"),
    ),
)


def machine_pairs(kind: str) -> Iterator[Pair]:
    """Every IOI prompt of the machine's vocabulary, with the corrupt prompt of one kind.

    `abc`: three names that the clean prompt does not have. `flip`: S2 is the other name.
    `exchange`: the first two names change places.
    """
    for io, s in permutations(NAMES, 2):
        others = [name for name in NAMES if name not in (io, s)]
        for (order, roles), (template, slots) in product(ORDERS.items(), TEMPLATES.items()):
            first, second, third = ({"IO": io, "S": s}[role] for role in roles)
            corrupt = {
                "abc": others[:3],
                "flip": (first, second, io),
                "exchange": (second, first, third),
            }[kind]
            labels = ("IO", "S1", "S2") if order == "ABBA" else ("S1", "IO", "S2")
            index = dict(zip(labels, slots, strict=True))
            positions = {**index, "S1+1": index["S1"] + 1, "END": slots[-1] + 2}
            texts = template.format(first, second, third), template.format(*corrupt)
            yield Pair(*texts, f" {io}", f" {s}", positions, group=order, template=texts[0])
