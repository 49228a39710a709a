"""What was measured in SmolLM2-135M once, for the exercises of chapter 7: nothing has to run.

The direct effect of each head on the logit difference, IO over S (path patching, receiver: the
logits at END, all heads frozen in pass C; noising, p_ABC). `book/walk_smollm2.py` writes the file.
"""

from functools import cache
from typing import Any

import numpy as np

from exercises.catalogue import FOLDER
from pathpatch import Effects
from pathpatch.effects import About
from pathpatch.errors import PathPatchError, did_you_mean
from pathpatch.nodes import node_set

FILE = FOLDER / "direct_effects.npz"
ORDERS = ("ABBA", "BABA")


def direct_effects(order: str | None = None) -> Effects:
    """The effects of all 270 heads, each patched by itself, on 210 prompts or those of one order.

    order: "ABBA" (IO comes first), "BABA" (S comes first), or None for both. There are 15 frames,
    with 7 prompts in each order; `templates` of the result names the frame of each prompt.
    """
    if order not in (None, *ORDERS):
        raise PathPatchError(f"no prompts have the order {order!r}; {did_you_mean(order, ORDERS)}")
    found = _file()
    of = np.full(len(found["base"]), True) if order is None else found["order"] == order
    base = found["base"][of]
    patched = base + found["change"][:, of] / 1000  # stored in thousandths of a logit
    senders = [node_set(str(name)) for name in found["senders"]]
    about = About(**{key: str(found[key]) for key in ABOUT}, receivers=["logits@END"])
    return Effects(senders, base, patched, about, found["frame"][of].tolist())


ABOUT = ("model", "model_sha256", "at", "frozen", "direction", "metric", "engine", "prompts_sha256")


@cache
def _file() -> dict[str, Any]:
    with np.load(FILE) as found:
        return dict(found)


def save(effects: Effects, orders: list[str]) -> None:
    """Write the file. orders: of the names, for each prompt."""
    of_head = [len(nodes) == 1 and nodes[0].kind == "z" for nodes in effects.senders]
    about = {key: getattr(effects.about, key) for key in ABOUT}
    np.savez_compressed(
        FILE,
        senders=np.array(effects.names)[of_head],
        base=effects.base.astype(np.float32),
        change=np.round(1000 * effects.change[of_head]).astype(np.int16),
        order=np.array(orders),
        frame=np.array(effects.templates),
        **about,
    )
