"""What a sweep will cost, before it runs: multiply-adds, passes, memory and time.

Book: chapter 11.
"""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from weakref import WeakKeyDictionary

import torch

from pathpatch.engine.scene import Layout
from pathpatch.engine.spec import Spec, SweepOptions
from pathpatch.engine.verify import why_not_fast
from pathpatch.engine.verify_total import why_not_total
from pathpatch.engine.work import forward_multiply_adds, multiply_adds
from pathpatch.errors import PathPatchError
from pathpatch.forward import run
from pathpatch.metrics import Metric, logit_diff
from pathpatch.nodes import FROZEN, LOGITS, Entries, Model, Node, device_of
from pathpatch.prompts import Prompts

GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """A sweep and its cost. `print` it."""

    spec: Spec
    prompts: int
    multiply_adds: int
    passes: float  # the same work, in forward passes over all the prompts
    memory: float  # GiB beside the model, an upper estimate
    seconds: float  # on one worker, from timing a short forward pass here, once

    def __str__(self) -> str:
        return (
            f"{self.spec.said} engine, {len(self.spec.senders)} senders on {self.prompts} "
            f"prompts:\n  {self.multiply_adds / 1e9:,.3g} billion multiply-adds, the work of "
            f"{self.passes:,.3g} forward passes;\n  at most {self.memory:.1f} GiB; "
            f"{duration(self.seconds)}"
        )


def plan(
    model: Model,
    prompts: Prompts,
    *,
    senders: Entries,
    receivers: Iterable[Node | str],
    frozen: Iterable[Node | str] | None = None,
    metric: Metric = logit_diff,
    options: SweepOptions | None = None,
) -> Plan:
    """What `path_sweep` with the same arguments will cost. Takes a few short passes, once.

    Raises: PathPatchError for nodes that do not exist or cannot do this, and when one prompt
    needs more memory than it may use.
    Book: chapter 11.
    """
    spec = Spec.of(model, prompts, senders, receivers, frozen, metric)
    return plan_spec(model, prompts, spec, SweepOptions.of(options))


def plan_spec(model: Model, prompts: Prompts, spec: Spec, options: SweepOptions) -> Plan:
    """Choose the engine, and sizes of blocks that keep within the memory."""
    spec = replace(spec, engine=_engine(model, prompts, spec, options))
    at = spec.receivers or list(chain(*spec.senders))
    layout = Layout.of(model, prompts.orig, at, spec.frozen)
    each, row = _bytes(layout)
    # How many residual vectors a sender needs, for each prompt.
    needed = layout.rows() // len(prompts) if spec.receivers else layout.suffix().shape[1]
    vectors = needed if spec.engine == "fast" else 0
    half = options.memory * GIB / 2
    block = int(min(half / each, half / max(1, vectors * row), spec.block, len(prompts)))
    if block < 1:
        raise PathPatchError(
            f"a prompt of {prompts.orig.ids.shape[1]} tokens needs about "
            f"{2 * max(each, vectors * row) / GIB:.2g} GiB beside the model; {options.memory:g} "
            f"are allowed (memory)"
        )
    rows = int(max(block * vectors, min(half / row, spec.rows))) if vectors else 0
    spec = replace(spec, block=block, rows=rows)
    parts = [prompts[i : i + block] for i in range(0, len(prompts), block)]
    one = forward_multiply_adds(model, prompts)
    total = sum(multiply_adds(model, part, spec) for part in parts)
    return Plan(
        spec=spec,
        prompts=len(prompts),
        multiply_adds=total,
        passes=total / one,
        memory=(block * each + rows * row) / GIB,
        seconds=total * seconds_each(model, prompts[:8]),
    )


def _engine(model: Model, prompts: Prompts, spec: Spec, options: SweepOptions) -> str:
    """Which form does this sweep. Where the fast one is not sure, that is said."""
    if options.engine != "fast" or (spec.receivers and spec.frozen_name not in FROZEN):
        return "literal"
    why_not = why_not_fast if spec.receivers else why_not_total
    if reason := why_not(model, prompts, [*spec.senders, *spec.cut(model)]):
        print(f"{reason}; the literal form does this sweep", file=sys.stderr)
    return "literal" if reason else "fast"


def announce(model: Model, prompts: Prompts, what: str, passes: int) -> None:
    """Before a run of over two seconds that is no sweep, say what it will take."""
    seconds = passes * forward_multiply_adds(model, prompts) * seconds_each(model, prompts[:8])
    if seconds > 2:
        print(
            f"{what}: {passes} forward passes of {len(prompts)} prompts, {duration(seconds)}",
            file=sys.stderr,
        )


def duration(seconds: float) -> str:
    """An estimate, as it is said before a run."""
    return f"about {seconds / 60:.0f} minutes" if seconds >= 90 else f"about {seconds:.0f} seconds"


def _bytes(layout: Layout) -> tuple[int, int]:
    """Upper estimates: of passes A and B for one prompt, and of C and D for one residual vector.

    The factors are the number of copies that are alive at once, measured with `make bench`.
    """
    cfg, pos = layout.model.cfg, layout.tokens.ids.shape[1]
    scores, hidden = cfg.n_heads * pos, 0 if cfg.attn_only else cfg.d_mlp
    each = 2 * cfg.d_vocab + pos * (14 * cfg.n_layers * cfg.d_model + 4 * hidden + 4 * scores)
    row = 8 * cfg.d_model + 4 * hidden + 8 * scores
    size = layout.model.W_U.element_size()
    return each * size, row * size


def seconds_each(model: Model, prompts: Prompts) -> float:
    """Seconds for a multiply-add: the best of three short forward passes, once for each model on
    each device. `run` looks at the logits, so a GPU has finished when the clock is read."""
    known, here = _timed.setdefault(model, {}), device_of(model)
    if here not in known:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            run(model, prompts.orig, reads=[LOGITS])
            times.append(time.perf_counter() - started)
        known[here] = min(times) / forward_multiply_adds(model, prompts)
    return known[here]


_timed: WeakKeyDictionary[Model, dict[torch.device, float]] = WeakKeyDictionary()
