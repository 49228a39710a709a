"""The command line: python -m pathpatch, and then one of the commands of `options`."""

import sys
from collections.abc import Sequence
from random import Random

import numpy as np
import torch

from pathpatch.discovery import Rule, discover
from pathpatch.edges import Circuit
from pathpatch.effects import check_folder
from pathpatch.errors import PathPatchError
from pathpatch.facts import fact_prompts, load_facts
from pathpatch.ioi import ioi_prompts
from pathpatch.knockouts import Ablation, Knockout
from pathpatch.metrics import METRICS
from pathpatch.models import load_model
from pathpatch.nodes import KINDS, as_nodes, grid, heads, mlps, node_set, windows
from pathpatch.options import Options, parse
from pathpatch.prompts import load_prompts
from pathpatch.report import report, report_baseline, report_circuit, report_edges
from pathpatch.smollm2 import SMOLLM2_SHA256, smollm2_file
from pathpatch.spec import FROZEN, How
from pathpatch.subsets import Search
from pathpatch.sweeps import activation_sweep, sweep
from pathpatch.tracing import SEVERED, causal_trace, embedding_std, gaussian_noise
from pathpatch.walk import STEPS, ioi_walk

SENDERS = {"heads": heads, "mlps": mlps}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns: 0; 1 after an error, said in a line; 130 after Ctrl-C."""
    options = parse(arguments, __doc__)
    try:
        COMMANDS[options.command](options)
    except PathPatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = "; the same command goes on from the last finished block"
        print("stopped" + kept * hasattr(options, "memory"), file=sys.stderr)  # only sweeps do
        return 130
    return 0


def _ioi(options: Options) -> None:
    out = check_folder(options.out)
    model = load_model(options.model)
    prompts = ioi_prompts(model.tokenizer, options.prompts, Random(options.seed))
    report_baseline(model, prompts, out, options.seed)
    how = How(memory=options.memory, folder=out)
    for name, (title, effects) in zip(STEPS, ioi_walk(model, prompts, how), strict=True):
        report(effects, title, out / name, options.seed)


def _sweep(options: Options) -> None:
    out = check_folder(options.out)
    model = load_model(options.model)
    prompts = load_prompts(options.prompts, model.tokenizer)
    if options.direction == "denoising":
        prompts = prompts.swapped()
    if options.senders in SENDERS:
        senders = [str(node) for node in SENDERS[options.senders](model, options.at)]
    else:
        senders = [_place(name, options.at) for name in options.senders.split(",")]
    effects = sweep(
        model,
        prompts,
        senders=senders,
        receivers=[_place(name, options.at) for name in options.receivers.split(",")],
        frozen=FROZEN[options.frozen](model),
        how=How(options.engine, options.memory, out),
    )
    report(effects, f"{options.senders} to {options.receivers}", out, options.seed)


def _patch(options: Options) -> None:
    out = check_folder(options.out)
    model = load_model(options.model)
    prompts = load_prompts(options.prompts, model.tokenizer)
    if options.direction == "denoising":
        prompts = prompts.swapped()
    how = How(memory=options.memory, folder=out)
    kind = {"heads": "z", "mlps": "mlp_out"}.get(options.nodes, options.nodes)
    nodes = grid(model, kind) if kind in KINDS else options.nodes.split(",")
    entries = [_place(str(node), at) for node in nodes for at in options.at.split(",")]
    effects = activation_sweep(model, prompts, entries, METRICS[options.metric], how)
    report(effects, f"{options.direction} {options.nodes}", out, options.seed)


def _trace(options: Options) -> None:
    out = check_folder(options.out)
    model = load_model(options.model)
    facts = load_facts(options.facts)
    prompts = fact_prompts(model.tokenizer, facts)
    at, noise = options.at.split(","), None
    entries = [f"{node}@{where}" for node in grid(model, options.restore) for where in at]
    if options.restore in SEVERED:
        entries = windows(model, options.restore, at, tuple(options.reach))
    if options.corruption == "noise":
        scale = options.sigmas * embedding_std(model, [fact.subject for fact in facts])
        generator = torch.Generator().manual_seed(options.seed)
        noise = gaussian_noise(model, prompts.clean, scale, generator, options.draws)
    metric = METRICS[options.metric]
    trace = causal_trace(model, prompts, entries, noise=noise, severed=options.sever, metric=metric)
    print(
        f"mean {options.metric}: clean {trace.clean.mean():.3f}, "
        f"corrupted {trace.corrupted.mean():.3f}, {len(trace.corrupted)} draw(s)"
    )
    report(trace, f"{options.restore} restored", out, options.seed)


def _circuit(options: Options) -> None:
    out = check_folder(options.out)
    model = load_model(options.model)
    prompts = load_prompts(options.prompts, model.tokenizer)
    circuit = [] if options.circuit else as_nodes(options.nodes.split(","))
    if options.circuit and not (circuit := Circuit.load(options.circuit).heads()):
        raise PathPatchError(f"{options.circuit}: the circuit has no heads that send")
    generator = np.random.default_rng(options.seed)
    rules = Ablation(
        options.reference,
        options.positions,
        options.candidates,
        METRICS[options.metric],
        load_prompts(options.over, model.tokenizer) if options.over else None,
        generator,
    )
    search = Search(generator, options.runs, options.steps, options.look)
    knockout = Knockout(model, prompts, rules)
    report_circuit(knockout, circuit, search, options.random_sets, out, options.seed)


def _discover(options: Options) -> None:
    out = check_folder(options.out)
    model = load_model(options.model)
    if options.prompts.isdigit():
        prompts = ioi_prompts(model.tokenizer, int(options.prompts), Random(options.seed))
    else:
        prompts = load_prompts(options.prompts, model.tokenizer)
    rule = Rule(options.error, options.least, options.look, options.rounds)
    how = How(memory=options.memory, folder=out / "sweeps")
    generator = np.random.default_rng(options.seed)
    metric = METRICS[options.metric]
    circuit = discover(model, prompts, generator, rule=rule, metric=metric, how=how)
    report_edges(circuit, out)


def _check_model(options: Options) -> None:
    print(f"{SMOLLM2_SHA256}  {smollm2_file()}")


def _place(names: str, at: str) -> str:
    """Add the position to the nodes that have none. The logits are only read at END."""
    nodes = [(str(node), node) for node in node_set(names)]
    places = [at if node.kind != "logits" else "END" for _, node in nodes]
    return "+".join(
        name if node.at is not None else f"{name}@{place}"
        for (name, node), place in zip(nodes, places, strict=True)
    )


COMMANDS = {
    "ioi": _ioi,
    "sweep": _sweep,
    "patch": _patch,
    "trace": _trace,
    "circuit": _circuit,
    "discover": _discover,
    "check-model": _check_model,
}

if __name__ == "__main__":
    sys.exit(main())
