"""A circuit as data: which head acts through what, and by how much. And tables of such effects."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pathpatch.errors import PathPatchError
from pathpatch.files import read_json, write_file
from pathpatch.nodes import Node, as_nodes


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
            data = read_json(path, "a circuit")
            return Circuit([Edge(**edge) for edge in data.pop("edges")], data)
        except (KeyError, TypeError, AttributeError) as error:
            raise PathPatchError(f"cannot read a circuit from {path}: {error!r}") from error
