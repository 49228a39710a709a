"""Nine files of other implementations' numbers: `peers` says how each is asked of the library."""

import copy
import json

import peers
import pytest

from pathpatch import Node

TABLE = json.loads(peers.TABLE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", peers.FILES)
def test_the_numbers_agree(file: str):
    """All in one test: the numbers of a file take up to a minute. The audit compares them all."""
    fresh = peers.rows(file)
    assert max(row["apart"] for row in fresh) <= peers.EXACT, fresh
    # Every number of theirs was compared; sweeps twice, since two engines give them.
    data = peers.golden(file)
    held = sum(numbers({**one, "steps": None}) for one in peers.experiments(file))
    held += numbers(data.get("base", {}))
    held += numbers([data.get(f"{end}_probability") for end in ("clean", "corrupted")])
    again = (", literal", "circuits of edges, ")  # the same numbers of theirs, asked another way
    once = [row["numbers"] for row in fresh if not any(words in row["what"] for words in again)]
    assert sum(once) == held
    # The table in the book says this; but the digits of the differences are the machine's own.
    told = [row for row in TABLE if row["file"] == file]
    for row in fresh:
        (same,) = [one for one in told if (one["what"], one["why"]) == (row["what"], row["why"])]
        assert row["numbers"] == same["numbers"] or row["numbers"] < same["numbers"] > 1
    if peers.WHOLE:
        assert [row | {"apart": ""} for row in told] == [row | {"apart": ""} for row in fresh]
    assert all(float(row["apart"]) <= peers.EXACT for row in told)


def test_the_table_has_every_file_and_what_differs():
    assert list(dict.fromkeys(row["file"] for row in TABLE)) == peers.FILES
    assert {row["file"] for row in TABLE if row["why"]} == {"eap_ig", "rome"}


def numbers(value: object) -> int:
    """How many numbers a value of a golden file has; where there is no edge it has none."""
    if isinstance(value, list | dict):
        return sum(map(numbers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and not isinstance(value, bool)


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
    changed["experiments"][0]["F(C\\K)"][5] += 1e-9
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
