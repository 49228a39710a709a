"""The integer toy of `pathpatch.handmade.toys` by plain arithmetic: the models must agree."""

from collections.abc import Mapping

from pathpatch.handmade.toys import X_NEW, X_ORIG


def arithmetic(a: int, q: int, h: int, **held: int) -> dict[str, int]:
    """p, R and y; p and R can be held at a value, as a patch does."""
    p = held.get("p", a + h)
    r = held.get("R", p + q + h)
    return {"p": p, "R": r, "y": 10 * r + h}


def by_pencil(orig: Mapping[str, int] = X_ORIG, new: Mapping[str, int] = X_NEW) -> dict[str, int]:
    """y after each row of the table at the top of the toys."""
    before, other = arithmetic(**orig), arithmetic(**new)
    new_h = {**orig, "h": new["h"]}
    p_frozen, p_recomputed = arithmetic(**new_h, p=before["p"]), arithmetic(**new_h)
    return {
        "none": before["y"],
        "path patch, p frozen": arithmetic(**orig, R=p_frozen["R"])["y"],
        "path patch, p recomputed": arithmetic(**orig, R=p_recomputed["R"])["y"],
        "activation patch h": p_recomputed["y"],
        "overwrite R": arithmetic(**orig, R=other["R"])["y"],
    }
