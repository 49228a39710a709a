"""What a sweep is asked to compute, checked before anything runs."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from pathpatch.errors import PathPatchError, as_list, check_number, did_you_mean
from pathpatch.files import as_path
from pathpatch.metrics import Metric, logit_diff
from pathpatch.nodes import FROZEN, Entries, Model, Node, Sets, as_nodes, grid, heads, node_set
from pathpatch.paths import check_nodes
from pathpatch.prompts import Prompts, Tokens
from pathpatch.tracing import SEVERED

ENGINES = ("fast", "literal")


@dataclass(frozen=True)
class SweepOptions:
    """How to compute a sweep; the effects do not depend on it (beyond rounding).

    engine: "fast", or "literal" for the methods of the root, one set of nodes after another.
    memory: what the sweep may use beside the model, in GiB.
    folder: where finished blocks are kept. The same sweep, started again, goes on from there: the
    same model, prompts, nodes, library and metric.
    identity: what a metric of your own is, such as "log odds, version 1". A folder needs it, since
    nobody can see all that a function computes with; say another whenever some of that changes.
    executor: any `concurrent.futures.Executor`; the blocks go to its workers, which load the model
    by its name. With None they are computed here.
    quiet: whether the sweep says neither its cost nor its progress.
    seed: what the table draws its intervals and p values from (see `Effects`).

    Raises: PathPatchError for an engine that does not exist, a seed that is not a whole number
    from 0 on, and a folder that is no path.
    """

    engine: str = "fast"
    memory: float | int = 2
    folder: Path | str | None = None
    executor: Executor | None = None
    quiet: bool = False
    seed: int = 0
    identity: str = ""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            hint = did_you_mean(self.engine, ENGINES)
            raise PathPatchError(f"unknown engine {self.engine!r}; {hint}")
        check_number("memory (GiB)", self.memory, 1e-9)
        object.__setattr__(self, "seed", check_number("the seed", self.seed, 0, whole=True))
        if self.folder is not None:
            object.__setattr__(self, "folder", as_path(self.folder))

    @staticmethod
    def of(given: "SweepOptions | None") -> "SweepOptions":
        """The options given, or the usual ones for None."""
        return given or SweepOptions()


@dataclass(frozen=True)
class Corruption:
    """How causal tracing corrupts x_orig.

    noise: what is added to the token embeddings; None: those of x_new stand there. severed: kinds
    that keep their corrupted values at the positions of an entry.
    """

    noise: Float[Tensor, "batch pos d_model"] | None
    severed: Sequence[str]


@dataclass(frozen=True)
class Spec:
    """One sweep: everything that its numbers depend on but the model and the prompts.

    Without receivers it is activation patching, or with a corruption causal tracing: the senders
    are the nodes that are patched.
    """

    senders: Sets  # each set is patched together
    receivers: Sequence[Node]
    frozen: Sequence[Node]
    frozen_name: str  # heads, heads+mlps, or the nodes
    metric: Metric
    engine: str = "fast"
    corruption: Corruption | None = None
    block: int = 32  # prompts in a forward pass
    rows: int = 2048  # residual vectors in a batch of the fast engine

    @property
    def at_once(self) -> int:
        """How many senders a job has: each job repeats passes A and B."""
        return 4096 if self.engine == "fast" else 8

    @property
    def said(self) -> str:
        """The engine, with the method where it is not path patching."""
        if self.receivers:
            return self.engine
        if self.corruption is None:
            return f"activation patching, {self.engine}"
        how = "replaced tokens" if self.corruption.noise is None else "noise"
        return f"causal tracing, {how}, {self.engine}"

    def cut(self, model: Model) -> Sets:
        """What is severed for each set of senders."""
        severed = self.corruption.severed if self.corruption else ()
        return [_severed(model, severed, nodes) for nodes in self.senders]

    def part(self, rows: slice, columns: slice) -> "Spec":
        """The sweep of some senders on some prompts."""
        corruption = self.corruption
        if corruption and corruption.noise is not None:
            corruption = replace(corruption, noise=corruption.noise[columns])
        return replace(self, senders=self.senders[rows], corruption=corruption)

    @staticmethod
    def of(
        model: Model,
        prompts: Prompts,
        senders: Entries,
        receivers: Iterable[Node | str],
        frozen: Iterable[Node | str] | None = None,
        metric: Metric = logit_diff,
    ) -> "Spec":
        """Read the nodes. Raises: PathPatchError for those that are not there or cannot do this."""
        sets = [node_set(sender) for sender in as_list(senders, "senders")]
        targets = as_nodes(receivers)
        kept = heads(model) if frozen is None else as_nodes(frozen)
        if not sets:
            raise PathPatchError("the sweep has no senders")
        for nodes in sets:
            check_nodes(model, prompts.orig, nodes, targets)
        usual = [name for name, nodes in FROZEN.items() if set(nodes(model)) == set(kept)]
        name = usual[0] if usual else ",".join(map(str, kept))
        return Spec(sets, targets, kept, name, metric)


def check_sets(model: Model, tokens: Tokens, nodes: Entries) -> Sets:
    """The sets of nodes of a sweep. Raises: PathPatchError for nodes that are not there."""
    sets = [node_set(names) for names in as_list(nodes, "nodes")]
    if not sets or not all(sets):
        raise PathPatchError("the list of nodes to patch is empty; give at least one")
    for node in [node for nodes in sets for node in nodes]:
        node.check(model)
        if node.kind == "logits":
            raise PathPatchError("the logits cannot be patched: the metric is read from them")
        if node.at is not None:
            tokens.at(node.at)
    return sets


def _severed(model: Model, kinds: Sequence[str], entry: Sequence[Node]) -> list[Node]:
    """What is cut for an entry: all layers of these kinds, at its positions."""
    if unknown := [kind for kind in as_list(kinds, "kinds") if kind not in SEVERED]:
        raise PathPatchError(f"cannot sever {unknown}; these can be: {', '.join(SEVERED)}")
    return [node for kind in kinds for node in grid(model, kind, {n.at: 0 for n in entry})]
