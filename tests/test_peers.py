"""The library gives the numbers in nine files of other implementations; `peers` says how each is asked."""

import copy
import json

import peers
import pytest

from pathpatch import Node

TABLE = json.loads(peers.TABLE.read_text(encoding="utf-8"))


@pytest.fixture(params=peers.FILES)
def file(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_inputs_are_those_of_the_other_project(file: str):
    peers.check_inputs(file)


def test_the_numbers_agree(file: str):
    for row in peers.rows(file):
        assert row["apart"] <= peers.EXACT, row


def test_the_table_in_the_book_is_what_a_fresh_run_gives(file: str):
    """But for the last digits of the differences, which are rounding and the machine's own."""
    fresh = [{**row, "apart": None} for row in peers.rows(file)]
    assert [{**row, "apart": None} for row in TABLE if row["file"] == file] == fresh
    assert all(float(row["apart"]) <= peers.EXACT for row in TABLE)


def numbers(value: object) -> int:
    """How many numbers a golden file's value has; where there is no edge it has none."""
    if isinstance(value, list | dict):
        return sum(numbers(one) for one in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_every_number_of_theirs_is_compared(file: str):
    """Sweeps twice, since two engines give them; the circuits of a knock-out are names."""
    data = peers.golden(file)
    held = sum(numbers({**one, "steps": None}) for one in data["experiments"])
    held += numbers(data.get("base", {}))
    held += numbers([data.get(f"{end}_probability") for end in ("clean", "corrupted")])
    found = [row for row in peers.rows(file) if not row["what"].endswith(", literal")]
    assert sum(row["numbers"] for row in found) == held


def test_what_differs_is_told(file: str):
    """Definitions of theirs differ in two files; no other row is said to differ that does not."""
    differ = {row["what"] for row in peers.rows(file) if row["why"]}
    assert bool(differ) == (file in ("eap_ig", "rome"))


def test_another_model_or_prompt_is_noticed(monkeypatch: pytest.MonkeyPatch):
    changed = copy.deepcopy(peers.golden("arena"))
    changed["models_sha256"]["llama"] = changed["models_sha256"]["gpt2"]
    monkeypatch.setattr(peers, "golden", lambda file: changed)
    with pytest.raises(AssertionError, match="tiny-llama is another model"):
        peers.check_inputs("arena")
    changed["models_sha256"]["llama"] = peers.fingerprint("llama")
    monkeypatch.setattr(
        peers,
        "prompts_of",
        lambda file: peers.ioi_prompts(peers.tiny_tokenizer(), 12, peers.Random(2)),
    )
    with pytest.raises(AssertionError, match="not the prompts of arena"):
        peers.check_inputs("arena")


def test_one_changed_number_is_noticed(monkeypatch: pytest.MonkeyPatch):
    changed = copy.deepcopy(peers.golden("arena_knockouts"))
    changed["experiments"][3]["F(C\\K)"][5] += 1e-9
    monkeypatch.setattr(peers, "golden", lambda file: changed)
    apart = [one.apart for one in peers.knockouts("arena_knockouts")]
    assert sum(one > peers.EXACT for one in apart) == 1


def test_the_definitions_that_differ_give_other_numbers():
    """Ours in the place of theirs would be seen: neither note in the table is idle."""
    for asked in peers.golden("eap_ig")["experiments"]:
        if "at the input" in asked["name"] or asked["name"] == "EAP-IG nodes: embed, heads":
            model = peers.model_of(asked["model"])
            prompts = peers.side("eap_ig", asked["direction"])
            ends, steps = asked["senders"], asked.get("steps", 0)
            ours = peers.node_attribution(model, prompts, ends, steps=steps)
            scores = (ours.patched - ours.base).mean(1)
            assert abs(scores - asked["scores"]).max() > 1e-3
    published = peers.golden("rome")["experiments"][3]["values"]
    model, prompts = peers.model_of("rome"), peers.rome_prompts()
    node = Node("resid_post", 5, at=2)
    trace = peers.causal_trace(
        model, prompts, [node], noise=peers.rome_noise(), severed=["mlp_out"]
    )
    assert abs(trace.restored.mean() - published[2][5]) > 1e-3


def test_a_comparison_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="0,"):
        _ = peers.Compared("nothing", [], []).apart
    with pytest.raises(ValueError, match="1,"):
        _ = peers.Compared("fewer", [1.0, 2.0], [1.0]).apart
    with pytest.raises(ValueError, match="not finite"):
        _ = peers.Compared("no number", [1.0], [float("nan")]).apart
