"""The table of effects: units, intervals, files."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from pathpatch import Effects, Node, PathPatchError
from pathpatch.effects import About
from pathpatch.files import check_folder, write_file

# With two prompts, the interval of the mean base holds zero.
pytestmark = pytest.mark.filterwarnings("ignore:the mean base", "ignore:some prompts have a base")

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


@pytest.mark.parametrize(
    ("name", "one_head"),
    [
        ("0.1.z@S1+1", True),
        ("0.1.z@END+0.2.z@END", False),
        ("0.1.q@END", False),
        ("0.mlp_out@END", False),
    ],
)
def test_whether_every_sender_is_one_head(name: str, one_head: bool):
    assert replace(EFFECTS, senders=["0.0.z@END", "1.0.z@END", name]).of_heads() == one_head


def test_two_kinds_of_percent_by_hand():
    assert EFFECTS.mean_of_percents() == pytest.approx([0, (-50 - 75) / 2, 50], abs=1e-12)
    low, high = EFFECTS.percent_interval(generator()).T
    assert (low[0], high[0]) == (0, 0)
    assert (low[1], high[1]) == pytest.approx((-75, -50))  # each prompt drawn twice
    assert (low[2], high[2]) == pytest.approx((50, 50))  # half of the base on both
    zero = replace(EFFECTS, base=np.array([-1.0, 1.0]))
    assert np.isnan(zero.percent()).all()
    assert np.isfinite(zero.mean_of_percents()).all()
    assert np.isnan(replace(EFFECTS, base=np.array([0.0, 1.0])).mean_of_percents()).all()


def test_templates_are_drawn_and_flipped_together():
    change = np.random.default_rng(1).normal(1, 1, (3, 20)).repeat(2, 1)  # two prompts, one value
    names = [f"{i // 2}" for i in range(40)]
    alone = Effects(EFFECTS.senders, np.ones(40), change + 1, ABOUT)
    together = replace(alone, templates=names)
    once = replace(alone, base=np.ones(20), patched=change[:, ::2] + 1)
    assert together.interval(generator()) == pytest.approx(once.interval(generator()))
    assert together.p_adjusted(generator()).tolist() == once.p_adjusted(generator()).tolist()
    width = np.diff(together.interval(generator())) / np.diff(alone.interval(generator()))
    assert width == pytest.approx(np.full((3, 1), 2**0.5), rel=0.1)


def test_save_and_load(tmp_path):
    effects = replace(EFFECTS, templates=["1", "2"])
    effects.save(tmp_path, generator())
    data = json.loads((tmp_path / "effects.json").read_text())
    keys = (
        "model senders receivers at frozen direction metric engine templates base patched".split()
    )
    assert set(keys) <= set(data)
    assert data["patched"] == EFFECTS.patched.tolist()
    assert [str(Node.parse(name)) for name in data["senders"]] == data["senders"]
    again = Effects.load(tmp_path)
    assert (again.about, again.templates) == (ABOUT, ["1", "2"])
    assert np.array_equal(again.patched, EFFECTS.patched)
    with (tmp_path / "effects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sender"] for row in rows] == EFFECTS.senders
    assert float(rows[1]["mean_change"]) == -2
    assert float(rows[1]["percent_ratio_of_means"]) == pytest.approx(-200 / 3)
    assert float(rows[1]["percent_mean_of_ratios"]) == pytest.approx(-62.5)
    assert float(rows[0]["p_adjusted"]) == 1 > float(rows[1]["p_adjusted"]) > 0
    assert float(rows[0]["low_95"]) == float(rows[0]["high_95"]) == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["effects.csv", "effects.json"]


def test_a_file_without_templates_can_still_be_read(tmp_path):
    EFFECTS.save(tmp_path, generator())
    path = tmp_path / "effects.json"
    data = json.loads(path.read_text())
    del data["templates"]
    path.write_text(json.dumps(data))
    assert Effects.load(tmp_path).templates == []


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
