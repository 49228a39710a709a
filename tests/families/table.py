"""Which families of models give the right numbers: literal form, fast engine, and the truth.

python tests/families/table.py     writes book/data/families.json, which the appendix prints
"""

import copy
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import truth
import zoo
from torch import Tensor

from pathpatch import (
    Node,
    Pair,
    PathPatchError,
    Prompts,
    SweepOptions,
    Tokens,
    activation_patch,
    grid,
    heads,
    logit_diff,
    path_patch,
    path_sweep,
    run,
    wrap,
)
from pathpatch.models.tiny import word_tokenizer
from pathpatch.nodes import KINDS

FILE = Path(__file__).parents[2] / "book/data/families.json"
ROUNDING = 1e-4  # of the largest logit: some families round through float32
POS = 9
RECEIVERS = ("logits@END", "2.1.q@END", "1.2.v@3", "1.mlp_in@3")
TO = {"logits@END": None, "1.resid_post@END": ("resid", 2), "1.mlp_in@END": ("mlp", 1)}


def prompts() -> Prompts:
    """Two prompts of random tokens, without a text."""
    generator = torch.Generator().manual_seed(1)
    sides = [torch.randint(1, zoo.WORDS, (2, POS), generator=generator) for _ in range(2)]
    end = {"END": torch.full((2,), POS - 1)}
    orig, new = (Tokens(ids, end) for ids in sides)
    pairs = (Pair("", "", "", ""),) * 2
    return Prompts(orig, new, torch.tensor([5, 6]), torch.tensor([7, 8]), pairs)


def row(name: str, kv_heads: int) -> dict[str, Any]:
    """One line of the table: right, refused (why), not tried (why), or wrong (what)."""
    found = {"family": name, "kv_heads": kv_heads, "result": "", "why": "", "fast": "", "deaf": []}
    try:
        original = zoo.build(name, kv_heads)
    except Exception as error:  # not every class can be made small, or is there at all
        return found | {"result": "not tried", "why": short(error)}
    try:
        model = wrap(copy.deepcopy(original), tokenizer(), name)
        wrong = compare(model, original)
        found |= {"fast": fast(model)}
    except PathPatchError as error:
        return found | {"result": "refused", "why": short(error)}
    except Exception as error:
        return found | {"result": "wrong", "why": f"a traceback: {short(error)}"}
    missing = {kind for kind in KINDS if not any(n.is_in(model) for n in grid(model, kind))}
    found["deaf"] = sorted(model.cfg.deaf | missing)
    return found | {"result": "wrong" if wrong else "right", "why": ", ".join(wrong)}


def tokenizer() -> Any:
    return word_tokenizer([f" w{i}" for i in range(zoo.WORDS - 1)])


def short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def compare(model: Any, original: Any) -> list[str]:
    """What differs from the truth: logits, patches of single heads, paths from single heads to the
    logits, to a residual stream and to an MLP."""
    asked = prompts()
    ids, new = asked.orig.ids, asked.new.ids
    everything = run(model, asked.orig, reads=["logits@END"])
    plain = truth.forward(original, ids)
    found = {"logits": (everything["logits@END"], plain)}
    if len(truth.projections(original)) != zoo.LAYERS:
        return [*differ(found, plain), "no truth for its heads: other names"]
    a, _ = truth.capture(original, new)
    has_mlps = len(truth.mlps(original)) == zoo.LAYERS
    for layer, head in ((0, 1), (1, 3), (2, 2)):
        node = f"{layer}.{head}.z@END"

        def write(i: int, value: Tensor, layer: int = layer, head: int = head) -> Tensor | None:
            if i != layer:
                return None
            part = truth.slice_of(head, zoo.HEADS, value)
            value[:, -1, part] = a[i][:, -1, part]
            return value

        patched = activation_patch(model, asked, nodes=[node])
        found[f"patch {node}"] = patched, truth.forward(original, ids, z=write)
        for receiver, to in TO.items():
            if to and to[0] == "mlp" and not (Node.parse(receiver).is_in(model) and has_mlps):
                continue  # refused, or named otherwise
            ways = {"senders": [node], "receivers": [receiver], "frozen": heads(model)}
            ours = path_patch(model, asked, **ways)
            theirs = truth.path_patch(original, ids, new, (layer, head), zoo.HEADS, to)
            found[f"{node} to {receiver}"] = ours, theirs
    return differ(found, plain)


def differ(found: dict[str, tuple[Tensor, Tensor]], plain: Tensor) -> list[str]:
    allowed = ROUNDING * (plain - plain.mean(-1, keepdim=True)).abs().max()
    return [k for k, (ours, theirs) in found.items() if not (ours - theirs).abs().max() <= allowed]


def fast(model: Any) -> str:
    """Which receivers the fast engine takes, with the literal form's numbers."""
    asked, taken = prompts(), []
    for receiver in RECEIVERS:
        at = Node.parse(receiver).at
        if not Node.parse(receiver).is_in(model):
            continue  # this family has no such place
        ways = {"senders": heads(model, at)[1::3], "receivers": [receiver], "metric": logit_diff}
        quick, slow = (
            path_sweep(model, asked, **ways, options=SweepOptions(engine))
            for engine in ("fast", "literal")
        )
        if quick.about.engine == "fast":
            apart = abs(quick.patched - slow.patched).max()
            taken.append(receiver if apart < ROUNDING * abs(slow.base).max() else "wrong")
    if "wrong" in taken:
        return "wrong"
    return {0: "no", len(RECEIVERS): "yes"}.get(len(taken), "to " + ", ".join(taken))


def tried() -> list[tuple[str, int]]:
    """Every architecture, with plain and with shared keys and values."""
    return [(name, kv) for name in zoo.families() for kv in (zoo.HEADS, zoo.HEADS // 2)]


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows: list[dict[str, Any]] = []
    for name, kv_heads in tried():
        if kv_heads < zoo.HEADS and (rows[-1]["result"] == "not tried" or not zoo.groups(name)):
            continue
        rows.append(row(name, kv_heads))
        print(rows[-1], file=sys.stderr, flush=True)
    FILE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
