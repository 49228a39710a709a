"""Circuits: exact scores on machines whose wiring is known, and searches that must find them."""

from itertools import chain, combinations
from random import Random

import numpy as np
import pytest
from conftest import Tiny
from test_handmade import make

from pathpatch import (
    Ablation,
    Faithfulness,
    Gap,
    Knockout,
    PathPatchError,
    Search,
    baseline,
    choices,
    completeness,
    faithfulness,
    greedy_set,
    heads,
    ioi_prompts,
    minimal_sets,
    minimality,
    mlps,
    random_sets,
)
from pathpatch.circuits.ablation import CANDIDATES, POSITIONS, REFERENCES
from pathpatch.circuits.assessment import assess
from pathpatch.handmade.ioi_machine import NAMES, TEMPLATES
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.nodes import as_nodes
from pathpatch.tasks.ioi import TEMPLATES as TEMPLATES_OF_IOI

EXACT = 1e-10
CIRCUIT = ["0.0@S2", "1.0@END", "2.0@END", "2.1@END"]
WITH_BACKUP = [*CIRCUIT, "3.0@END"]
PROMPTS = ioi_prompts(tiny_tokenizer(), 12, Random(5), TEMPLATES_OF_IOI[:2])  # 3 of each group
MOVERS = ["2.0@END", "2.1@END"]


def same(found, expected) -> bool:
    return bool(np.abs(np.asarray(found) - np.asarray(expected)).max() < EXACT)


def knock(variant: str, reference: str = "resample", **more) -> Knockout:
    made = make(f"machine {variant}")
    rules = Ablation(reference, generator=np.random.default_rng(1), **more)
    every = 7 if reference in ("zero", "resample") else 1  # means need all prompts
    return Knockout(made.model, made.prompts["abc"][::every], rules)


def search(**more) -> Search:
    return Search(np.random.default_rng(0), **more)


@pytest.mark.sample(3)
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("variant", ["token", "keys", "position", "backup", "mlp"])
def test_the_whole_circuit_is_faithful(variant: str, reference: str):
    """On every prompt: the heads do nothing at other positions, and at rest they say nothing."""
    found = faithfulness(knock(variant, reference), CIRCUIT)
    assert same(found.model, 6) and same(found.circuit, 6)
    assert found.scores() == pytest.approx(
        {"gap": 0, "ratio_of_means": 1, "mean_of_ratios": 1, "above_nothing": 1}, abs=EXACT
    )


def test_each_head_left_out_by_hand():
    for reference in REFERENCES:
        knockout = knock("token", reference)
        slack = 0.2 if reference == "shuffle" else EXACT
        assert knockout.score([]).mean() == pytest.approx(0, abs=slack)
        for left_out, value in (("2.1@END", 4), ("2.0@END", 2), ("1.0@END", 0), ("0.0@S2", 0)):
            scores = knockout.score([node for node in CIRCUIT if node != left_out])
            # What a mover says in p_ABC favours IO in some prompts and S in as many others.
            assert scores.mean() == pytest.approx(value, abs=slack)
            if reference in ("zero", "resample"):
                assert same(scores, value), "names of a prompt's own p_ABC are neither IO nor S"
    found = faithfulness(knock("token"), CIRCUIT[:3])
    assert same(list(found.scores().values()), [2, 4 / 6, 4 / 6, 4 / 6])


def test_the_mean_of_a_mover_by_hand():
    """2.1 says the first two names of p_ABC with 1 each; the mean is over template and order."""
    said = dict.fromkeys(NAMES, 0.0)
    pairs = [(io, s) for io in NAMES for s in NAMES if io != s]
    for io, s in pairs:
        for name in [name for name in NAMES if name not in (io, s)][:2]:
            said[name] += 1 / len(pairs)
    made = make("machine token")
    expected = [
        4 + said[pair.answer.strip()] - said[pair.foil.strip()]
        for pair in made.prompts["abc"].pairs
    ]
    scores = knock("token", "mean").score(CIRCUIT[:3])
    assert same(scores, expected)
    assert scores.std() > 0.1 and len(pairs) * 2 * len(TEMPLATES) == len(scores)


def test_a_head_at_the_wrong_position():
    wrong = [*CIRCUIT[:3], "2.1@S2"]
    assert same(knock("token").score(wrong), 4)
    assert same(knock("token", positions="all").score(wrong), 6)
    assert same(knock("token").score(["0.0", "1.0", "2.0", "2.1"]), 6)


