"""Variants of the IOI machine: each changes a few entries of its design, and its true effects.

Source: what Wang et al. 2023 found in GPT-2 small, one piece at a time. Book: chapters 5 to 9.
"""

from dataclasses import replace
from math import log, sqrt

from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.handmade.build import build
from pathpatch.handmade.designs import SHARP, HandMade, Head, TrueEffect, Unit
from pathpatch.handmade.ioi_machine import (
    BOTH_Q,
    KEYS,
    POSITION,
    TOKEN,
    but,
    machine_pairs,
    mover,
    variant,
)
from pathpatch.tasks.pairs import make_prompts

DUPLICATE, INHIBIT, *MOVERS = TOKEN.heads
REST = DUPLICATE.match[-1]
MLP = variant(
    "mlp",
    "The MLP of layer 1 copies `inhibit` to `relayed`. 2.0 reads `inhibit`, 2.1 `relayed`: the "
    "direct path from 1.0 to 2.1 is through the MLP.",
    spaces={**TOKEN.spaces, "relayed": 8},
    heads=(DUPLICATE, INHIBIT, MOVERS[0], mover(1, 2, signal="relayed")),
    units=(Unit(1, "inhibit", "relayed"),),
    effects=but(
        TrueEffect("1.0@END", BOTH_Q, -4, frozen="heads+mlps"),
        TrueEffect("1.0@END", "2.0.q@END", -4, frozen="heads+mlps"),
        TrueEffect("1.0@END", "2.1.q@END", 0, frozen="heads+mlps"),
        TrueEffect("1.mlp_out@END", BOTH_Q, -2),
        TrueEffect("1.mlp_out@END", "2.1.q@END", -2, frozen="heads+mlps"),
        TrueEffect("1.mlp_out@END", "logits@END", 0),
        TrueEffect("1.mlp_out@END", "", -2),
    ),
)
NEGATIVE = variant(
    "negative",
    "2.2 looks where the movers look and writes 2 *against* the name.",
    before=4,
    heads=(DUPLICATE, INHIBIT, *MOVERS, mover(2, -2)),
    effects=(
        TrueEffect("2.0@END", "logits@END", -4),
        TrueEffect("2.2@END", "logits@END", 2),
        TrueEffect("2.2@END", "", 2),
        TrueEffect("1.0@END", BOTH_Q, -6),
        TrueEffect("1.0@END", "2.2.q@END", 2),
        TrueEffect("1.0@END", f"{BOTH_Q}+2.2.q@END", -4),
        TrueEffect("1.0@END", "", -4),
        TrueEffect("0.0@S2", "1.0.v@S2", -4),
        TrueEffect("0.0@S2", "1.0.v@S2", -8, "flip"),
    ),
)
BACKUP = variant(
    "backup",
    "3.0 avoids names that are inhibited and names that the movers say. Normally none is left and "
    "it rests; when neither mover says IO, it finds IO and says it with 4.",
    heads=(
        DUPLICATE,
        INHIBIT,
        *MOVERS,
        replace(mover(0, 4, layer=3), match=(*MOVERS[0].match[:2], ("say", "name", -2), REST)),
    ),
    effects=(
        TrueEffect("2.0@END", "logits@END", -4),
        TrueEffect("2.0@END", "", -4),  # 2.1 still says IO
        TrueEffect("2.0@END+2.1@END", "logits@END", -6),
        TrueEffect("2.0@END+2.1@END", "3.0.q@END", 4),
        TrueEffect("2.0@END+2.1@END", "", -6 + 4),  # the backup hides most of the direct effect
        TrueEffect("1.0@END", BOTH_Q, -6),  # both names are said: no name is left for 3.0
        TrueEffect("1.0@END", "3.0.q@END", -4),  # S is free, and IO is said: 3.0 says S
        TrueEffect("1.0@END", "", -6),
        TrueEffect("0.0@S2", "1.0.v@S2", -6),
    ),
)
GROUPED = variant(
    "grouped",
    "Two query heads share keys and values. Only the query of 2.0 reads `inhibit`; 2.1 always "
    "says both names, 2 each. 0.1 and 1.1 rest and write nothing.",
    before=4,
    group=2,
    heads=(
        DUPLICATE,
        Head(0, 1, (("name", "name", 0), ("position", "position", 0), REST), None),
        INHIBIT,
        Head(1, 1, (("end", "late name", 0), REST), None),
        MOVERS[0],
        Head(2, 1, (("end", "early name", 2), ("inhibit", "name", 0), REST), MOVERS[0].copy),
    ),
    effects=(
        TrueEffect("2.0@END", "logits@END", -4),
        TrueEffect("2.1@END", "logits@END", 0),
        TrueEffect("1.0@END", "2.0.q@END", -4),
        TrueEffect("1.0@END", "2.1.q@END", 0),
        TrueEffect("0.0@S2", "1.0.v@S2", -4),
        TrueEffect("0.0@S2", "1.1.v@S2", 0),
        TrueEffect("0.0@S2", "1.kv0.v@S2", -4),
        TrueEffect("embed@IO", "2.0.v@IO", -4),  # 2.0 says another name, with 4
        TrueEffect("embed@IO", "2.1.v@IO", -2),  # 2.1 says it with 2 instead of IO
        TrueEffect("embed@IO", "2.kv0.v@IO", -6),
        TrueEffect("embed@S1", "2.0.k@S1", -4),
        TrueEffect("embed@S1", "2.1.k@S1", 0),
        TrueEffect("0.0@S2", "1.0.v@S2", -8, "flip"),
    ),
)


