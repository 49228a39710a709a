"""What a command prints and the files it writes."""

import json
from pathlib import Path

import numpy as np

from pathpatch.effects import Effects, write_file
from pathpatch.ioi import templates
from pathpatch.models import Model, fingerprint
from pathpatch.nodes import node_set
from pathpatch.prompts import Prompts
from pathpatch.sweeps import baseline
from pathpatch.tracing import Trace
from pathpatch.uncertainty import interval


def report_baseline(model: Model, prompts: Prompts, out: Path, seed: int) -> None:
    """Print what the model does before any patch, and write baseline.json."""
    values = baseline(model, prompts)
    summary = {"model": model.cfg.model_name, "model_sha256": fingerprint(model)}
    print(f"{model.cfg.model_name}, {len(prompts)} prompts, mean with 95 % interval")
    for name, numbers in values.items():
        low, high = interval(numbers, np.random.default_rng(seed), templates(prompts))
        summary[name] = {"mean": numbers.mean(), "low_95": low, "high_95": high}
        print(f"  {name:22} {numbers.mean():8.3f}   [{low:.3f}, {high:.3f}]")
    write_file(out / "baseline.json", json.dumps(summary, indent=1).encode())


def report(found: Effects | Trace, title: str, out: Path, seed: int) -> None:
    """Print the strongest nodes, write the table and, for heads, the heat map."""
    from pathpatch.plots import save_heat_map

    found.save(out, np.random.default_rng(seed))
    effects = found.effects() if isinstance(found, Trace) else found
    generator = np.random.default_rng(seed)  # and in the order of `save`: the same numbers
    p, intervals = effects.p_adjusted(generator), effects.interval(generator)
    print(f"\n{title} ({len(effects.base)} prompts, change of {effects.about.metric})")
    for i in effects.top(10):
        low, high = intervals[i]
        name = _short(effects.senders[i])
        print(
            f"  {name:20} {effects.mean()[i]:+8.3f}   [{low:+.3f}, {high:+.3f}]"
            f"   p {p[i]:.4f}   {effects.percent()[i]:+7.1f} %"
        )
    if effects.of_heads():
        save_heat_map(effects, out / "effects.png", title)
    print(f"  written: {out}")


def _short(name: str) -> str:
    """A set of many nodes by its first and last: a window of ten layers fills two lines."""
    nodes = node_set(name)
    return name if len(nodes) < 3 else f"{nodes[0]} .. {nodes[-1]}"
