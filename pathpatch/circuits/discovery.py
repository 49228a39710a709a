"""Discovery: the walk backward from the logits as a loop, until nothing passes the test.

A round asks of every receiver: which heads at its position, or the embedding, act on the metric
through it? What passes sends; the queries, keys and values of those heads receive next.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pathpatch.circuits.circuit import Circuit, Edge
from pathpatch.effects import Effects
from pathpatch.engine.blocks import blocks, table
from pathpatch.engine.cost import announce, duration, plan_spec
from pathpatch.engine.fast import patch_edges, supports
from pathpatch.engine.spec import Spec, SweepOptions
from pathpatch.engine.sweeps import activation_sweep, run_plan
from pathpatch.errors import PathPatchError
from pathpatch.forward import run
from pathpatch.metrics import Metric, logit_diff
from pathpatch.nodes import LOGITS, Model, Node, heads, node_set
from pathpatch.paths import check_nodes
from pathpatch.prompts import Prompts
from pathpatch.uncertainty import cautions, interval, ratio_of_means, sign_flip_test


@dataclass(frozen=True)
class Rule:
    """When an edge is kept, and where the walk goes on.

    error: of all senders and receivers of a round together (corrected p below it).
    least: the least change, in percent of the mean metric before; of a path, and of overwriting
    a receiver with its corrupt value, below which no path through it is asked about.
    look: keys and values can receive at the labelled positions that the head attends to with this
    mean weight or more, on the clean or the corrupt prompts; queries where the head sends.
    rounds: at most so many.
    """

    error: float = 0.05
    least: float | int = 1
    look: float = 0.1
    rounds: int = 8


def discover(
    model: Model,
    prompts: Prompts,
    generator: np.random.Generator,
    *,
    rule: Rule | None = None,
    metric: Metric = logit_diff,
    options: SweepOptions | None = None,
) -> Circuit:
    """Find the circuit of a task: from the logits backward, what acts through what.

    Each receiver is asked about by itself, with all heads frozen (MLPs are part of the paths). A
    round is one test, corrected for all its senders and receivers. It ends when nothing passes,
    or only embeddings do. Two things stay hidden by construction: a head that acts only when
    others are silenced (a backup), and heads that matter only together.

    options.folder: each receiver's sweep gets a folder in it. Says what each round costs, and shows
    progress.

    Returns: the edges that passed, in the order of the rounds.
    Raises: PathPatchError as `path_sweep`.
    Source: the loop is that of Wang et al. 2023, section 3. Book: chapters 7 and 12.
    """
    rule, options, doors, receivers = rule or Rule(), options or SweepOptions(), [LOGITS], [LOGITS]
    edges: list[Edge] = []
    rounds: list[dict[str, Any]] = []
    asked: set[Node] = set()
    while receivers and len(rounds) < rule.rounds:
        sweeps = list(_round(model, prompts, receivers, metric, options))
        if not rounds:
            noted = cautions(sweeps[0].base, sweeps[0].templates, rule.error)
            print("".join(f"note: {caution}\n" for caution in noted), end="", file=sys.stderr)
        edges += _passing(sweeps, generator, rule)
        paths = sum(len(effects.senders) for effects in sweeps)
        names = [[str(node) for node in nodes] for nodes in (doors, receivers)]
        rounds.append({"doors": names[0], "receivers": names[1], "paths": paths})
        asked.update(doors)
        found = Circuit(edges).heads()
        doors = [node for node in _doors(model, prompts, found, rule.look) if node not in asked]
        receivers = _open(model, prompts, doors, metric, options, rule.least)
    details = asdict(sweeps[0].about)
    kept = ("model", "model_sha256", "prompts_sha256", "frozen", "direction", "metric", "engine")
    facts = {name: details[name] for name in kept}
    facts |= {"prompts": len(prompts), "base": float(sweeps[0].base.mean())}
    facts["cautions"] = noted
    return Circuit(edges, {**facts, "rule": asdict(rule), "rounds": rounds})


def edge_effects(
    model: Model, prompts: Prompts, circuit: Circuit, metric: Metric = logit_diff
) -> Effects:
    """Measure every edge of a circuit again, for example on prompts that it was not found on.

    Costs little more than two passes: all edges share passes A and B.

    Returns: Effects with a row for each edge, "1.0.z@END -> 2.0.q@END".
    Raises: PathPatchError for a circuit without edges, nodes that are not there, and a model that
    the fast engine does not know. Book: chapter 7.
    """
    if not supports(model):
        raise PathPatchError(f"edge_effects does not know the attention of {model.cfg.model_name}")
    if not circuit.edges:
        raise PathPatchError("the circuit has no edges to measure")
    edges = [(node_set(edge.sender), Node.parse(edge.receiver)) for edge in circuit.edges]
    for nodes, receiver in edges:
        check_nodes(model, prompts.orig, nodes, [receiver])
    announce(model, prompts, f"{len(edges)} edges", 2)
    parts = [patch_edges(model, part, edges, metric) for part in blocks(prompts)]
    asked = {"receivers": [str(node) for _, node in edges], "frozen": "heads", "engine": "fast"}
    effects = table(model, prompts, [nodes for nodes, _ in edges], metric, parts, **asked)
    return replace(effects, senders=[f"{e.sender} -> {e.receiver}" for e in circuit.edges])


def _doors(model: Model, prompts: Prompts, senders: Sequence[Node], look: float) -> list[Node]:
    """The inputs of heads: the query where each sends, keys and values where it looks."""
    patterns = [replace(node, kind="pattern") for node in senders]
    labels = [k for k, index in prompts.orig.positions.items() if bool((index >= 0).all())]
    weights = {(node, label): np.zeros(2) for node in patterns for label in labels}
    for block in blocks(prompts):
        for side, tokens in enumerate((block.orig, block.new)):
            found = run(model, tokens, reads=patterns)
            rows = torch.arange(len(tokens))
            for (node, label), total in weights.items():
                total[side] += float(found[node][rows, tokens.at(label)].sum())
    doors = [replace(node, kind="q") for node in senders]
    for (node, label), total in weights.items():
        if total.max() / len(prompts) >= look:
            doors += [replace(node, kind=kind, at=label) for kind in "kv"]
    return doors


def _open(
    model: Model,
    prompts: Prompts,
    doors: list[Node],
    metric: Metric,
    options: SweepOptions,
    least: float | int,
) -> list[Node]:
    """Those that matter at all: that change the metric when overwritten."""
    if not doors:
        return []
    there = within(options, f"doors of {doors[0]}")
    effects = activation_sweep(model, prompts, doors, metric, there)
    percents = ratio_of_means(effects.change, effects.base)
    return [node for node, percent in zip(doors, percents, strict=True) if abs(percent) >= least]


def _round(
    model: Model, prompts: Prompts, receivers: list[Node], metric: Metric, options: SweepOptions
) -> Iterator[Effects]:
    """Every receiver's sweep."""
    plans = []
    for node in receivers:
        below = [
            h for h in heads(model, node.at) if node.layer is None or (h.layer or 0) < node.layer
        ]
        spec = Spec.of(model, prompts, [*below, Node("embed", at=node.at)], [node], None, metric)
        plans.append(plan_spec(model, prompts, spec, options))
    seconds = sum(planned.seconds for planned in plans)
    if seconds > 2:
        what = f"{len(receivers)} receivers on {len(prompts)} prompts"
        print(f"{what}: {duration(seconds)}", file=sys.stderr)
    for node, planned in zip(tqdm(receivers, unit="receiver", delay=2), plans, strict=True):
        yield run_plan(model, prompts, planned, within(options, str(node)))


def within(options: SweepOptions, name: str) -> SweepOptions:
    """The same with a folder of its own in the folder, if there is one."""
    return replace(options, folder=Path(options.folder) / name if options.folder else None)


def _passing(sweeps: list[Effects], generator: np.random.Generator, rule: Rule) -> list[Edge]:
    """The edges of a round that pass, largest first. One test for all its rows."""
    rows = [(effects, i) for effects in sweeps for i in range(len(effects.senders))]
    changes = np.stack([effects.change[i] for effects, i in rows])
    base, clusters = sweeps[0].base, sweeps[0].templates
    p = sign_flip_test(changes, generator, clusters)
    means = changes.mean(1)
    percents = ratio_of_means(changes, base)
    edges = []
    for j in np.argsort(-np.abs(means), kind="stable"):
        if p[j] < rule.error and abs(percents[j]) >= rule.least:
            effects, i = rows[j]
            low, high = interval(changes[j], generator, clusters)
            numbers = map(float, (means[j], low, high, percents[j], p[j]))
            edges.append(Edge(effects.senders[i], *effects.about.receivers, *numbers))
    return edges
