"""The table of effects: units, intervals, files."""

import csv
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from pathpatch import Effects, Node, PathPatchError
from pathpatch.effects import About
from pathpatch.engine.store import check_folder
from pathpatch.files import write_file
from pathpatch.nodes import node_set

# With two prompts, the interval of the mean base holds zero.
pytestmark = pytest.mark.filterwarnings("ignore:the mean base", "ignore:some prompts have a base")

ABOUT = About("tiny", "0" * 64, ["logits@END"], "END", "heads", "noising", "logit_diff", "fast")
NAMES = ["0.0.z@END", "0.1.z@END", "1.0.z@END"]
EFFECTS = Effects(
    [[Node.parse(name)] for name in NAMES],
    np.array([2.0, 4.0]),
    np.array([[2.0, 4.0], [1.0, 1.0], [3.0, 6.0]]),
    ABOUT,
)


def test_change_mean_percent_and_top_by_hand():
    assert EFFECTS.change.tolist() == [[0, 0], [-1, -3], [1, 2]]
    assert EFFECTS.mean().tolist() == [0, -2, 1.5]
    assert EFFECTS.percent() == pytest.approx([0, -200 / 3, 50], abs=1e-12)
    assert EFFECTS.top(2) == [1, 2]


@pytest.mark.parametrize(
    ("name", "one_head"),
    [
        ("0.1.z@S1+1", True),
        ("0.0.z@S1+1", False),  # the head has a row already
        ("0.1.z@END+0.2.z@END", False),
        ("0.1.q@END", False),
        ("0.mlp_out@END", False),
    ],
)
def test_whether_every_sender_is_one_head(name: str, one_head: bool):
    senders = [*EFFECTS.senders[::2], node_set(name)]
    assert replace(EFFECTS, senders=senders).of_heads() == one_head


def test_two_kinds_of_percent_by_hand():
    assert EFFECTS.table()["percent_mean_of_ratios"].tolist() == pytest.approx(
        [0, (-50 - 75) / 2, 50], abs=1e-12
    )
    low, high = EFFECTS.percent_interval().T
    assert (low[0], high[0]) == (0, 0)
    assert (low[1], high[1]) == pytest.approx((-75, -50))  # each prompt drawn twice
    assert (low[2], high[2]) == pytest.approx((50, 50))  # half of the base on both
    zero = replace(EFFECTS, base=np.array([-1.0, 1.0]))
    with pytest.warns(UserWarning, match="cannot be told from zero"):
        assert np.isnan(zero.percent()).all()
    assert np.isfinite(zero.table()["percent_mean_of_ratios"]).all()
    one = replace(EFFECTS, base=np.array([0.0, 1.0]))
    assert np.isnan(one.table()["percent_mean_of_ratios"]).all()


def test_templates_are_drawn_and_flipped_together():
    change = np.random.default_rng(1).normal(1, 1, (3, 20)).repeat(2, 1)  # two prompts, one value
    names = [f"{i // 2}" for i in range(40)]
    alone = Effects(EFFECTS.senders, np.ones(40), change + 1, ABOUT)
    together = replace(alone, templates=names)
    once = replace(alone, base=np.ones(20), patched=change[:, ::2] + 1)
    assert together.interval() == pytest.approx(once.interval())
    assert together.p_adjusted().tolist() == once.p_adjusted().tolist()
    width = np.diff(together.interval()) / np.diff(alone.interval())
    assert width == pytest.approx(np.full((3, 1), 2**0.5), rel=0.1)


def test_save_and_load(tmp_path):
    effects = replace(EFFECTS, templates=["1", "2"])
    effects.save(tmp_path)
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
    assert [row["sender"] for row in rows] == NAMES
    assert float(rows[1]["mean_change"]) == -2
    assert float(rows[1]["percent_ratio_of_means"]) == pytest.approx(-200 / 3)
    assert float(rows[1]["percent_mean_of_ratios"]) == pytest.approx(-62.5)
    assert float(rows[0]["p_adjusted"]) == 1 > float(rows[1]["p_adjusted"]) > 0
    assert float(rows[0]["low_95"]) == float(rows[0]["high_95"]) == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["effects.csv", "effects.json"]


def test_a_file_without_templates_can_still_be_read(tmp_path):
    EFFECTS.save(tmp_path)
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


def edges() -> Effects:
    """The same rows, each to a receiver of its own."""
    receivers = [Node.parse(name) for name in ("1.0.k@END", "logits@END", "logits@END")]
    return replace(EFFECTS, receivers=receivers)


def test_rows_are_nodes_and_names_are_what_is_printed():
    assert EFFECTS.names == NAMES
    assert EFFECTS.senders[1] == [Node("z", 0, 1, at="END")]
    joined = replace(EFFECTS, senders=[*EFFECTS.senders[:2], node_set("0.1@S1+1+embed@S2")])
    assert joined.names[2] == "0.1.z@S1+1+embed@S2"
    assert edges().names[:2] == ["0.0.z@END -> 1.0.k@END", "0.1.z@END -> logits@END"]


