"""The table of effects: units, intervals, files."""

import csv
import json

import numpy as np
import pytest
from scipy import stats

from pathpatch import Effects, Node, PathPatchError
from pathpatch.effects import About, check_folder, interval, write_file

ABOUT = About("tiny", "0" * 64, ["logits@END"], "END", "heads", "noising", "logit_diff", "fast")
EFFECTS = Effects(
    ["0.0.z@END", "0.1.z@END", "1.0.z@END"],
    np.array([2.0, 4.0]),
    np.array([[2.0, 4.0], [1.0, 1.0], [3.0, 6.0]]),
    ABOUT,
)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_change_mean_percent_and_top_by_hand():
    assert EFFECTS.change.tolist() == [[0, 0], [-1, -3], [1, 2]]
    assert EFFECTS.mean().tolist() == [0, -2, 1.5]
    assert EFFECTS.percent() == pytest.approx([0, -200 / 3, 50], abs=1e-12)
    assert EFFECTS.top(2) == [1, 2]


def test_intervals_cover_the_mean_and_repeat():
    values = np.random.default_rng(3).normal(1.0, 2.0, (2, 80))
    low, high = interval(values, generator()).T
    expected = 1.96 * values.std(1, ddof=1) / 80**0.5
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert ((low < values.mean(1)) & (values.mean(1) < high)).all()
    assert np.array_equal(interval(values, generator()), np.stack([low, high], 1))


def test_intervals_hold_the_truth_19_times_in_20():
    samples = np.random.default_rng(4).normal(0.0, 1.0, (400, 40))
    low, high = interval(samples, generator()).T
    held = int(((low < 0) & (high > 0)).sum())
    # A percentile bootstrap of 40 values is a little too narrow: about 94 %.
    assert stats.binomtest(held, 400, 0.94).pvalue > 0.001


def test_one_prompt_has_no_interval():
    assert np.isnan(interval(np.ones((3, 1)), generator())).all()


def test_save_and_load(tmp_path):
    EFFECTS.save(tmp_path, generator())
    data = json.loads((tmp_path / "effects.json").read_text())
    keys = "model senders receivers at frozen direction metric engine base patched".split()
    assert set(keys) <= set(data)
    assert data["patched"] == EFFECTS.patched.tolist()
    assert [str(Node.parse(name)) for name in data["senders"]] == data["senders"]
    again = Effects.load(tmp_path)
    assert again.about == ABOUT
    assert np.array_equal(again.patched, EFFECTS.patched)
    with (tmp_path / "effects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sender"] for row in rows] == EFFECTS.senders
    assert float(rows[1]["mean_change"]) == -2
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["effects.csv", "effects.json"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PathPatchError, match="cannot write into the folder"):
        check_folder(tmp_path / "file" / "below")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "result"
    write_file(target, b"old")
    with pytest.raises(TypeError):
        write_file(target, "not bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
