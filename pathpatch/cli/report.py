"""What a command prints and the files it writes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathpatch.circuits.ablation import CHOICES, donors
from pathpatch.circuits.assessment import Assessment
from pathpatch.circuits.circuit import Circuit
from pathpatch.circuits.knockouts import Knockout
from pathpatch.circuits.links import Link
from pathpatch.effects import Effects
from pathpatch.engine.sweeps import baseline
from pathpatch.engine.traces import Trace
from pathpatch.files import write_file
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import Model, Node
from pathpatch.pictures.plots import save_heat_map
from pathpatch.pictures.wiring import circuit_diagram
from pathpatch.prompts import Prompts
from pathpatch.tasks.own import label_table
from pathpatch.uncertainty import about_base, about_interval, clusters, interval

TWO = {  # what each part compares
    "completeness": "the circuit without K, the model without K",
    "minimality": "the circuit without K, and without K and the node",
}


def report_baseline(model: Model, prompts: Prompts, out: Path, seed: int) -> None:
    """Print what the model does before any patch, and write baseline.json."""
    summary = {"model": model.cfg.model_name, "model_sha256": fingerprint(model)}
    print(f"{model.cfg.model_name}, {len(prompts)} prompts, mean with 95 % interval")
    print_cautions(about_interval(_count(clusters(prompts))))
    for name, numbers in baseline(model, prompts).items():
        low, high = interval(numbers, np.random.default_rng(seed), clusters(prompts))
        summary[name] = {"mean": numbers.mean(), "low_95": low, "high_95": high}
        print(f"  {name:22} {numbers.mean():8.3f}   [{low:.3f}, {high:.3f}]")
    write_file(out / "baseline.json", json.dumps(summary, indent=1).encode())


def report(found: Effects | Trace, title: str, out: Path) -> None:
    """Print the strongest nodes, write the table and, for heads, the heat map."""
    effects = found.effects() if isinstance(found, Trace) else found
    found.save(out)
    print(f"\n{title}\n{effects}")
    if effects.of_heads():
        save_heat_map(effects, out / "effects.png", title)
    print(f"  written: {out}")


def print_cautions(*cautions: str) -> None:
    """Print what to know beside the numbers, if there is anything."""
    for caution in filter(None, cautions):
        print(f"  note: {caution}")


def report_larger(count: int, every: int) -> None:
    """Print what a trace of all facts would add."""
    longer = every / count
    print(
        f"  {count} of {every} facts. A larger run: --prompts {every} asks about all, in "
        f"{longer:.0f} times the time, for intervals of about 1/{longer**0.5:.1f} the width; "
        f"--draws N takes more noise for each"
    )


def report_edges(circuit: Circuit, out: Path) -> None:
    """Print the edges that were found, write them as JSON, and draw them."""
    about, rounds = circuit.about, circuit.about["rounds"]
    print(
        f"{about['model']}, {about['prompts']} prompts, mean {about['metric']} {about['base']:.3f}"
    )
    print_cautions(*about.get("cautions", []))
    for edge in circuit.edges:
        print(
            f"  {edge.sender:14} -> {edge.receiver:14} {edge.change:+8.3f}   "
            f"[{edge.low:+.3f}, {edge.high:+.3f}]   p {edge.p:.4f}   {edge.percent:+7.1f} %"
        )
    paths = sum(step["paths"] for step in rounds)
    print(f"{len(circuit.edges)} of {paths} paths, in {len(rounds)} rounds")
    circuit.save(out / "circuit.json")
    if circuit.edges:
        circuit_diagram(circuit).savefig(out / "circuit.png", dpi=150)
    print(f"  written: {out}")


def report_circuit(knockout: Knockout, found: Assessment, out: Path, seed: int) -> None:
    """Print and write how faithful, complete and minimal it is, and how much of that is choice."""
    prompts, rules = knockout.prompts, knockout.rules
    alike = (donors(prompts, replace(rules, reference="mean")) > 0).sum(1).min()
    print(f"{len(found.circuit)} parts on {len(prompts)} prompts; knocked out: {rules.reference}")
    print(f"(a mean is over {alike} or more x_new prompts of a template)")

    def sure(values: np.ndarray) -> str:
        low, high = interval(values, np.random.default_rng(seed), clusters(prompts))
        return f"[{low:+.3f}, {high:+.3f}]"

    print("\nfaithfulness, and means with 95 % interval")
    base, names = found.faithfulness.model, clusters(prompts)
    print_cautions(about_interval(_count(names)), about_base(base, names))
    for name, score in found.faithfulness.scores().items():
        print(f"  {name:20} {score:8.3f}")
    for name, values in vars(found.faithfulness).items():
        print(f"  F of {name:15} {values.mean():8.3f}   {sure(values)}")

    for part, two in TWO.items():
        print(f"\n{part}: {two}, the difference, % of F(M)")
        for name, gap in getattr(found, part).items():
            change, removed = gap.other - gap.one, " ".join(map(str, gap.removed)) or "nothing"
            print(
                f"  {name!s:14} {gap.one.mean():8.3f} {gap.other.mean():8.3f} "
                f"{change.mean():+8.3f}   {sure(change)}   "
                f"{gap.percent(found.faithfulness.model):5.1f} %   K: {removed}"
            )

    print("\nfaithfulness under every choice: " + ", ".join(list(found.choices[0])[3:]))
    for row in found.choices:
        words, numbers = list(row.values())[:3], list(row.values())[3:]
        print("  {:9}{:11}{:9}".format(*words), *(f"{x:8.3f}" for x in numbers))
    _save(out, knockout, found)
    print(f"  written: {out}")


def report_labels(prompts: Prompts, tokenizer: Any) -> None:
    """Print the tokens at every label of every pair, in x_orig and in x_new."""
    rows = label_table(tokenizer, prompts)
    for i, pair in enumerate(prompts.pairs):
        print(f"pair {i}: answer {pair.answer!r}, foil {pair.foil!r}   {pair.clean!r}")
        for row in (row for row in rows if row.pair == i):
            line = f"  {row.index:4}  {row.label:16} {row.orig!r:16} {row.new!r:16} {row.doubt}"
            print(line.rstrip())
    labels = ", ".join(prompts.orig.positions)
    print(f"{len(prompts)} pairs; every label ({labels}) with its token in x_orig and in x_new")


def _save(out: Path, knockout: Knockout, found: Assessment) -> None:
    prompts, rules = knockout.prompts, knockout.rules
    data = {
        "model": knockout.model.cfg.model_name,
        "model_sha256": fingerprint(knockout.model),
        "prompts_sha256": prompts.sha256(),
        "over_sha256": (rules.over or prompts).sha256(),
        "templates": prompts.templates,
        "metric": getattr(rules.metric, "__name__", "custom"),
        **{name: getattr(rules, name) for name in CHOICES},
        "circuit": found.circuit,
        "faithfulness": found.faithfulness,
        "completeness": found.completeness,
        "minimality": {str(node): gap for node, gap in found.minimality.items()},
    }
    table = pd.DataFrame(found.choices).to_csv(index=False, na_rep="nan", lineterminator="\n")
    write_file(out / "evaluation.json", json.dumps(data, indent=1, default=_plain).encode())
    write_file(out / "choices.csv", table.encode())


def _count(clusters: list[str]) -> int:
    """How many clusters the prompts of these names make."""
    return len({*clusters} - {""}) + clusters.count("")


def _plain(value: object) -> object:
    """What JSON gets for an array (a list), a part (its name) and a dataclass (its fields)."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value) if isinstance(value, Node | Link) else vars(value)