def test_a_negative_head_left_out_makes_more_than_the_whole():
    found = faithfulness(knock("negative"), CIRCUIT)
    assert same(found.model, 4) and same(found.circuit, 6) and same(found.nothing, 0)
    assert same(list(found.scores().values()), [2, 1.5, 1.5, 1.5])
    assert same(faithfulness(knock("negative"), [*CIRCUIT, "2.2@END"]).circuit, 4)


def test_an_mlp_in_the_path():
    """1.mlp_out relays to 2.1, worth 2. As a candidate it must be in the circuit."""
    assert same(knock("mlp").score(CIRCUIT), 6)
    both = knock("mlp", candidates="heads+mlps")
    assert same(both.score(CIRCUIT), 4)
    assert same(both.score([*CIRCUIT, "1.mlp_out@END"]), 6)
    assert same(both.score([*CIRCUIT, "1.mlp_out@S2"]), 4)


def test_scores_that_differ():
    found = Faithfulness(np.array([1.0, 3.0]), np.array([2.0, 0.0]), np.array([-1.0, -1.0]))
    assert list(found.scores()) == ["gap", "ratio_of_means", "mean_of_ratios", "above_nothing"]
    # means 2, 1, -1: gap 1; 1 / 2; (2 / 1 + 0 / 3) / 2; (1 + 1) / (2 + 1)
    assert same(list(found.scores().values()), [1, 0.5, 1, 2 / 3])
    zero = Faithfulness(np.array([0.0, 0.0]), np.array([2.0, 0.0]), np.array([0.0, 0.0]))
    assert zero.scores()["gap"] == 1
    assert np.isnan(list(zero.scores().values())[1:]).all()


@pytest.mark.parametrize("reference", ["zero", "resample"])
def test_completeness_of_a_circuit_with_and_without_its_backup(reference: str):
    """Without the movers 3.0 says IO with 4. Both circuits are faithful; one is complete."""
    knockout = knock("backup", reference)
    sets = {"movers": MOVERS, "2.0": MOVERS[:1], "inhibition": ["1.0@END"], "none": []}
    for circuit, left in ((CIRCUIT, 0), (WITH_BACKUP, 4)):
        found = completeness(knockout, circuit, sets)
        assert list(found) == list(sets)
        movers = found["movers"]
        assert same(movers.one, left) and same(movers.other, 4)
        assert movers.size == pytest.approx(4 - left, abs=EXACT)
        assert movers.removed == as_nodes(MOVERS)
        assert [found[name].size for name in ("2.0", "inhibition", "none")] == [0, 0, 0]
        assert same(found["2.0"].one, 2) and same(found["none"].one, 6)


@pytest.mark.sample(3)
@pytest.mark.parametrize("reference", ["zero", "resample", "mean"])
def test_the_greedy_search_finds_what_the_backup_hides(reference: str):
    knockout = knock("backup", reference)
    found = greedy_set(knockout, CIRCUIT, search())
    subsets = chain.from_iterable(combinations(CIRCUIT, n) for n in range(5))
    gaps = completeness(knockout, CIRCUIT, {"+".join(k): k for k in subsets})
    worst = max(gaps.values(), key=lambda gap: gap.size)
    assert found == worst.removed == as_nodes(MOVERS)
    assert worst.size > 2


def test_a_complete_circuit_has_no_bad_set():
    knockout = knock("backup")
    k = greedy_set(knockout, WITH_BACKUP, search())
    assert completeness(knockout, WITH_BACKUP, {"": k})[""].size == 0


def test_random_sets():
    sets = random_sets(CIRCUIT, 400, np.random.default_rng(0))
    assert list(sets)[:2] == ["random 1", "random 2"]
    assert {len(nodes) for nodes in sets.values()} == {0, 1, 2, 3, 4}
    counts = [sum(node in nodes for nodes in sets.values()) for node in as_nodes(CIRCUIT)]
    assert all(150 < count < 250 for count in counts)
    assert sets == random_sets(CIRCUIT, 400, np.random.default_rng(0))
    gaps = completeness(knock("backup"), CIRCUIT, sets)
    for gap in gaps.values():
        missing_movers = set(as_nodes(MOVERS)) <= set(gap.removed)
        alone = missing_movers and len(gap.removed) == 2
        assert gap.size == pytest.approx(4 if alone else 0, abs=EXACT)


def test_minimality_by_hand():
    found = minimality(knock("token"), CIRCUIT)
    assert [str(node) for node in found] == [str(node) for node in as_nodes(CIRCUIT)]
    assert [gap.size for gap in found.values()] == pytest.approx([6, 6, 4, 2], abs=EXACT)
    useless = minimality(knock("token"), [*CIRCUIT, "1.0@S1"])
    assert list(useless.values())[-1].size == 0