@pytest.mark.parametrize("effects", [EFFECTS, edges()], ids=["senders", "edges"])
def test_nodes_and_seed_are_read_back(tmp_path, effects: Effects):
    replace(effects, seed=5).save(tmp_path)
    again = Effects.load(tmp_path)
    assert (again.senders, again.names, again.seed) == (effects.senders, effects.names, 5)
    assert list(again.receivers) == list(effects.receivers)
    assert again.table().equals(replace(effects, seed=5).table())


def test_by_head_is_a_grid_with_gaps():
    grid = EFFECTS.by_head()
    assert grid.shape == (2, 2)
    assert [grid[0, 0], grid[0, 1], grid[1, 0]] == EFFECTS.mean().tolist()
    assert np.isnan(grid[1, 1])
    assert EFFECTS.by_head(np.array([7.0, 8.0, 9.0]))[1, 0] == 9


@pytest.mark.parametrize("name", ["0.mlp_out@END", "0.1.z@END+1.1.z@END", "0.1.z@S2"])
def test_by_head_refuses_what_is_no_grid(name: str):
    odd = replace(EFFECTS, senders=[*EFFECTS.senders[:2], node_set(name)])
    with pytest.raises(PathPatchError, match="single heads, each in one row only"):
        odd.by_head()


def test_a_table_that_does_not_fit_together_is_refused():
    words = r"2 senders on 2 prompts came with patched values of shape \(3, 2\) and 0 receivers"
    with pytest.raises(PathPatchError, match=words):
        replace(EFFECTS, senders=EFFECTS.senders[:2])
    with pytest.raises(PathPatchError, match=r"3 senders .* and 1 receivers"):
        replace(EFFECTS, receivers=[Node.parse("logits@END")])


NOISY = Effects(
    [[Node("z", i, 0, at="END")] for i in range(12)],
    np.ones(9),
    1 + np.random.default_rng(0).normal(np.arange(12)[:, None] / 12, 1.0, (12, 9)),
    ABOUT,
)


def test_a_table_its_repr_and_its_file_say_the_same(tmp_path):
    """Whatever shows p and the interval draws from the seed that the table carries."""
    effects = replace(NOISY, seed=3)
    table = effects.table()
    assert table["sender"].tolist() == effects.names
    assert table["p_adjusted"].tolist() == effects.p_adjusted().tolist()
    assert table[["low_95", "high_95"]].to_numpy() == pytest.approx(effects.interval(), nan_ok=True)
    assert effects.table(4).index.tolist() == effects.top(4)
    shown, html = repr(effects), effects._repr_html_()
    assert shown.splitlines()[0] == (
        "12 rows, the largest first (9 prompts, change of logit_diff from 1.000; seed 3)"
    )
    assert len(shown.splitlines()) == 12, "caption, head of the table, ten rows"
    for row in effects.table(10).itertuples():
        numbers = [row.mean_change, row.p_adjusted, row.low_95, row.high_95]
        assert " ".join(f"{x:.4f}" for x in numbers) in " ".join(shown.split())
        assert f"<td>{row.sender}</td>" in html and f"<td>{row.p_adjusted:.4f}</td>" in html
    effects.save(tmp_path)
    rows = list(csv.DictReader((tmp_path / "effects.csv").read_text().splitlines()))
    assert [float(row["p_adjusted"]) for row in rows] == table["p_adjusted"].tolist()
    other = replace(NOISY, seed=4)
    assert other.table()["low_95"].tolist() != table["low_95"].tolist()
    assert "seed 4" in repr(other)


def test_the_repr_shortens_large_sets():
    window = node_set("+".join(f"{i}.mlp_out@S2" for i in range(9)))
    shown = repr(replace(EFFECTS, senders=[*EFFECTS.senders[:2], window]))
    assert "0.mlp_out@S2 .. 8.mlp_out@S2" in shown and "4.mlp_out" not in shown


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["base", "patched"])
def test_effects_hold_finite_numbers_only(where: str, bad: float):
    values = getattr(EFFECTS, where).copy()
    values.flat[-1] = bad
    with pytest.raises(PathPatchError, match="all must be finite numbers"):
        replace(EFFECTS, **{where: values})


def test_empty_effects_are_refused():
    rows, columns = EFFECTS.patched.shape
    for empty in (
        {"senders": [], "patched": np.zeros((0, columns))},
        {"base": np.zeros(0), "patched": np.zeros((rows, 0)), "templates": []},
    ):
        with pytest.raises(PathPatchError, match="effects need one value at least"):
            replace(EFFECTS, **empty)


@pytest.mark.parametrize("base", [[1, -1, 1e-9, 0], [0, 0, 0, 0], [1e-300] * 4, [1e-320, 0, 0, 0]])
def test_a_base_near_zero_brings_one_warning_and_it_is_ours(base):
    """Warnings are errors here: those of numpy would end the test."""
    effects = Effects(EFFECTS.senders[:1], np.array(base, float), np.array([[2.0, 0, 1, 1]]), ABOUT)
    for of in (effects.percent, effects.percent_interval):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the mean base .* cannot be told from zero")
            of()
    effects.table()