def _soft(p: float, inhibit: int) -> float:
    """The logit difference of the normed machine: 2.0 says IO with 4 p and S with 4 (1 - p).

    At END the squares are 1 (word), 1 (position), inhibit ** 2, and what is said. The last norm
    divides by the root of their sum, times sqrt(2).
    """
    return 4 * (2 * p - 1) * sqrt(2 / (2 + inhibit**2 + 16 * (p**2 + (1 - p) ** 2)))


ONE_LEFT = 1 / (1 + 3 ** -sqrt(1 / 2))  # p when `inhibit` is 1 before the norm of layer 2
NORM_LD = _soft(3 / 4, 2)  # sqrt(2) / 2
SOFT = -log(3) * sqrt(3) / 2 / SHARP
NORM = variant(
    "norm",
    "RMSNorms to length sqrt(2), which an embedding has. Two heads, 1.0 and 1.1, each add 1 to "
    "`inhibit`; END then has length sqrt(6). The one mover is soft: S is less attended than IO by "
    "the factor exp(-log(3) sqrt(3) / 2 * x), with x the normed `inhibit`: 2 sqrt(2 / 6), which "
    "gives 1/3; with one head 1 sqrt(2 / 3), since the norm shrinks less, which gives 3 ** "
    "-sqrt(1 / 2). With the scale frozen it would give 3 ** -(1 / 2).",
    before=NORM_LD,
    scale=sqrt(2),
    heads=(
        DUPLICATE,
        *(replace(INHIBIT, head=i, copy=("seen", "inhibit", sqrt(3 / 2))) for i in (0, 1)),
        replace(MOVERS[0], match=(MOVERS[0].match[0], ("inhibit", "name", SOFT), REST)),
    ),
    effects=(
        TrueEffect("2.0@END", "logits@END", -NORM_LD),
        TrueEffect("1.0@END", "2.0.q@END", _soft(ONE_LEFT, 2) - NORM_LD),
        TrueEffect("1.0@END+1.1@END", "2.0.q@END", -NORM_LD),
        # through the last norm alone
        TrueEffect("1.0@END", "logits@END", _soft(3 / 4, 1) - NORM_LD),
        TrueEffect("1.0@END", "", _soft(ONE_LEFT, 1) - NORM_LD),
        TrueEffect("0.0@S2", "1.0.v@S2", _soft(ONE_LEFT, 1) - NORM_LD),
        TrueEffect("0.0@S2", "1.0.k@S2", 0),  # the keys change length, the attention does not
        TrueEffect("0.0@S2", "1.0.v@S2+1.1.v@S2", -NORM_LD),
        TrueEffect("1.0@END", "2.0.q@END", -NORM_LD, "flip"),  # one inhibits S, the other IO
        TrueEffect("1.0@END+1.1@END", "2.0.q@END", -2 * NORM_LD, "flip"),
    ),
)
VARIANTS = {
    design.name.removeprefix("ioi-machine-"): design
    for design in (TOKEN, KEYS, POSITION, MLP, NEGATIVE, BACKUP, GROUPED, NORM)
}


def ioi_machine(name: str = "token") -> HandMade:
    """The machine with every pair of names, in both orders and templates (224 prompts).

    Prompts: `abc`, `flip` and `exchange` (see `machine_pairs`), with the positions IO, S1, S1+1,
    S2 and END. Variants: token, keys, position, mlp, negative, backup, grouped, norm.

    Raises: PathPatchError for an unknown variant.
    """
    if name not in VARIANTS:
        hint = did_you_mean(name, VARIANTS)
        raise PathPatchError(f"there is no variant {name!r} of the machine; {hint}")
    model = build(VARIANTS[name])
    prompts = {
        kind: make_prompts(model.tokenizer, list(machine_pairs(kind))) for kind in TOKEN.before
    }
    return HandMade(model, VARIANTS[name], prompts)
