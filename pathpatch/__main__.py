"""The command line: python -m pathpatch ioi | sweep | patch | trace | check-model."""

import argparse
import sys
from collections.abc import Sequence
from random import Random

import torch

from pathpatch.effects import check_folder
from pathpatch.errors import PathPatchError
from pathpatch.facts import FACTS, FIRST, LAST, fact_prompts, load_facts
from pathpatch.ioi import ioi_prompts
from pathpatch.metrics import answer_prob, logit_diff
from pathpatch.models import load_model
from pathpatch.nodes import KINDS, PAPER, grid, heads, mlps, node_set, windows
from pathpatch.prompts import load_prompts
from pathpatch.report import report, report_baseline
from pathpatch.smollm2 import SMOLLM2_SHA256, smollm2_file
from pathpatch.spec import ENGINES, FROZEN, How
from pathpatch.sweeps import activation_sweep, sweep
from pathpatch.tracing import SEVERED, causal_trace, embedding_std, gaussian_noise
from pathpatch.walk import STEPS, ioi_walk

SENDERS = {"heads": heads, "mlps": mlps}
METRICS = {"logit_diff": logit_diff, "answer_prob": answer_prob}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns: 0; 1 after an error, said in a line; 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except PathPatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished block", file=sys.stderr)
        return 130
    return 0


def _ioi(options: argparse.Namespace) -> None:
    out = check_folder(options.out)
    model = load_model(options.model)
    prompts = ioi_prompts(model.tokenizer, options.prompts, Random(options.seed))
    report_baseline(model, prompts, out, options.seed)
    how = How(memory=options.memory, folder=out)
    for name, (title, effects) in zip(STEPS, ioi_walk(model, prompts, how), strict=True):
        report(effects, title, out / name, options.seed)


def _sweep(options: argparse.Namespace) -> None:
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


def _patch(options: argparse.Namespace) -> None:
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


def _trace(options: argparse.Namespace) -> None:
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


def _check_model(options: argparse.Namespace) -> None:
    print(f"{SMOLLM2_SHA256}  {smollm2_file()}")


def _place(names: str, at: str) -> str:
    """Add the position to the nodes that have none. The logits are only read at END."""
    nodes = [(str(node), node) for node in node_set(names)]
    places = [at if node.kind != "logits" else "END" for _, node in nodes]
    return "+".join(
        name if node.at is not None else f"{name}@{place}"
        for (name, node), place in zip(nodes, places, strict=True)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pathpatch", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    ioi = commands.add_parser("ioi", help="walk the IOI circuit backward from the logits")
    ioi.add_argument("--prompts", type=int, default=30, help="how many (default %(default)s)")
    ioi.set_defaults(command=_ioi, out="out/ioi")

    one = commands.add_parser("sweep", help="path patch every sender to the receivers")
    one.add_argument("--prompts", required=True, metavar="FILE", help="JSON list of prompt pairs")
    one.add_argument("--senders", default="heads", help="heads, mlps, or nodes: 9.6,3.mlp_out,a+b")
    one.add_argument("--receivers", default="logits", help="nodes: 9.6.q,9.9.q (together)")
    one.add_argument("--at", default="END", help="position of nodes that name none")
    one.add_argument("--frozen", choices=FROZEN, default="heads")
    one.add_argument("--direction", choices=["noising", "denoising"], default="noising")
    one.add_argument("--engine", choices=ENGINES, default="fast")
    one.set_defaults(command=_sweep, out="out/sweep")

    patch = commands.add_parser("patch", help="activation patch every node by itself")
    patch.add_argument("--prompts", required=True, metavar="FILE", help="JSON list of prompt pairs")
    patch.add_argument("--nodes", default="heads", help="heads, mlps, a kind, or nodes: 9.6.q,a+b")
    patch.add_argument("--at", default="END", help="positions of nodes that name none: S2,END")
    patch.add_argument("--direction", choices=["noising", "denoising"], default="noising")
    patch.add_argument("--metric", choices=METRICS, default="logit_diff")
    patch.set_defaults(command=_patch, out="out/patch")

    trace = commands.add_parser("trace", help="causal tracing of facts")
    _add_trace_options(trace)
    trace.set_defaults(command=_trace, out="out/trace")

    for command in (ioi, one, patch):
        command.add_argument("--memory", type=float, default=2, help="GiB beside the model")
    for command in (ioi, one, patch, trace):
        command.add_argument("--model", default="smollm2", help="default %(default)s")
        command.add_argument("--out", help="folder for the results (default %(default)s)")
        command.add_argument("--seed", type=int, default=0, help="of names, noise and intervals")
    check = commands.add_parser("check-model", help="verify the installed SmolLM2 file")
    check.set_defaults(command=_check_model)
    return parser


def _add_trace_options(trace: argparse.ArgumentParser) -> None:
    add = trace.add_argument
    add(
        "--facts", default=FACTS, metavar="FILE", help="JSON list of facts (default: the library's)"
    )
    add("--restore", choices=["resid_post", *SEVERED], default="resid_post")
    add("--at", default=f"{FIRST},{LAST},END", help="positions (default %(default)s)")
    add("--reach", type=int, nargs=2, default=PAPER, help="layers below and above in a window")
    add("--sever", choices=SEVERED, action="append", default=[], help="freeze as corrupted")
    add("--corruption", choices=["noise", "replace"], default="noise")
    add("--sigmas", type=float, default=3.0, help="of the noise, in standard deviations")
    add("--draws", type=int, default=10, help="of the noise (default %(default)s)")
    add("--metric", choices=METRICS, default="answer_prob")


if __name__ == "__main__":
    sys.exit(main())
