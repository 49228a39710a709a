"""A circuit as data: which head acts through what, and by how much. And tables of such effects."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathpatch.blocks import about, as_array
from pathpatch.effects import Effects, write_file
from pathpatch.errors import PathPatchError
from pathpatch.ioi import templates
from pathpatch.metrics import Metric
from pathpatch.models import Model
from pathpatch.nodes import Node, Sets, as_nodes
from pathpatch.prompts import Prompts
from pathpatch.spec import names


@dataclass(frozen=True)
class Edge:
    """A path that stands out: a sender, a receiver, and what patching the path changes.

    change: mean over prompts, in units of the metric, with its 95 % interval (low, high).
    percent: of the mean metric before. p: corrected for everything tested in the same round.
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
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            return Circuit([Edge(**edge) for edge in data.pop("edges")], data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise PathPatchError(f"cannot read a circuit from {path}: {error!r}") from error


def table(
    model: Model,
    prompts: Prompts,
    sets: Sets,
    metric: Metric,
    parts: Iterable[tuple[Tensor, Tensor]],
    **asked: Any,
) -> Effects:
    """Effects from the base and the patched values [set, batch] of every block of prompts.

    asked: receivers, frozen and engine.
    """
    base, patched = (as_array(torch.cat(part, -1)) for part in zip(*parts, strict=True))
    details = about(model, prompts, sets, metric, **asked)
    return Effects(names(sets), base, patched, details, templates(prompts))
