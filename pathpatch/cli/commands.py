"""The command line: python -m pathpatch, and then one of the commands of `options`."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pathpatch.circuits.ablation import Ablation
from pathpatch.circuits.assessment import assess
from pathpatch.circuits.circuit import Circuit
from pathpatch.circuits.discovery import Rule, discover
from pathpatch.circuits.edges import EdgeKnockout
from pathpatch.circuits.knockouts import Knockout
from pathpatch.circuits.links import Parts
from pathpatch.circuits.subsets import Search
from pathpatch.circuits.walk import STEPS, ioi_walk
from pathpatch.cli.inputs import nodes_of, places_of, prompts_of
from pathpatch.cli.options import Options, parse
from pathpatch.cli.report import (
    report,
    report_baseline,
    report_circuit,
    report_edges,
    report_labels,
    report_larger,
)
from pathpatch.engine.spec import SweepOptions
from pathpatch.engine.store import check_folder
from pathpatch.engine.sweeps import activation_sweep, path_sweep
from pathpatch.engine.traces import causal_trace
from pathpatch.errors import PathPatchError
from pathpatch.metrics import METRICS
from pathpatch.models.devices import DTYPES
from pathpatch.models.load import load_model
from pathpatch.models.smollm2 import SMOLLM2_SHA256, smollm2_file
from pathpatch.nodes import FROZEN
from pathpatch.tasks.facts import fact_prompts, load_facts
from pathpatch.tasks.own import load_prompts
from pathpatch.tracing import SEVERED, embedding_std, gaussian_noise, windows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and say errors and warnings in a line.

    Returns: 0; 2 after an error (`argparse` does the same with options that it refuses); 130 after
    Ctrl-C.
    """
    options = parse(arguments, __doc__)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        return _obey(options)


def _obey(options: Options) -> int:
    try:
        if "out" in options:
            options.out = check_folder(options.out)
            options.model = load_model(options.model, DTYPES[options.dtype], options.device)
        COMMANDS[options.command](options)
    except PathPatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "; the same command goes on from the last finished block"
        blocks = [*Path(options.out).rglob("blocks/*.npy")] if "memory" in options else []
        print("stopped" + kept * bool(blocks), file=sys.stderr)
        return 130
    return 0


def _ioi(options: Options) -> None:
    prompts, how = prompts_of(options), _how(options)
    report_baseline(options.model, prompts, options.out, options.seed)
    for name, (title, effects) in zip(STEPS, ioi_walk(options.model, prompts, how), strict=True):
        report(effects, title, options.out / name)


def _sweep(options: Options) -> None:
    effects = path_sweep(
        options.model,
        prompts_of(options),
        senders=nodes_of(options, options.senders),
        receivers=nodes_of(options, options.receivers),
        frozen=FROZEN[options.frozen](options.model),
        options=replace(_how(options), engine=options.engine),
    )
    report(effects, f"{options.senders} to {options.receivers}", options.out)


def _patch(options: Options) -> None:
    effects = activation_sweep(
        options.model,
        prompts_of(options),
        nodes=nodes_of(options, options.nodes),
        metric=METRICS[options.metric],
        options=_how(options),
    )
    report(effects, f"{options.direction} {options.nodes}", options.out)


def _how(options: Options) -> SweepOptions:
    """How every sweep of a command is computed."""
    return SweepOptions(memory=options.memory, folder=options.out, seed=options.seed)


def _trace(options: Options) -> None:
    model, every = options.model, load_facts(options.facts)
    count = min(options.prompts, len(every))
    facts = [every[i * len(every) // count] for i in range(count)]  # spread over the templates
    prompts, noise = fact_prompts(model.tokenizer, facts), None
    entries = nodes_of(options, options.restore)
    if options.restore in SEVERED:
        entries = windows(model, options.restore, places_of(options), tuple(options.reach))
    if options.corruption == "noise":
        scale = options.sigmas * embedding_std(model, [fact.subject for fact in every])
        generator = torch.Generator().manual_seed(options.seed)
        noise = gaussian_noise(model, prompts.orig, scale, generator, options.draws)
    metric = METRICS[options.metric]
    corrupted = {"noise": noise, "severed": options.sever}
    trace = causal_trace(model, prompts, entries, **corrupted, metric=metric, options=_how(options))
    print(
        f"mean {options.metric}: clean {trace.clean.mean():.3f}, "
        f"corrupted {trace.corrupted.mean():.3f}, {len(trace.corrupted)} draw(s)"
    )
    report(trace, f"{options.restore} restored", options.out)
    if count < len(every):
        report_larger(count, len(every))


def _circuit(options: Options) -> None:
    prompts, tokenizer = prompts_of(options), options.model.tokenizer
    circuit, edges = _parts(options)
    generator = np.random.default_rng(options.seed)
    rules = Ablation(
        options.reference,
        options.positions,
        options.candidates,
        METRICS[options.metric],
        None if options.over is None else load_prompts(options.over, tokenizer),
        generator,
    )
    search = Search(generator, options.runs, options.steps, options.nodes_per_step)
    knockout = (EdgeKnockout if edges else Knockout)(options.model, prompts, rules)
    found = assess(knockout, circuit, search, options.random_sets)
    report_circuit(knockout, found, options.out, options.seed)


def _parts(options: Options) -> tuple[Parts, bool]:
    """The parts of the circuit that is asked about, and whether they are edges."""
    if options.circuit is None:
        edges = options.nodes is None
        return (options.edges if edges else options.nodes).split(","), edges
    circuit, edges = Circuit.load(options.circuit), options.keep == "edges"
    here = options.model.cfg.model_name
    if (there := circuit.about.get("model", here)) != here:
        warnings.warn(f"{options.circuit}: the circuit is of {there}, not of {here}", stacklevel=1)
    found = circuit.edges if edges else circuit.heads()
    if not found:
        kind = "edges" if edges else "heads that send"
        raise PathPatchError(f"{options.circuit}: the circuit has no {kind}")
    return found, edges


def _discover(options: Options) -> None:
    rule = Rule(options.error, options.least, options.least_attention, options.rounds)
    how = replace(_how(options), folder=options.out / "sweeps")
    prompts, metric = prompts_of(options), METRICS[options.metric]
    generator = np.random.default_rng(options.seed)
    circuit = discover(options.model, prompts, generator, rule=rule, metric=metric, options=how)
    report_edges(circuit, options.out)


def _check_model(options: Options) -> None:
    print(f"{SMOLLM2_SHA256}  {smollm2_file()}")


def _check_prompts(options: Options) -> None:
    tokenizer = load_model(options.model).tokenizer
    report_labels(load_prompts(options.file, tokenizer), tokenizer)


COMMANDS = {
    "ioi": _ioi,
    "sweep": _sweep,
    "patch": _patch,
    "trace": _trace,
    "circuit": _circuit,
    "discover": _discover,
    "check-model": _check_model,
    "check-prompts": _check_prompts,
}
