"""The prompts, positions and nodes that the options of a command name."""

from dataclasses import replace
from random import Random

from pathpatch.cli.options import Options
from pathpatch.errors import PathPatchError
from pathpatch.files import as_path
from pathpatch.nodes import KINDS, Node, grid, node_set
from pathpatch.prompts import Prompts
from pathpatch.tasks.ioi import ioi_prompts
from pathpatch.tasks.own import load_prompts


def prompts_of(options: Options) -> Prompts:
    """The pairs of the file, or so many of IOI, in the direction asked for."""
    tokenizer, given = options.model.tokenizer, options.prompts
    if given.isdecimal():
        n = int(given[:20])  # as many digits as are needed to refuse it
        prompts = ioi_prompts(tokenizer, n, Random(options.seed))
    elif as_path(given).exists():
        prompts = load_prompts(given, tokenizer)
    else:
        raise PathPatchError(
            f"--prompts {given!r} is neither a file that is here nor a number of IOI prompts "
            "(such as 30)"
        )
    return prompts.swapped() if vars(options).get("direction") == "denoising" else prompts


def places_of(options: Options) -> list[str]:
    """The positions of --at."""
    return _parts(options.at, "--at", "positions such as END or S2,END")


def nodes_of(options: Options, names: str) -> list[str]:
    """All heads or MLPs, all nodes of a kind, or those that are named.

    Each stands at every position asked for, unless it names its own. The logits are only read at
    END.
    """
    entries = []
    for name in _parts(names, "a list of nodes", "heads, mlps, or nodes such as 9.6,3.mlp_out"):
        kind = {"heads": "z", "mlps": "mlp_out"}.get(name, name)
        known = kind in KINDS and kind != "logits"
        entries += [str(node) for node in grid(options.model, kind)] if known else [name]

    def place(node: Node, at: str) -> Node:
        return replace(node, at="END" if node.kind == "logits" else at) if node.at is None else node

    sets = [(node_set(entry), at) for entry in entries for at in places_of(options)]
    return ["+".join(str(place(node, at)) for node in nodes) for nodes, at in sets]


def _parts(text: str, what: str, examples: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if "" in parts:
        raise PathPatchError(f"{what} has an empty part: {text!r}; what would work: {examples}")
    return parts