def test_minimality_needs_a_set_for_a_backup():
    """3.0 changes nothing until both movers are gone; then it is worth 4."""
    knockout = knock("backup")
    *_, backup = as_nodes(WITH_BACKUP)
    alone = minimality(knockout, WITH_BACKUP)
    assert alone[backup].size == 0
    sets = minimal_sets(knockout, WITH_BACKUP, search())
    assert sets[backup] == as_nodes(MOVERS)
    found = minimality(knockout, WITH_BACKUP, sets)
    assert same(found[backup].one, 4) and same(found[backup].other, 0)
    # 2.0 is worth 4 beside 2.1 (6 to 2). 2.1 is worth 2 (6 to 4), or -2 alone with 3.0 (2 to 4).
    assert [gap.size for gap in found.values()] == pytest.approx([6, 6, 4, 2, 4], abs=EXACT)
    given = minimality(knockout, WITH_BACKUP, {"2.1@END": ["2.0@END"]})
    gap = given[as_nodes(MOVERS)[1]]
    assert same(gap.one, 2) and same(gap.other, 4), "leaving it out *raises* F"


def test_sets_stay_within_a_class():
    knockout = knock("backup")
    classes = {"movers": [*MOVERS, "3.0@END"], "others": CIRCUIT[:2]}
    sets = minimal_sets(knockout, WITH_BACKUP, search(), classes)
    for node, k in sets.items():
        names = next(names for names in classes.values() if node in as_nodes(names))
        assert set(k) <= set(as_nodes(names)) - {node}
    only = minimal_sets(knockout, WITH_BACKUP, search(), {"a": MOVERS})
    assert only[as_nodes(["3.0@END"])[0]] == []


def test_the_search():
    """Values by hand: 1 for a, 2 for b, 10 for a and c together, 0 for the rest."""
    a, b, c = nodes = as_nodes(["0.0", "0.1", "0.2"])
    tried = []

    def value(k):
        tried.append(k)
        return {(a,): 1, (b,): 2, (a, c): 10}.get(tuple(sorted(k, key=str)), 0)

    # Looking at all: b, then nothing better. It is greedy, and misses a and c.
    ticks = []
    assert search(runs=2).best(value, nodes, ticks.append) == [b]
    assert sum(ticks) == search(runs=2).size(3) == 2 * (3 + 2 + 1)
    # Looking at one node a step is a random walk, which comes by a and c in some run.
    assert search(runs=30, nodes_per_step=1).best(value, nodes) == [a, c]
    assert search(runs=30, nodes_per_step=1, steps=1).best(value, nodes) == [b]
    assert search().best(value, []) == []
    assert search(nodes_per_step=2).size(26) == 10 * 10 * 2
    again = [search(runs=3, nodes_per_step=1).best(value, nodes) for _ in range(2)]
    assert again[0] == again[1]


def test_the_table_of_choices():
    made = make("machine mlp")
    rules = Ablation(generator=np.random.default_rng(0))
    rows = choices(made.model, made.prompts["abc"], [*CIRCUIT[:3], "2.1@S2"], rules)
    assert len(rows) == len(REFERENCES) * len(CANDIDATES) * len(POSITIONS) == 16
    assert len({(row["reference"], row["candidates"], row["positions"]) for row in rows}) == 16
    for row in rows:
        # 2.1 is kept at S2 only, which is worth nothing, or everywhere; it reads an MLP.
        value = 6 if (row["positions"], row["candidates"]) == ("all", "heads") else 4
        slack = 0.2 if row["reference"] == "shuffle" else EXACT
        assert row["model"] == pytest.approx(6, abs=EXACT)
        assert row["circuit"] == pytest.approx(value, abs=slack)
        assert row["nothing"] == pytest.approx(0, abs=slack)
        assert row["gap"] == pytest.approx(6 - value, abs=slack)
        assert row["ratio_of_means"] == pytest.approx(value / 6, abs=slack)
    rows = choices(made.model, made.prompts["abc"][::7], [*CIRCUIT, "1.mlp_out@END"], rules)
    assert {round(row["circuit"], 9) for row in rows} == {6}


