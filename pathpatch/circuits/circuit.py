"""A circuit as data: which head acts through what, and by how much; its edges, measured again."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from pathpatch.effects import Effects
from pathpatch.engine.blocks import blocks, table
from pathpatch.engine.cost import announce
from pathpatch.engine.fast import patch_edges
from pathpatch.engine.spec import Spec
from pathpatch.engine.sweeps import say_rounding
from pathpatch.engine.verify import why_not_fast
from pathpatch.errors import PathPatchError
from pathpatch.files import read_object, write_file
from pathpatch.metrics import Metric, logit_diff
from pathpatch.nodes import Model, Node, as_nodes, heads, node_set
from pathpatch.paths import check_nodes
from pathpatch.prompts import Prompts


@dataclass(frozen=True)
class Edge:
    """A path that stands out: a sender, a receiver, and what patching the path changes.

    `change` is the mean over prompts, in units of the metric, and (low, high) its 95 % interval;
    `percent` is the same in percent of the mean metric before. `p` is corrected for everything that
    was tested in the same round.
    """

    sender: str  # "1.0.z@END", or "embed@IO"
    receiver: str  # "2.0.q@END", or "logits@END"
    change: float
    low: float
    high: float
    percent: float
    p: float


@dataclass(frozen=True)
class Circuit:
    """The edges that were found, and what was asked (model, prompts, thresholds, rounds)."""

    edges: list[Edge]
    about: dict[str, Any] = field(default_factory=dict)

    def heads(self) -> list[Node]:
        """The heads that send, each with the position at which it does, first layer first."""
        nodes = as_nodes(edge.sender for edge in self.edges)
        return sorted((n for n in nodes if n.kind == "z"), key=lambda n: (n.layer, n.head))

    def save(self, path: str | Path) -> None:
        """Write the circuit as JSON."""
        data = {**self.about, "edges": [asdict(edge) for edge in self.edges]}
        write_file(Path(path), json.dumps(data, indent=1).encode())

    @staticmethod
    def load(path: str | Path) -> "Circuit":
        """Read back what `save` wrote. Raises: PathPatchError for a file that is not a circuit."""
        data = read_object(path, "a circuit", ["edges"])
        try:
            return Circuit([Edge(**edge) for edge in data.pop("edges")], data)
        except TypeError as error:
            names = ", ".join(field.name for field in fields(Edge))
            raise PathPatchError(
                f"cannot read a circuit from {path}: edges is a list of objects with {names}"
            ) from error


@torch.no_grad()
def edge_effects(
    model: Model, prompts: Prompts, circuit: Circuit, metric: Metric = logit_diff
) -> Effects:
    """Measure every edge of a circuit again, for example on prompts that it was not found on.

    It costs little more than two passes, since all edges share passes A and B.

    Returns: Effects with a row for each edge: `senders` and `receivers` side by side, and in
    `names` as "1.0.z@END -> 2.0.q@END".
    Raises: PathPatchError for a circuit without edges, nodes that are not there, and a model that
    the fast engine does not know. Book: chapter 7.
    """
    if not circuit.edges:
        raise PathPatchError("the circuit has no edges to measure")
    senders = [node_set(edge.sender) for edge in circuit.edges]
    receivers = [Node.parse(edge.receiver) for edge in circuit.edges]
    edges = list(zip(senders, receivers, strict=True))
    for nodes, receiver in edges:
        check_nodes(model, prompts.orig, nodes, [receiver])
    spec = Spec(senders, list(dict.fromkeys(receivers)), heads(model), "heads", metric)
    if reason := why_not_fast(model, prompts, spec.senders):
        raise PathPatchError(f"edge_effects rests on the fast engine. {reason}; use path_sweep")
    announce(model, prompts, f"{len(edges)} edges", 2)
    say_rounding(model)
    parts = [patch_edges(model, part, edges, metric) for part in blocks(model, prompts)]
    asked = {"receivers": list(map(str, receivers)), "frozen": "heads", "engine": "fast"}
    effects = table(model, prompts, senders, metric, parts, **asked)
    return replace(effects, receivers=receivers)
