"""The table that a sweep returns: every sender's metric on every prompt. The only statistics."""

import csv
import io
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import stats

from pathpatch.errors import PathPatchError
from pathpatch.nodes import Node

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
    """A metric before (base) and after patching each sender, for every prompt."""

    senders: list[str]
    base: Float[Array, " batch"]
    patched: Float[Array, "sender batch"]
    about: About

    @property
    def change(self) -> Float[Array, "sender batch"]:
        """Patched minus base, in units of the metric. 0: the sender does not matter here."""
        return self.patched - self.base

    def mean(self) -> Float[Array, " sender"]:
        """Mean change over prompts, in units of the metric."""
        return self.change.mean(1)

    def percent(self) -> Float[Array, " sender"]:
        """Mean change as percent of the mean base (ratio of means). -100: nothing is left.

        Source: the unit of the heat maps in Wang et al. 2023, Fig. 3 to 5.
        """
        return 100 * self.mean() / self.base.mean()

    def interval(self, generator: np.random.Generator) -> Float[Array, "sender 2"]:
        """95 % bootstrap interval of each mean change, over prompts. NaN for a single prompt."""
        return interval(self.change, generator)

    def top(self, n: int) -> list[int]:
        """The rows of the n senders with the largest mean change, in size."""
        return np.argsort(-np.abs(self.mean()), kind="stable")[:n].tolist()

    def of_heads(self) -> bool:
        """Whether every sender is one head, so that the rows fill a grid of layers and heads."""
        return all("+" not in name and Node.parse(name).kind == "z" for name in self.senders)

    def save(self, folder: str | Path, generator: np.random.Generator) -> None:
        """Write effects.json (everything) and effects.csv (a summary row for each sender)."""
        intervals = self.interval(generator)
        rows = io.StringIO(newline="")
        writer = csv.writer(rows)
        writer.writerow(
            ["sender", "mean_change", "low_95", "high_95", "percent_of_base", "prompts"]
        )
        summary = zip(self.senders, self.mean(), intervals, self.percent(), strict=True)
        for sender, mean, (low, high), percent in summary:
            writer.writerow([sender, mean, low, high, percent, len(self.base)])
        data = {
            **asdict(self.about),
            "senders": self.senders,
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
        return Effects(senders, np.array(base), np.array(patched), About(**data))


def interval(
    values: Float[Array, "*rows batch"], generator: np.random.Generator
) -> Float[Array, "*rows 2"]:
    """95 % percentile bootstrap interval of the mean over prompts, 2,000 resamples."""
    if values.shape[-1] < 2:
        return np.full((*values.shape[:-1], 2), np.nan)
    found = stats.bootstrap(
        (values,),
        np.mean,
        axis=-1,
        n_resamples=2000,
        batch=200,
        method="percentile",
        rng=generator,
    )
    return np.stack(found.confidence_interval, -1)


def check_folder(folder: str | Path) -> Path:
    """Make an output folder and try to write in it, before any work is done.

    Raises: PathPatchError when it cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise PathPatchError(f"cannot write into the folder {folder}: {error}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
