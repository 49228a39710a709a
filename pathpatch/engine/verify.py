"""Whether the fast engine knows a model: measured on the model and the prompts at hand.

Three senders on two prompts go through both forms before a sweep.
"""

from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pathpatch.engine.blocks import beside
from pathpatch.engine.fast import patch_all
from pathpatch.engine.literal import RowBatches, literal_passes
from pathpatch.engine.spec import Spec
from pathpatch.forward import run
from pathpatch.metrics import answer_prob, logit_diff
from pathpatch.nodes import LOGITS, Model, first_layer
from pathpatch.prompts import END, Prompts

# How far the two forms may be apart, in parts of the largest logit. In float64 some models round
# through float32 on the way.
ROUNDING = {torch.float64: 1e-6, torch.float32: 3e-5, torch.float16: 0.01, torch.bfloat16: 0.06}
_Forms = Callable[[Model, Prompts, Spec], tuple[Tensor, RowBatches]]


def why_not_fast(model: Model, prompts: Prompts, spec: Spec) -> str:
    """Why the fast engine must not do this sweep; empty where both forms give the same.

    Measured once for a model, the kinds of nodes that send and receive, what is frozen, and the
    length of the prompts.
    """
    sent = {node.kind for nodes in spec.senders for node in nodes}
    received = {(node.kind, node.at is None) for node in spec.receivers}
    length = prompts.orig.ids.shape[1]
    metric = logit_diff if spec.metric is logit_diff else answer_prob  # the first has a short cut
    key = (frozenset(sent), frozenset(received), spec.frozen_name, length, metric)
    known = _known.setdefault(model, {})
    if key not in known:
        known[key] = _measure(
            model, beside(model, _two(prompts)), replace(_three(spec), metric=metric)
        )
    return known[key]


def _two(prompts: Prompts) -> Prompts:
    """The shortest and the longest prompt."""
    end = prompts.orig.at(END)
    rows = list(dict.fromkeys([int(end.argmin()), int(end.argmax())]))
    some = torch.tensor(rows, device="cpu")
    return replace(
        prompts,
        orig=prompts.orig[some],
        new=prompts.new[some],
        answer=prompts.answer[some],
        foil=prompts.foil[some],
        pairs=tuple(prompts.pairs[row] for row in rows),
    )


def _three(spec: Spec) -> Spec:
    """The lowest sender, one of the middle, and the highest that can still send."""
    order = sorted(spec.senders, key=first_layer)
    some = [order[0], order[len(order) // 3], order[2 * len(order) // 3]]
    return replace(spec, senders=list(dict.fromkeys(map(tuple, some))))


def _measure(model: Model, prompts: Prompts, spec: Spec) -> str:
    name, metric = model.cfg.model_name, spec.metric
    expected = _values(literal_passes, model, prompts, spec)
    try:
        found = _values(patch_all, model, prompts, spec)
    except Exception as error:  # parts that other models lack; what is raised is of every class
        return f"the fast engine does not know the parts of {name} ({error})"
    logits = run(model, prompts.orig, reads=[LOGITS])[LOGITS]  # [batch, vocab]
    centred = (logits - logits.mean(-1, keepdim=True)).abs().max()
    allowed = ROUNDING.get(logits.dtype, 0.06) * (centred if metric is logit_diff else 1)
    if (apart := (found - expected).abs().max()) <= allowed:
        return ""
    return (
        f"the fast engine does not know {name}: on two prompts its {metric.__name__} differs by up "
        f"to {apart:.2g} from the literal form"
    )


def _values(form: _Forms, model: Model, prompts: Prompts, spec: Spec) -> Tensor:
    base, parts = form(model, prompts, spec)
    values = base.repeat(len(spec.senders), 1)  # [sender, batch]
    for rows, part in parts:
        values[rows] = part
    return values


_known: WeakKeyDictionary[Model, dict[object, str]] = WeakKeyDictionary()