def test_the_table_equals_single_scores(tiny: Tiny):
    circuit = ["0.1@S2", "1.2@END", "2.0@END", "1.mlp_out@S2"]
    rules, shuffled = Ablation(generator=np.random.default_rng(0)), {}
    for row in choices(tiny.model, PROMPTS, circuit, rules):
        if row["reference"] == "shuffle":
            shuffled.setdefault(row["candidates"], set()).add(row["nothing"])
            continue
        rule = Ablation(row["reference"], row["positions"], row["candidates"])
        nodes = circuit if row["candidates"] == "heads+mlps" else circuit[:3]
        found = faithfulness(Knockout(tiny.model, PROMPTS, rule), nodes)
        assert row["circuit"] == pytest.approx(found.circuit.mean(), abs=EXACT)
        assert {key: row[key] for key in found.scores()} == found.scores()
    assert [len(values) for values in shuffled.values()] == [1, 1], "shuffled once, for all rows"
    with pytest.raises(PathPatchError, match="give Ablation a generator"):
        choices(tiny.model, tiny.prompts, circuit, Ablation())
    with pytest.raises(PathPatchError, match=r"0\.1\.q@S2 cannot be kept"):
        choices(tiny.model, tiny.prompts, ["0.1.q@S2"], rules)


def test_everything_is_a_faithful_complete_circuit(tiny: Tiny):
    rules = Ablation("zero", candidates="heads+mlps")
    knockout = Knockout(tiny.model, tiny.prompts, rules)
    everything = heads(tiny.model) + mlps(tiny.model)
    found = faithfulness(knockout, everything)
    assert same(found.model, baseline(tiny.model, tiny.prompts)["logit_diff"])
    assert same(found.circuit, found.model) and not same(found.nothing, found.model)
    sets = random_sets(everything, 3, np.random.default_rng(0))
    gaps = completeness(knockout, everything, sets)
    assert all(same(gap.one, gap.other) for gap in gaps.values())
    assert not same(gaps["random 1"].one, found.model)


def test_a_gap_keeps_every_prompt_and_compares_means():
    gap = Gap([], np.array([1.0, 5.0]), np.array([4.0, 4.0]))
    assert gap.size == 1
    assert gap.percent(np.array([-3.0, -5.0])) == 25
    assert np.isnan(gap.percent(np.array([1.0, -1.0])))


def test_refuses_sets_outside_the_circuit():
    knockout = knock("token")
    with pytest.raises(PathPatchError, match=r"2\.1\.z@S2: not among 0\.0\.z@S2, 1\.0"):
        completeness(knockout, CIRCUIT, {"a": ["2.0@END", "2.1@S2"]})
    v = as_nodes(CIRCUIT)[0]
    with pytest.raises(PathPatchError, match=r"0\.0\.z@S2: not among 1\.0\.z@END"):
        minimality(knockout, CIRCUIT, {v: [v]})
    with pytest.raises(PathPatchError, match=r"2\.1\.z: not among"):
        minimality(knockout, CIRCUIT, {"2.1": ["2.0@END"]})
    with pytest.raises(PathPatchError, match="not among"):
        minimal_sets(knockout, CIRCUIT, search(), {"a": ["2.0"]})


def test_long_searches_say_their_cost_first(monkeypatch, capsys):
    knockout = knock("token")
    monkeypatch.setattr("pathpatch.engine.cost.seconds_each", lambda *_: 1.0)
    greedy_set(knockout, CIRCUIT, search(runs=2, steps=2))
    minimal_sets(knockout, CIRCUIT, search(runs=1, steps=1))
    rules = Ablation(generator=np.random.default_rng(0))
    choices(knockout.model, knockout.prompts[:2], CIRCUIT, rules)
    said = [line.split(",")[0] for line in capsys.readouterr().err.splitlines() if "passes" in line]
    assert said == ["greedy set", "minimality", "table of choices: 64 forward passes of 2 prompts"]


def test_an_assessment_is_every_test_of_a_circuit():
    """The circuit without its notice of the repeated name: every part shows what is missing."""
    knockout, partial = knock("token", "mean"), CIRCUIT[1:]
    some = Knockout(knockout.model, knockout.prompts[::32], knockout.rules)
    found = assess(some, partial, search(runs=2, steps=2), 3)
    assert found.circuit == as_nodes(partial)
    assert found.faithfulness.scores() == faithfulness(some, partial).scores()
    assert list(found.completeness) == ["greedy", "random 1", "random 2", "random 3"]
    assert list(found.minimality) == found.circuit
    for gap in found.completeness.values():
        assert same(gap.one, some.score(partial, gap.removed))
        assert same(gap.other, some.score(None, gap.removed))
    for node, gap in found.minimality.items():
        assert same(gap.other, some.score(partial, [*gap.removed, node]))
    assert len(found.choices) == len(REFERENCES) * len(POSITIONS) * len(CANDIDATES)
    means = [row["circuit"] for row in found.choices if row["reference"] == "mean"]
    assert any(same(mean, found.faithfulness.circuit.mean()) for mean in means)
