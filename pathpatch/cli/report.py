"""What a command prints and the files it writes."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pathpatch.circuits.circuit import Circuit
from pathpatch.circuits.evaluation import choices, completeness, faithfulness, minimality
from pathpatch.circuits.knockouts import CHOICES, Knockout, donors
from pathpatch.circuits.subsets import Search, greedy_set, minimal_sets, random_sets
from pathpatch.effects import Effects
from pathpatch.engine.sweeps import baseline
from pathpatch.engine.traces import Trace
from pathpatch.files import write_file
from pathpatch.models.load import fingerprint
from pathpatch.nodes import Model, Node, node_set
from pathpatch.pictures.plots import save_heat_map
from pathpatch.pictures.wiring import circuit_diagram
from pathpatch.prompts import Prompts
from pathpatch.uncertainty import about_base, clusters, interval, ratio_of_means

TWO = (  # what completeness and minimality compare
    "the circuit without K, the model without K",
    "the circuit without K, and without K and the node",
)


def report_baseline(model: Model, prompts: Prompts, out: Path, seed: int) -> None:
    """Print what the model does before any patch, and write baseline.json."""
    summary = {"model": model.cfg.model_name, "model_sha256": fingerprint(model)}
    print(f"{model.cfg.model_name}, {len(prompts)} prompts, mean with 95 % interval")
    for name, numbers in baseline(model, prompts).items():
        low, high = interval(numbers, np.random.default_rng(seed), clusters(prompts))
        summary[name] = {"mean": numbers.mean(), "low_95": low, "high_95": high}
        print(f"  {name:22} {numbers.mean():8.3f}   [{low:.3f}, {high:.3f}]")
    write_file(out / "baseline.json", json.dumps(summary, indent=1).encode())


def report(found: Effects | Trace, title: str, out: Path, seed: int) -> None:
    """Print the strongest nodes, write the table and, for heads, the heat map."""
    found.save(out, np.random.default_rng(seed))
    effects = found.effects() if isinstance(found, Trace) else found
    generator = np.random.default_rng(seed)  # and in the order of `save`: the same numbers
    p, intervals = effects.p_adjusted(generator), effects.interval(generator)
    print(f"\n{title} ({len(effects.base)} prompts, change of {effects.about.metric})")
    print(f"  mean before {effects.base.mean():.3f}")
    print_cautions(*effects.cautions())
    percent = ratio_of_means(effects.change, effects.base)
    for i in effects.top(10):
        nodes, (low, high) = node_set(effects.senders[i]), intervals[i]
        name = effects.senders[i] if len(nodes) < 3 else f"{nodes[0]} .. {nodes[-1]}"
        print(
            f"  {name:20} {effects.mean()[i]:+8.3f}   [{low:+.3f}, {high:+.3f}]"
            f"   p {p[i]:.4f}   {percent[i]:+7.1f} %"
        )
    if effects.of_heads():
        save_heat_map(effects, out / "effects.png", title)
    print(f"  written: {out}")


def print_cautions(*cautions: str) -> None:
    """Print what to know beside the numbers, if there is anything."""
    for caution in filter(None, cautions):
        print(f"  note: {caution}")


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


def report_circuit(
    knockout: Knockout, circuit: list[Node], search: Search, random: int, out: Path, seed: int
) -> None:
    """Print how faithful, complete and minimal it is, and how much of that is choice; write it."""
    model, prompts, rules = knockout.model, knockout.prompts, knockout.rules
    alike = (donors(prompts, replace(rules, reference="mean")) > 0).sum(1).min()
    print(f"{len(circuit)} nodes on {len(prompts)} prompts; knocked out: {rules.reference}")
    print(f"(a mean is over {alike} or more corrupt prompts of a template)")

    def sure(values: np.ndarray) -> str:
        low, high = interval(values, np.random.default_rng(seed), clusters(prompts))
        return f"[{low:+.3f}, {high:+.3f}]"

    faithful = faithfulness(knockout, circuit)
    print("\nfaithfulness, and means with 95 % interval")
    print_cautions(about_base(faithful.model, clusters(prompts)))
    for name, score in faithful.scores().items():
        print(f"  {name:20} {score:8.3f}")
    for name, values in vars(faithful).items():
        print(f"  F of {name:15} {values.mean():8.3f}   {sure(values)}")

    sets = {"greedy": greedy_set(knockout, circuit, search)}
    sets |= random_sets(circuit, random, search.generator)
    found = minimality(knockout, circuit, minimal_sets(knockout, circuit, search))
    parts = {
        "completeness": completeness(knockout, circuit, sets),
        "minimality": {str(node): gap for node, gap in found.items()},
    }
    for (part, gaps), two in zip(parts.items(), TWO, strict=True):
        print(f"\n{part}: {two}, the difference, % of F(M)")
        for name, gap in gaps.items():
            change, removed = gap.other - gap.one, " ".join(map(str, gap.removed)) or "nothing"
            print(
                f"  {name:14} {gap.one.mean():8.3f} {gap.other.mean():8.3f} {change.mean():+8.3f}"
                f"   {sure(change)}   {gap.percent(faithful.model):5.1f} %   K: {removed}"
            )

    table = choices(model, prompts, circuit, rules)
    print("\nfaithfulness under every choice: " + ", ".join(list(table[0])[3:]))
    for row in table:
        words, numbers = list(row.values())[:3], list(row.values())[3:]
        print("  {:9}{:11}{:9}".format(*words), *(f"{x:8.3f}" for x in numbers))
    _save(out, knockout, {"circuit": circuit, "faithfulness": faithful, **parts}, table)
    print(f"  written: {out}")


def _save(
    out: Path, knockout: Knockout, found: dict[str, Any], table: list[dict[str, Any]]
) -> None:
    rows = io.StringIO(newline="")
    csv.writer(rows).writerows([table[0], *(row.values() for row in table)])
    prompts, rules = knockout.prompts, knockout.rules
    data = {
        "model": knockout.model.cfg.model_name,
        "model_sha256": fingerprint(knockout.model),
        "prompts_sha256": prompts.sha256(),
        "over_sha256": (rules.over or prompts).sha256(),
        "templates": prompts.templates,
        "metric": getattr(rules.metric, "__name__", "custom"),
        **{name: getattr(rules, name) for name in CHOICES},
        **found,
    }
    write_file(out / "evaluation.json", json.dumps(data, indent=1, default=_plain).encode())
    write_file(out / "choices.csv", rows.getvalue().encode())


def _plain(value: object) -> object:
    """What JSON writes for an array, a node, and a table of arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value) if isinstance(value, Node) else vars(value)
