"""The command line: python -m pathpatch ioi | sweep | check-model."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from pathpatch.effects import Effects, check_folder, write_file
from pathpatch.errors import PathPatchError
from pathpatch.ioi import ioi_prompts, templates
from pathpatch.models import Model, fingerprint, load_model
from pathpatch.nodes import heads, mlps
from pathpatch.prompts import Prompts, load_prompts
from pathpatch.smollm2 import SMOLLM2_SHA256, smollm2_file
from pathpatch.spec import ENGINES, FROZEN, How
from pathpatch.sweeps import baseline, sweep
from pathpatch.uncertainty import interval
from pathpatch.walk import STEPS, ioi_walk

SENDERS = {"heads": heads, "mlps": mlps}


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
    _baseline(model, prompts, out, options.seed)
    how = How(memory=options.memory, folder=out)
    for name, (title, effects) in zip(STEPS, ioi_walk(model, prompts, how), strict=True):
        _report(effects, title, out / name, options.seed)


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
    _report(effects, f"{options.senders} to {options.receivers}", out, options.seed)


def _check_model(options: argparse.Namespace) -> None:
    print(f"{SMOLLM2_SHA256}  {smollm2_file()}")


def _place(names: str, at: str) -> str:
    """Add the position to the nodes that have none. The logits are only read at END."""
    places = {name: "END" if name.strip() == "logits" else at for name in names.split("+")}
    return "+".join(n if "@" in n else f"{n.strip()}@{place}" for n, place in places.items())


def _baseline(model: Model, prompts: Prompts, out: Path, seed: int) -> None:
    values = baseline(model, prompts)
    summary = {"model": model.cfg.model_name, "model_sha256": fingerprint(model)}
    print(f"{model.cfg.model_name}, {len(prompts)} prompts, mean with 95 % interval")
    for name, numbers in values.items():
        low, high = interval(numbers, np.random.default_rng(seed), templates(prompts))
        summary[name] = {"mean": numbers.mean(), "low_95": low, "high_95": high}
        print(f"  {name:22} {numbers.mean():8.3f}   [{low:.3f}, {high:.3f}]")
    write_file(out / "baseline.json", json.dumps(summary, indent=1).encode())


def _report(effects: Effects, title: str, out: Path, seed: int) -> None:
    """Print the strongest senders, write the table and, for heads, the heat map."""
    from pathpatch.plots import save_heat_map

    effects.save(out, np.random.default_rng(seed))
    generator = np.random.default_rng(seed)  # and in the order of `save`: the same numbers
    p, intervals = effects.p_adjusted(generator), effects.interval(generator)
    print(f"\n{title} ({len(effects.base)} prompts, change of {effects.about.metric})")
    for i in effects.top(10):
        low, high = intervals[i]
        print(
            f"  {effects.senders[i]:20} {effects.mean()[i]:+8.3f}   [{low:+.3f}, {high:+.3f}]"
            f"   p {p[i]:.4f}   {effects.percent()[i]:+7.1f} %"
        )
    if effects.of_heads():
        save_heat_map(effects, out / "effects.png", title)
    print(f"  written: {out}")


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

    for command in (ioi, one):
        command.add_argument("--model", default="smollm2", help="default %(default)s")
        command.add_argument("--out", help="folder for the results (default %(default)s)")
        command.add_argument("--memory", type=float, default=2, help="GiB beside the model")
        command.add_argument("--seed", type=int, default=0, help="of names and intervals")
    check = commands.add_parser("check-model", help="verify the installed SmolLM2 file")
    check.set_defaults(command=_check_model)
    return parser


if __name__ == "__main__":
    sys.exit(main())
