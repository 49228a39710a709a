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

from pathpatch.circuits.circuit import Circuit, Edge
from pathpatch.effects import Effects
from pathpatch.engine.blocks import blocks
from pathpatch.engine.cost import duration, plan
from pathpatch.engine.progress import progress
from pathpatch.engine.spec import SweepOptions
from pathpatch.engine.sweeps import activation_sweep, path_sweep
from pathpatch.errors import check_number
from pathpatch.forward import run
from pathpatch.metrics import Metric, logit_diff
from pathpatch.nodes import LOGITS, Model, Node, heads
from pathpatch.prompts import Prompts
from pathpatch.uncertainty import cautions, interval, ratio_of_means, sign_flip_test


@dataclass(frozen=True)
class Rule:
    """When an edge is kept, and where the walk goes on.

    error: how often a round may keep an edge that does nothing. An edge is kept when its p, which
    is corrected for all senders and receivers of the round together, is below it.
    least: the least change, in percent of the mean metric before. It is asked of every path, and of
    every receiver: where overwriting one with its value on x_new changes less, no path through it
    is measured.
    least_attention: keys and values can receive at those labelled positions to which the head
    gives this mean weight or more, on x_orig or on x_new. Queries can receive where
    the head sends.
    rounds: the walk stops after so many, if it has not ended before.
    """

    error: float = 0.05
    least: float | int = 1
    least_attention: float = 0.1
    rounds: int = 8

    def __post_init__(self) -> None:
        check_number("error", self.error, 0, 1)
        check_number("least (percent)", self.least, 0)
        check_number("least_attention", self.least_attention, 0, 1)
        check_number("rounds", self.rounds, 1, whole=True)


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

    The sweep of each receiver gets a folder of its own in `options.folder`. Each round says first
    what it costs, if that is over two seconds, and then shows progress.

    Returns: the edges that passed, in the order of the rounds.
    Raises: PathPatchError where `path_sweep` does.
    Source: the loop is that of Wang et al. 2023, section 3. Book: chapters 7 and 12.
    """
    rule, options, doors, receivers = rule or Rule(), SweepOptions.of(options), [LOGITS], [LOGITS]
    edges: list[Edge] = []
    rounds: list[dict[str, Any]] = []
    asked: set[Node] = set()
    while receivers and len(rounds) < rule.rounds:
        sweeps = list(_round(model, prompts, receivers, metric, options))
        if not rounds:
            noted = cautions(sweeps[0].base, sweeps[0].templates, rule.error)
            for caution in noted if not options.quiet else ():
                print(f"note: {caution}", file=sys.stderr)
        edges += _passing(sweeps, generator, rule)
        paths = sum(len(effects.senders) for effects in sweeps)
        names = [[str(node) for node in nodes] for nodes in (doors, receivers)]
        rounds.append({"doors": names[0], "receivers": names[1], "paths": paths})
        asked.update(doors)
        found = Circuit(edges).heads()
        doors = [
            node
            for node in _doors(model, prompts, found, rule.least_attention)
            if node not in asked
        ]
        receivers = _open(model, prompts, doors, metric, options, rule.least)
    details = asdict(sweeps[0].about)
    kept = ("model", "model_sha256", "prompts_sha256", "frozen", "direction", "metric", "engine")
    facts = {name: details[name] for name in kept}
    facts |= {"prompts": len(prompts), "base": float(sweeps[0].base.mean())}
    facts["cautions"] = noted
    return Circuit(edges, {**facts, "rule": asdict(rule), "rounds": rounds})


def _doors(model: Model, prompts: Prompts, senders: Sequence[Node], least: float) -> list[Node]:
    """The inputs of heads: the query where each sends, keys and values where it looks."""
    patterns = [replace(node, kind="pattern") for node in senders]
    labels = [k for k, index in prompts.orig.positions.items() if bool((index >= 0).all())]
    weights = {(node, label): np.zeros(2) for node in patterns for label in labels}
    for block in blocks(model, prompts):
        for side, tokens in enumerate((block.orig, block.new)):
            found = run(model, tokens, reads=patterns)
            for (node, label), total in weights.items():
                total[side] += float(found[node][tokens.index(label)].sum())
    doors = [replace(node, kind="q") for node in senders]
    for (node, label), total in weights.items():
        if total.max() / len(prompts) >= least:
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
    """The inputs that matter at all: those that change the metric when they are overwritten."""
    if not doors:
        return []
    there = within(options, f"doors of {doors[0]}")
    effects = activation_sweep(model, prompts, nodes=doors, metric=metric, options=there)
    percents = ratio_of_means(effects.change, effects.base)
    return [node for node, percent in zip(doors, percents, strict=True) if abs(percent) >= least]


def _round(
    model: Model, prompts: Prompts, receivers: list[Node], metric: Metric, options: SweepOptions
) -> Iterator[Effects]:
    """The sweep of every receiver: all heads below it at its position, and the embedding there."""
    sweeps: list[dict[str, Any]] = []
    for node in receivers:
        senders = [
            h for h in heads(model, node.at) if node.layer is None or (h.layer or 0) < node.layer
        ]
        senders.append(Node("embed", at=node.at))
        sweeps.append({"senders": senders, "receivers": [node], "metric": metric})
    seconds = sum(plan(model, prompts, **asked, options=options).seconds for asked in sweeps)
    if seconds > 2 and not options.quiet:
        what = f"{len(receivers)} receivers on {len(prompts)} prompts"
        print(f"{what}: {duration(seconds)}", file=sys.stderr)
    bar = progress(sweeps, unit="receiver", disable=options.quiet)
    for node, asked in zip(receivers, bar, strict=True):
        quiet = replace(within(options, str(node)), quiet=True)
        yield path_sweep(model, prompts, **asked, options=quiet)


def within(options: SweepOptions, name: str) -> SweepOptions:
    """The same options, with a folder of its own in the folder if there is one."""
    return replace(options, folder=Path(options.folder) / name if options.folder else None)


def _passing(sweeps: list[Effects], generator: np.random.Generator, rule: Rule) -> list[Edge]:
    """The edges of a round that pass, largest first. One test covers all its rows."""
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
            edges.append(Edge(effects.names[i], *effects.about.receivers, *numbers))
    return edges
