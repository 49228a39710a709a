"""The table that a sweep returns: every sender's metric on every prompt, summed up and saved."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from pathpatch import uncertainty
from pathpatch.errors import PathPatchError, check_number
from pathpatch.files import read_object, write_file
from pathpatch.nodes import Node, Sets, names, node_set

Array = np.ndarray
_FORM: dict[str, Any] = {"index": False, "float_format": "{:.4f}".format}


@dataclass(frozen=True)
class About:
    """What was asked, of which model, and which engine answered."""

    model: str
    model_sha256: str
    receivers: list[str]
    at: str
    frozen: str
    direction: str
    metric: str
    engine: str
    prompts_sha256: str = ""


@dataclass(frozen=True, repr=False)
class Effects:
    """A metric before (base: pass B, on x_orig) and after patching each sender, on every prompt.

    Each row is a set of nodes that were patched together, its sender. All rows have the receivers
    that `about` names, unless the rows are edges: then `receivers` has one node for each row.
    templates: one name for each prompt, or none. Prompts that share one are a cluster: intervals
    and tests draw or flip them together (`uncertainty`).
    seed: what intervals and p values are drawn from; `replace(effects, seed=1)` draws others.

    Raises: PathPatchError for rows, prompts and values not equally many, none, or not finite.
    """

    senders: Sets
    base: Float[Array, " batch"]
    patched: Float[Array, "sender batch"]
    about: About
    templates: list[str] = field(default_factory=list)
    receivers: Sequence[Node] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", check_number("the seed", self.seed, 0, whole=True))
        rows, shape = len(self.senders), self.patched.shape
        if shape != (rows, len(self.base)) or len(self.receivers) not in (0, rows):
            raise PathPatchError(
                f"{rows} senders on {len(self.base)} prompts came with patched values of shape "
                f"{shape} and {len(self.receivers)} receivers (one for each sender, or none)"
            )
        if 0 in shape or not np.isfinite([self.base, *self.patched]).all():
            raise PathPatchError("effects need one value at least, and all must be finite numbers")

    @property
    def names(self) -> list[str]:
        """The rows as they are printed: "9.6.z@END", or "0.1.z@S2 -> 2.0.k@S2" for an edge."""
        ends = [f" -> {node}" for node in self.receivers] or [""] * len(self.senders)
        return [sender + end for sender, end in zip(names(self.senders), ends, strict=True)]

    @property
    def change(self) -> Float[Array, "sender batch"]:
        """Patched minus base, in units of the metric. 0: the sender does not matter here."""
        return self.patched - self.base

    def mean(self) -> Float[Array, " sender"]:
        """Mean change over prompts, in units of the metric."""
        return self.change.mean(1)

    def percent(self) -> Float[Array, " sender"]:
        """Ratio of means: mean change as percent of the mean base. -100: nothing is left.

        NaN for a mean base of zero; warns when the mean base cannot be told from zero.
        Source: the unit of the heat maps in Wang et al. 2023, Fig. 3 to 5.
        """
        self._warn()
        return uncertainty.ratio_of_means(self.change, self.base)

    def interval(self) -> Float[Array, "sender 2"]:
        """95 % bootstrap interval of each mean change, over templates. NaN if there is only one.

        For each sender by itself: of 100 senders that do nothing, about 5 intervals exclude zero.
        """
        return uncertainty.interval(self.change, self._draws(), self.templates)

    def percent_interval(self) -> Float[Array, "sender 2"]:
        """The same for `percent`; the mean base is drawn again together with the change."""
        self._warn()
        return 100 * uncertainty.interval(self.change, self._draws(), self.templates, self.base)

    def p_adjusted(self) -> Float[Array, " sender"]:
        """p value of each mean change, corrected for the number of senders (sign flips, max-T).

        The senders with p < 0.05 hold any that does nothing in at most 5 % of experiments.
        """
        return uncertainty.sign_flip_test(self.change, self._draws(), self.templates)

    def _draws(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def top(self, n: int) -> list[int]:
        """The rows of the n senders with the largest mean change, in size."""
        n = check_number("the number of rows", n, 0, whole=True)
        return np.argsort(-np.abs(self.mean()), kind="stable")[:n].tolist()

    def of_heads(self) -> bool:
        """Whether every row is one head, each another, so that they fill a grid."""
        single = all(len(nodes) == 1 and nodes[0].kind == "z" for nodes in self.senders)
        return single and len({(n.layer, n.head) for (n,) in self.senders}) == len(self.senders)

    def by_head(self, values: Float[Array, " sender"] | None = None) -> Float[Array, "layer head"]:
        """A grid of one value for each row, by default the mean change; NaN where no row is.
        Raises: PathPatchError when a row is not a single head, or a head has several rows."""
        values = self.mean() if values is None else values
        if not self.of_heads() or values.shape != (len(self.senders),):
            raise PathPatchError("a grid is of single heads, each in one row only, with values")
        layer, head = np.array([(node.layer, node.head) for (node,) in self.senders]).T
        grid = np.full((1 + layer.max(), 1 + head.max()), np.nan)  # [layer, head]
        grid[layer, head] = values
        return grid

    def table(self, n: int | None = None) -> pd.DataFrame:
        """All rows, or the n with the largest mean change, largest first. Changes are in units of
        the metric, low_95 to high_95 is the interval, p_adjusted is corrected for all rows."""
        rows = {
            "sender": self.names,
            "mean_change": self.mean(),
            "p_adjusted": self.p_adjusted(),
            **dict(zip(("low_95", "high_95"), self.interval().T, strict=True)),
            "percent_ratio_of_means": uncertainty.ratio_of_means(self.change, self.base),
            "percent_mean_of_ratios": uncertainty.mean_of_ratios(self.change, self.base),
            "mean_base": self.base.mean(),
            "prompts": len(self.base),
        }
        return pd.DataFrame(rows).iloc[range(len(self.senders)) if n is None else self.top(n)]

    def __repr__(self) -> str:
        return f"{self._caption()}\n{self._shown().to_string(**_FORM)}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self._caption())}</p>\n{self._shown().to_html(**_FORM)}"

    def _caption(self) -> str:
        rows, prompts = self.patched.shape
        change = f"change of {self.about.metric} from {self.base.mean():.3f}"
        caption = f"{rows} rows, the largest first ({prompts} prompts, {change}; seed {self.seed})"
        return "\n".join([caption, *(f"note: {caution}" for caution in self.cautions())])

    def _shown(self) -> pd.DataFrame:
        """The largest rows; of sets with many nodes only the first and the last node."""
        table = self.table(10).drop(columns=["percent_mean_of_ratios", "mean_base", "prompts"])
        for i in [i for i in table.index if len(self.senders[i]) > 2 and not self.receivers]:
            table.loc[i, "sender"] = f"{self.senders[i][0]} .. {self.senders[i][-1]}"
        return table

    def save(self, folder: str | Path) -> None:
        """Write effects.json (everything) and effects.csv (the `table`)."""
        data = asdict(self.about) | {"senders": self.names, "templates": self.templates}
        data |= {"seed": self.seed, "cautions": self.cautions()}
        data |= {"base": self.base.tolist(), "patched": self.patched.tolist()}
        rows = self.table().to_csv(index=False, na_rep="nan", lineterminator="\n")
        write_file(Path(folder) / "effects.json", json.dumps(data, indent=1).encode())
        write_file(Path(folder) / "effects.csv", rows.encode())

    @staticmethod
    def load(folder: str | Path) -> "Effects":
        """Read back what `save` wrote. Raises: PathPatchError where there is no such file."""
        data = read_object(Path(folder) / "effects.json", "effects", ["senders", "base", "patched"])
        rows = [name.split(" -> ") for name in data.pop("senders")]
        senders = [node_set(sender) for sender, *_ in rows]
        receivers = [Node.parse(receiver) for _, *ends in rows for receiver in ends]
        base, patched = (np.array(data.pop(key)) for key in ("base", "patched"))
        data.pop("cautions", None)  # they follow from the numbers
        templates, seed = data.pop("templates", []), data.pop("seed", 0)
        return Effects(senders, base, patched, About(**data), templates, receivers, seed)

    def cautions(self) -> list[str]:
        """What to know beside these numbers; often nothing (`uncertainty.cautions`)."""
        return uncertainty.cautions(self.base, self.templates)

    def _warn(self) -> None:
        if note := uncertainty.about_base(self.base, self.templates):
            warnings.warn(note, stacklevel=3)
