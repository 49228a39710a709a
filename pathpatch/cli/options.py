"""The options of every command, and their defaults. What the commands do is in `commands`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

from pathpatch.circuits.ablation import CANDIDATES, POSITIONS, REFERENCES
from pathpatch.circuits.discovery import Rule
from pathpatch.engine.spec import ENGINES
from pathpatch.errors import PathPatchError, check_number
from pathpatch.metrics import METRICS
from pathpatch.models.devices import DTYPES
from pathpatch.nodes import FROZEN
from pathpatch.prompts import FIRST, LAST
from pathpatch.tasks.facts import FACTS
from pathpatch.tracing import PAPER, SEVERED

Number: TypeAlias = float | int
Options: TypeAlias = argparse.Namespace
Table: TypeAlias = dict[str, dict[str, Any]]  # option -> what argparse takes


def _number(
    low: float | int, high: float | int = inf, *, whole: bool = False
) -> Callable[[str], float | int]:
    """What argparse asks to read an option that is a number from low to high."""

    def read(text: str) -> Number:
        try:
            value = (int if whole else float)(text)
        except ValueError:
            value = text  # type: ignore[assignment]
        try:
            check_number("it", value, low, high, whole=whole)
        except PathPatchError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return value

    return read


COUNT, SIZE, SHARE = _number(1, whole=True), _number(0), _number(0, 1)
NATURAL = _number(0, whole=True)

FILE: Table = {
    "--prompts": dict(
        required=True, metavar="FILE", help="pairs as JSON, JSONL or CSV, or how many of IOI"
    )
}
IOI: Table = {"--prompts": dict(default="30", metavar="FILE", help=FILE["--prompts"]["help"])}
MEMORY: Table = {"--memory": dict(type=_number(1e-9), default=2, help="GiB beside the model")}
METRIC: Table = {"--metric": dict(choices=METRICS, default="logit_diff")}
DIRECTION: Table = {"--direction": dict(choices=["noising", "denoising"], default="noising")}
SWEEP: Table = {
    "--senders": dict(default="heads", help="heads, mlps, or nodes: 9.6,3.mlp_out,a+b"),
    "--receivers": dict(default="logits", help="nodes: 9.6.q,9.9.q,3.mlp_in (together)"),
    "--at": dict(default="END", help="position of nodes that name none"),
    "--frozen": dict(choices=FROZEN, default="heads"),
    "--engine": dict(choices=ENGINES, default="fast"),
}
PATCH: Table = {
    "--nodes": dict(default="heads", help="heads, mlps, a kind, or nodes: 9.6.q,a+b"),
    "--at": dict(default="END", help="positions of nodes that name none: S2,END"),
}
TRACE: Table = {
    "--facts": dict(default=FACTS, metavar="FILE", help="list of facts"),
    "--prompts": dict(type=COUNT, default=25, help="how many of the facts, spread over the list"),
    "--restore": dict(choices=["resid_post", *SEVERED], default="resid_post"),
    "--at": dict(default=f"{FIRST},{LAST},END", help="positions"),
    "--reach": dict(type=NATURAL, nargs=2, default=PAPER, help="layers below, above"),
    "--sever": dict(choices=SEVERED, action="append", default=[], help="freeze as corrupted"),
    "--corruption": dict(choices=["noise", "replace"], default="noise"),
    "--sigmas": dict(type=SIZE, default=3.0, help="of the noise, in standard deviations"),
    "--draws": dict(type=COUNT, default=5, help="of the noise"),
    "--metric": dict(choices=METRICS, default="answer_prob"),
}
EITHER: Table = {
    "--nodes": dict(help="the circuit: 9.6@END,5.5@S2 (9.6: at all positions)"),
    "--edges": dict(help="the same for edges: '5.5.z@S2 -> 7.3.v@S2,embed -> 0.1.q'"),
    "--circuit": dict(metavar="FILE", help="the circuit, as it was saved"),
}
CIRCUIT: Table = {
    "--keep": dict(choices=["heads", "edges"], default="heads", help="what of --circuit FILE"),
    "--reference": dict(choices=REFERENCES, default="mean", help="what the others say"),
    "--over": dict(metavar="FILE", help="prompts to take mean and shuffle over, if not the same"),
    "--positions": dict(choices=POSITIONS, default="labelled", help="where nodes are kept"),
    "--candidates": dict(choices=CANDIDATES, default="heads", help="what is knocked out"),
    "--random-sets": dict(type=NATURAL, default=10, help="for completeness"),
    "--runs": dict(type=COUNT, default=3, help="of the greedy search"),
    "--steps": dict(type=COUNT, default=5, help="in each run: the largest set"),
    "--nodes-per-step": dict(type=COUNT, default=10, help="nodes that a step tries"),
}
DISCOVER: Table = {
    "--error": dict(type=SHARE, default=Rule.error, help="of all tests in a round"),
    "--least": dict(type=SIZE, default=Rule.least, help="percent of the metric"),
    "--least-attention": dict(
        type=SHARE,
        default=Rule.least_attention,
        help="mean weight that makes a position one where a head looks",
    ),
    "--rounds": dict(type=COUNT, default=Rule.rounds, help="at most"),
}
CHECK: Table = {
    "file": dict(metavar="FILE", help="pairs: a JSON list, JSONL or CSV"),
    "--model": dict(default="smollm2", help="whose tokenizer reads them"),
}
COMMANDS: dict[str, tuple[str, Table]] = {
    "ioi": ("walk the IOI circuit backward from the logits", IOI | MEMORY),
    "sweep": ("path patch every sender to the receivers", FILE | SWEEP | DIRECTION | MEMORY),
    "patch": ("activation patch every node by itself", FILE | PATCH | DIRECTION | METRIC | MEMORY),
    "trace": ("causal tracing of facts", TRACE | MEMORY),
    "circuit": (
        "knock out all but a circuit: is it faithful, complete, minimal?",
        FILE | EITHER | CIRCUIT | METRIC,
    ),
    "discover": (
        "find the circuit, backward from the logits, until nothing passes",
        IOI | DISCOVER | METRIC | MEMORY,
    ),
    "check-model": ("verify the installed SmolLM2 file", {}),
    "check-prompts": ("show the token at every label of a prompt file", CHECK),
}


def parse(arguments: Sequence[str] | None, description: str | None) -> Options:
    """The options of one command, of which `command` is the name.

    After --help, and after a mistake, which is said, this ends the program.
    """
    typed = "pathpatch" if Path(sys.argv[0]).stem == "pathpatch" else "python -m pathpatch"
    parser = argparse.ArgumentParser(prog=typed, description=description)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, (help_text, table) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        circuit = name == "circuit"
        one_of = command.add_mutually_exclusive_group(required=True) if circuit else command
        everywhere: Table = {
            "--model": dict(default="smollm2"),
            "--device": dict(default="cpu", help="where the model is: cpu, cuda, cuda:1, mps"),
            "--dtype": dict(choices=DTYPES, default="float32", help="of the weights and values"),
            "--out": dict(default=f"out/{name}", help="folder for the results"),
            "--seed": dict(type=NATURAL, default=0, help="of all that is drawn at random"),
        }
        if not table or "file" in table:  # these write nothing
            everywhere = {}
        for option, details in (table | everywhere).items():
            default = " (default %(default)s)" if "default" in details else ""
            words = {"help": details.get("help", "") + default}
            where = one_of if option in EITHER else command
            where.add_argument(option, **(details | words))
    given = sys.argv[1:] if arguments is None else list(arguments)
    for word in given:
        if word.endswith("=--"):  # argparse would make an empty list of it
            parser.error(f"{word!r}: -- is no value; it ends the options")
    return parser.parse_args(given)
