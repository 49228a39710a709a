"""The options of every command, and their defaults. What the commands do is in `__main__`."""

import argparse
from collections.abc import Sequence
from typing import TypeAlias

from pathpatch.discovery import Rule
from pathpatch.facts import FACTS, FIRST, LAST
from pathpatch.knockouts import CANDIDATES, POSITIONS, REFERENCES
from pathpatch.metrics import METRICS
from pathpatch.nodes import PAPER
from pathpatch.spec import ENGINES, FROZEN
from pathpatch.tracing import SEVERED

Options: TypeAlias = argparse.Namespace
Parser: TypeAlias = argparse.ArgumentParser


def parse(arguments: Sequence[str] | None, description: str | None) -> Options:
    """The options of one command; options.command is its name. Exits after --help and mistakes."""
    parser = argparse.ArgumentParser(prog="python -m pathpatch", description=description)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, (help_text, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        add_options(command)
        if name == "check-model":
            continue
        command.add_argument("--model", default="smollm2", help="default %(default)s")
        out = f"out/{name}"
        command.add_argument("--out", default=out, help="folder for the results (%(default)s)")
        command.add_argument("--seed", type=int, default=0, help="of all that is drawn at random")
    return parser.parse_args(arguments)


def _ioi(command: Parser) -> None:
    add = command.add_argument
    add("--prompts", type=int, default=30, help="how many (default %(default)s)")
    _add_memory(command)


def _sweep(command: Parser) -> None:
    add = command.add_argument
    _add_prompts(command)
    add("--senders", default="heads", help="heads, mlps, or nodes: 9.6,3.mlp_out,a+b")
    add("--receivers", default="logits", help="nodes: 9.6.q,9.9.q (together)")
    add("--at", default="END", help="position of nodes that name none")
    add("--frozen", choices=FROZEN, default="heads")
    add("--direction", choices=["noising", "denoising"], default="noising")
    add("--engine", choices=ENGINES, default="fast")
    _add_memory(command)


def _patch(command: Parser) -> None:
    add = command.add_argument
    _add_prompts(command)
    add("--nodes", default="heads", help="heads, mlps, a kind, or nodes: 9.6.q,a+b")
    add("--at", default="END", help="positions of nodes that name none: S2,END")
    add("--direction", choices=["noising", "denoising"], default="noising")
    add("--metric", choices=METRICS, default="logit_diff")
    _add_memory(command)


def _trace(command: Parser) -> None:
    add = command.add_argument
    add("--facts", default=FACTS, metavar="FILE", help="list of facts (default: the library's)")
    add("--restore", choices=["resid_post", *SEVERED], default="resid_post")
    add("--at", default=f"{FIRST},{LAST},END", help="positions (default %(default)s)")
    add("--reach", type=int, nargs=2, default=PAPER, help="layers below and above in a window")
    add("--sever", choices=SEVERED, action="append", default=[], help="freeze as corrupted")
    add("--corruption", choices=["noise", "replace"], default="noise")
    add("--sigmas", type=float, default=3.0, help="of the noise, in standard deviations")
    add("--draws", type=int, default=10, help="of the noise (default %(default)s)")
    add("--metric", choices=METRICS, default="answer_prob")


def _circuit(command: Parser) -> None:
    add = command.add_argument
    _add_prompts(command)
    circuit = command.add_mutually_exclusive_group(required=True)
    circuit.add_argument("--nodes", help="the circuit: 9.6@END,5.5@S2 (9.6: at all positions)")
    circuit.add_argument("--circuit", metavar="FILE", help="the circuit, as it was saved")
    add("--reference", choices=REFERENCES, default="mean", help="what the others say (%(default)s)")
    add("--over", metavar="FILE", help="prompts to take mean and shuffle over (default: the same)")
    add("--positions", choices=POSITIONS, default="labelled", help="where nodes are kept")
    add("--candidates", choices=CANDIDATES, default="heads", help="what is knocked out")
    add("--metric", choices=METRICS, default="logit_diff")
    add("--random-sets", type=int, default=10, help="for completeness (default %(default)s)")
    add("--runs", type=int, default=3, help="of the greedy search (default %(default)s)")
    add("--steps", type=int, default=5, help="in each run: the largest set (default %(default)s)")
    add("--look", type=int, default=10, help="nodes looked at in each step (default %(default)s)")


def _discover(command: Parser) -> None:
    add, rule = command.add_argument, Rule()
    add("--prompts", default="30", metavar="FILE", help="prompt pairs, or how many of IOI (30)")
    add("--error", type=float, default=rule.error, help="of all tests in a round (%(default)s)")
    add("--least", type=float, default=rule.least, help="percent of the metric (%(default)s)")
    add("--look", type=float, default=rule.look, help="least attention to a place (%(default)s)")
    add("--rounds", type=int, default=rule.rounds, help="at most (default %(default)s)")
    add("--metric", choices=METRICS, default="logit_diff")
    _add_memory(command)


def _check_model(command: Parser) -> None:
    """It has no options."""


def _add_prompts(command: Parser) -> None:
    command.add_argument(
        "--prompts", required=True, metavar="FILE", help="JSON list of prompt pairs"
    )


def _add_memory(command: Parser) -> None:
    command.add_argument("--memory", type=float, default=2, help="GiB beside the model")


COMMANDS = {
    "ioi": ("walk the IOI circuit backward from the logits", _ioi),
    "sweep": ("path patch every sender to the receivers", _sweep),
    "patch": ("activation patch every node by itself", _patch),
    "trace": ("causal tracing of facts", _trace),
    "circuit": ("knock out all but a circuit: is it faithful, complete, minimal?", _circuit),
    "discover": ("find the circuit, backward from the logits, until nothing passes", _discover),
    "check-model": ("verify the installed SmolLM2 file", _check_model),
}
