"""The table that a sweep returns: every sender's metric on every prompt, summed up and saved."""

import csv
import io
import json
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from pathpatch.errors import PathPatchError
from pathpatch.files import write_file
from pathpatch.nodes import node_set
from pathpatch.uncertainty import about_base, cautions, interval, ratio_of_means, sign_flip_test

Array = np.ndarray


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


@dataclass(frozen=True)
class Effects:
    """A metric before (base) and after patching each sender, for every prompt.

    templates: one name for each prompt, or none. Prompts that share one are a cluster: intervals
    and tests draw or flip them together (`uncertainty`).
    """

    senders: list[str]
    base: Float[Array, " batch"]
    patched: Float[Array, "sender batch"]
    about: About
    templates: list[str] = field(default_factory=list)

    @property
    def change(self) -> Float[Array, "sender batch"]:
        """Patched minus base, in units of the metric. 0: the sender does not matter here."""
        return self.patched - self.base

    def mean(self) -> Float[Array, " sender"]:
        """Mean change over prompts, in units of the metric."""
        return self.change.mean(1)

    def percent(self) -> Float[Array, " sender"]:
        """Ratio of means: mean change as percent of the mean base. -100: nothing is left.

        NaN for a mean base of zero. Warns when the mean base cannot be told from zero.
        Source: the unit of the heat maps in Wang et al. 2023, Fig. 3 to 5.
        """
        self._warn()
        return ratio_of_means(self.change, self.base)

    def mean_of_percents(self) -> Float[Array, " sender"]:
        """Mean of ratios: each prompt's change as percent of its own base, then the mean.

        Every prompt counts alike, so one whose base is near zero can outweigh all others: use
        `percent` unless every base is far from zero. NaN where a base is zero. Warns when some
        bases are above zero and others below.
        """
        if self.base.min() < 0 < self.base.max():
            text = "some prompts have a base above zero and others one below: percent of each say"
            warnings.warn(f"{text} little, use percent()", stacklevel=2)
        return self._mean_of_ratios()

    def _mean_of_ratios(self) -> Float[Array, " sender"]:
        return (100 * self.change / np.where(self.base == 0, np.nan, self.base)).mean(1)

    def interval(self, generator: np.random.Generator) -> Float[Array, "sender 2"]:
        """95 % bootstrap interval of each mean change, over templates. NaN if there is only one.

        For each sender by itself: of 100 senders that do nothing, about 5 intervals exclude zero.
        """
        return interval(self.change, generator, self.templates)

    def percent_interval(self, generator: np.random.Generator) -> Float[Array, "sender 2"]:
        """The same for `percent`; the mean base is drawn again together with the change."""
        self._warn()
        return 100 * interval(self.change, generator, self.templates, self.base)

    def p_adjusted(self, generator: np.random.Generator) -> Float[Array, " sender"]:
        """p value of each mean change, corrected for the number of senders (sign flips, max-T).

        The senders with p < 0.05 hold any that does nothing in at most 5 % of experiments.
        """
        return sign_flip_test(self.change, generator, self.templates)

    def top(self, n: int) -> list[int]:
        """The rows of the n senders with the largest mean change, in size."""
        return np.argsort(-np.abs(self.mean()), kind="stable")[:n].tolist()

    def of_heads(self) -> bool:
        """Whether every sender is one head, so that the rows fill a grid of layers and heads."""
        sets = map(node_set, self.senders)
        return all(len(nodes) == 1 and nodes[0].kind == "z" for nodes in sets)

    def save(self, folder: str | Path, generator: np.random.Generator) -> None:
        """Write effects.json (everything) and effects.csv (a summary row for each sender)."""
        columns = {
            "sender": self.senders,
            "mean_change": self.mean(),
            "p_adjusted": self.p_adjusted(generator),
            **dict(zip(("low_95", "high_95"), self.interval(generator).T, strict=True)),
            "percent_ratio_of_means": ratio_of_means(self.change, self.base),
            "percent_mean_of_ratios": self._mean_of_ratios(),
            "mean_base": [self.base.mean()] * len(self.senders),
            "prompts": [len(self.base)] * len(self.senders),
        }
        rows = io.StringIO(newline="")
        writer = csv.writer(rows)
        writer.writerows([columns, *zip(*columns.values(), strict=True)])
        data = {
            **asdict(self.about),
            "senders": self.senders,
            "templates": self.templates,
            "cautions": self.cautions(),
            "base": self.base.tolist(),
            "patched": self.patched.tolist(),
        }
        write_file(Path(folder) / "effects.json", json.dumps(data, indent=1).encode())
        write_file(Path(folder) / "effects.csv", rows.getvalue().encode())

    @staticmethod
    def load(folder: str | Path) -> "Effects":
        """Read back what `save` wrote."""
        data = json.loads((Path(folder) / "effects.json").read_text(encoding="utf-8"))
        senders, base, patched = (data.pop(key) for key in ("senders", "base", "patched"))
        templates = data.pop("templates", [])
        data.pop("cautions", None)
        return Effects(senders, np.array(base), np.array(patched), About(**data), templates)

    def cautions(self) -> list[str]:
        """What to know beside these numbers: copies among the prompts, too few, a base near zero.

        Printed and saved with every table; often there is none.
        """
        return cautions(self.base, self.templates)

    def _warn(self) -> None:
        if note := about_base(self.base, self.templates):
            warnings.warn(note, stacklevel=3)


def strongest(effects: Effects, n: int) -> list[str]:
    """At most n heads ("9.6"): lowest mean change first, below zero with corrected p < 0.05.

    Raises: PathPatchError when there is none.
    """
    mean, p = effects.mean(), effects.p_adjusted(np.random.default_rng(0))
    order = [i for i in np.argsort(mean, kind="stable") if mean[i] < 0 and p[i] < 0.05][:n]
    if not order:
        raise PathPatchError(
            "no head lowers the metric with a corrected p below 0.05; "
            "try more prompts, or more templates (fewer than six can never show it)"
            + "".join(f"; {caution}" for caution in effects.cautions())
        )
    return [effects.senders[i].split(".z")[0] for i in order]
