"""Which prompts are independent, what a metric may return, and what percent and p can say."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Tiny
from scipy import stats

from pathpatch import (
    LOGITS,
    Ablation,
    Effects,
    Knockout,
    Node,
    Pair,
    PathPatchError,
    Prompts,
    SweepOptions,
    activation_sweep,
    causal_trace,
    discover,
    edge_attribution,
    five_treatments,
    heads,
    logit_diff,
    make_prompts,
    node_attribution,
    path_sweep,
    run,
    strongest,
)
from pathpatch.circuits.discovery import Rule
from pathpatch.cli.commands import main
from pathpatch.cli.report import report
from pathpatch.effects import About
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.pictures.plots import heat_map
from pathpatch.uncertainty import (
    HELD,
    about_base,
    about_interval,
    cautions,
    clusters,
    least_p,
    sign_flip_test,
)

ABOUT = About("tiny", "", ["logits@END"], "END", "heads", "noising", "logit_diff", "fast")
TEXT = "Then, {} and {} went to the store. {} gave a drink to"


def pair(a: str, b: str, c: str, corrupt: str = "Paul", **more: str) -> Pair:
    return Pair(TEXT.format(a, b, c), TEXT.format(a, b, corrupt), f" {a}", f" {b}", **more)


def ask(*pairs: Pair) -> Prompts:
    return make_prompts(tiny_tokenizer(), pairs)


def without_templates(prompts: Prompts) -> Prompts:
    pairs = [replace(pair, group="", template="") for pair in prompts.pairs]
    return make_prompts(tiny_tokenizer(), pairs)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def times(prompts: Prompts, n: int) -> Prompts:
    return make_prompts(tiny_tokenizer(), prompts.pairs * n)


# ------------------------------------------------------------------------------------ clusters


def test_copies_are_one_cluster():
    one, other = pair("Mary", "John", "John"), pair("Luke", "John", "John")
    assert clusters(ask(one, other)) == ["", ""]
    assert clusters(ask(one, other, one)) == ["as prompt 0", "", "as prompt 0"]
    named = [replace(one, template="t"), replace(other, template="u"), replace(one, template="v")]
    named_alike = ["as prompt 0", "u", "as prompt 0"]
    assert clusters(ask(*named)) == named_alike, "the same pair under two names"
    chain = [replace(one, template="t"), replace(other, template="u"), replace(other, template="t")]
    assert len(set(clusters(ask(*chain)))) == 1
    swapped = ask(one, other, one).swapped()
    assert clusters(swapped) == ["as prompt 0", "", "as prompt 0"]


def test_other_corrupt_prompts_of_one_clean_prompt_are_one_cluster():
    one = [pair("Mary", "John", "John", corrupt) for corrupt in ("Paul", "Luke", "James")]
    assert clusters(ask(*one)) == clusters(ask(*one).swapped()) == ["as prompt 0"] * 3
    named = [replace(each, template=str(i)) for i, each in enumerate(one)]
    assert clusters(ask(*named)) == ["as prompt 0"] * 3, "a name for each does not make three"
    foils = [replace(one[0], foil=f" {foil}") for foil in ("John", "Paul", "Luke")]
    exchanged = replace(one[0], answer=one[0].foil, foil=one[0].answer)
    assert clusters(ask(*foils, exchanged)) == ["as prompt 0"] * 4


def mirrored(pair: Pair) -> Pair:
    return replace(pair, clean=pair.corrupt, corrupt=pair.clean, answer=pair.foil, foil=pair.answer)


@pytest.mark.parametrize("names", ["", "own", "template"])
def test_a_mirrored_pair_is_the_same_two_runs(names: str):
    some = [pair(name, "John", "John") for name in ("Mary", "Luke", "James")]
    pairs = [*some, *map(mirrored, some)]
    if names:
        pairs = [
            replace(p, template=str(i % 3 // 2 + 9 * (names == "own") * i))
            for i, p in enumerate(pairs)
        ]
    found = clusters(ask(*pairs))
    assert found == clusters(ask(*pairs).swapped())
    if names == "template":  # the first two are of one template, so are their mirrored pairs
        assert found == ["0", "0", "1"] * 2
    else:
        assert found == [f"as prompt {i}" for i in (0, 1, 2)] * 2
    longer = pair("Mary", "John", "John", "Mary")
    assert clusters(ask(pairs[0], longer, mirrored(longer)))[1:] == ["as prompt 0"] * 2


def test_templates_that_hold_copies_of_one_another_are_one_cluster():
    one, two, three = (pair(name, "John", "John") for name in ("Mary", "Luke", "James"))
    in_t, in_u = (replace(two, template=name) for name in "tu")
    pairs = [replace(one, template="t"), in_t, mirrored(in_u), replace(three, template="u")]
    assert clusters(ask(*pairs)) == ["as prompt 0"] * 4
    assert clusters(ask(pairs[0], pairs[3], pairs[3])) == ["t", "u", "u"]


def test_mirrored_pairs_show_no_more_than_once(tiny: Tiny):
    some = [pair(name, "John", "John") for name in ("Mary", "Luke", "James", "Anna", "Lucy")]
    asked = {"senders": heads(tiny.model, "END"), "receivers": ["logits"]}
    many = path_sweep(tiny.model, ask(*some, *map(mirrored, some)), **asked)
    assert many.p_adjusted().min() >= least_p(5)
    assert any("10 prompts are copies" in caution for caution in many.cautions())


def test_few_clusters_come_with_a_word_on_intervals(tmp_path, capsys):
    for n, held in HELD.items():
        words = f"with {n} independent prompts or templates intervals are too narrow: of 100, "
        assert any(
            words in c and f"about {held} hold the true mean" in c for c in found(n).cautions()
        )
        assert f"note: {words}" in repr(found(n))
    assert about_interval(1) == about_interval(6) == ""
    assert any(
        "with 3 indep" in c for c in replace(found(12), templates=["a", "b", "c"] * 4).cautions()
    )
    options = ["--model", "tiny-llama", "--prompts", "3", "--out", str(tmp_path)]
    main(["ioi", *options])
    assert capsys.readouterr().out.index("with 2 indep") < 200


def test_one_corrupt_prompt_of_several_clean_ones_is_none():
    corrupt = TEXT.format("Mary", "John", "Paul")
    several = [
        Pair(TEXT.format("Mary", "John", name), corrupt, " Mary", " Luke")
        for name in ("John", "Luke", "James")
    ]
    assert clusters(ask(*several)) == clusters(ask(*several).swapped()) == [""] * 3


def test_the_same_prompts_five_times_show_no_more_than_once(tiny: Tiny, capsys):
    once = without_templates(tiny.prompts)
    five = times(once, 5)
    asked = {"senders": heads(tiny.model, "END"), "receivers": ["logits"]}
    few, many = (path_sweep(tiny.model, some, **asked) for some in (once, five))
    assert few.templates == [""] * 6
    assert few.p_adjusted() == pytest.approx(many.p_adjusted())
    assert few.interval() == pytest.approx(many.interval())
    assert sign_flip_test(many.change, generator()).min() < 0.001, "if each stood alone"
    assert any("30 prompts are copies" in caution for caution in many.cautions())
    assert not any("copies" in caution for caution in few.cautions())


def test_every_table_has_the_clusters(tiny: Tiny):
    twice = times(without_templates(tiny.prompts)[:2], 2)
    expected = [f"as prompt {i}" for i in (0, 1, 0, 1)]
    labels = {"subject_first": twice.orig.at("END"), "subject_last": twice.orig.at("END")}
    sides = [replace(side, positions=side.positions | labels) for side in (twice.orig, twice.new)]
    twice = replace(twice, orig=sides[0], new=sides[1])
    trace = causal_trace(tiny.model, twice, ["1.mlp_out@END"], noise=None)
    for effects in (
        activation_sweep(tiny.model, twice, nodes=["0.1"]),
        node_attribution(tiny.model, twice, ["0.1"]),
        edge_attribution(tiny.model, twice, senders=["0.1"], receivers=["2.0.q"]),
        trace.effects(),
    ):
        assert effects.templates == expected


# ---------------------------------------------------------------------------- too few to show it


def found(n: int, effect: float = -2.0, base: float = 3.0) -> Effects:
    """Two heads on n prompts, one with a clear effect."""
    rng = np.random.default_rng(1)
    values = np.full(n, base)
    change = rng.normal(0, 0.1, (2, n)) + np.array([[effect], [0.0]])
    return Effects(
        [[Node("z", 0, 0, at="END")], [Node("z", 0, 1, at="END")]], values, values + change, ABOUT
    )


@pytest.mark.parametrize("n", [1, 2, 5, 6, 12])
def test_p_is_never_below_what_that_many_prompts_can_show(n: int):
    p = [replace(found(n), seed=seed).p_adjusted().min() for seed in range(20)]
    assert min(p) >= 2 / 2**n == least_p(n) or n == 1 == min(p)
    assert (min(p) < 0.05) == (n >= 6)


@pytest.mark.parametrize("n", [2, 5])
def test_every_place_with_p_says_that_nothing_can_pass(n: int, tmp_path, capsys, tiny: Tiny):
    words = f"nothing can pass: with {n} independent prompts or templates"
    few, enough = found(n), found(6)
    assert any(words in caution for caution in few.cautions()) and enough.cautions() == []
    report(few, "few", tmp_path)
    assert words in capsys.readouterr().out
    assert words in (tmp_path / "effects.json").read_text(encoding="utf-8")
    assert Effects.load(tmp_path).cautions() == few.cautions()
    report(enough, "enough", tmp_path)
    assert "note:" not in capsys.readouterr().out
    with pytest.raises(PathPatchError, match=words):
        strongest(few, 1)
    assert strongest(enough, 1) == ["0.0"]
    texts = [text.get_text() for text in heat_map(few).findobj(lambda x: hasattr(x, "get_text"))]
    assert any(words in text.replace("\n", " ") for text in texts)
    texts = [text.get_text() for text in heat_map(enough).findobj(lambda x: hasattr(x, "get_text"))]
    assert not any("pass" in text for text in texts)
    circuit = discover(tiny.model, tiny.prompts[:n], generator(), rule=Rule(rounds=1))
    independent = len(set(tiny.prompts[:n].templates))
    words = f"nothing can pass: with {independent} independent"
    assert words in capsys.readouterr().err
    assert any(words in caution for caution in circuit.about["cautions"])


def test_a_rule_that_asks_for_less_can_pass_with_fewer():
    assert "nothing can pass" not in "".join(cautions(np.full(5, 3.0), [], error=0.1))
    assert cautions(np.full(6, 3.0), [], error=0.1) == []
    assert "never below 0.001" in cautions(np.full(9, 3.0), [], error=0.001)[0]


# -------------------------------------------------------------------------------- percent of what


def test_near_zero_is_when_the_interval_of_the_mean_holds_zero():
    rng = np.random.default_rng(2)
    for n, mean in ((5, 0.8), (20, 0.3), (20, 0.6), (40, -0.3), (40, -0.2)):
        base = rng.normal(mean, 1, n)
        low, high = stats.t.interval(0.95, n - 1, base.mean(), stats.sem(base))
        assert bool(about_base(base)) == (low <= 0 <= high)
        twice = base.repeat(2)
        names = [f"{i // 2}" for i in range(2 * n)]
        assert bool(about_base(twice, names)) == bool(about_base(base))
    assert "cannot be told from zero (95 % interval -" in about_base(np.array([1.0, -0.5, 0.3]))
    assert about_base(np.full(3, 2.0)) == about_base(np.array([2.0])) == ""
    assert about_base(np.zeros(3)) and about_base(np.zeros(1))
    assert "not on one side of zero" in about_base(np.array([3.0, -1.0]), ["a", "a"])
    assert about_base(np.array([3.0, 1.0]), ["a", "a"]) == ""


def test_percent_of_a_base_near_zero_comes_with_a_warning(tmp_path, capsys):
    sound, weak = found(8), found(8)
    weak = replace(weak, base=weak.base - 3 + np.tile([1.0, -0.9], 4))
    for ask in (Effects.percent, lambda effects: effects.percent_interval()):
        with pytest.warns(UserWarning, match=r"the mean base 0\.05 cannot be told from zero"):
            ask(weak)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ask(sound)
    report(weak, "weak", tmp_path)
    printed = capsys.readouterr().out
    assert "from 0.050" in printed and "cannot be told from zero" in printed
    header, row = (tmp_path / "effects.csv").read_text().splitlines()[:2]
    assert float(dict(zip(header.split(","), row.split(","), strict=True))["mean_base"]) == (
        pytest.approx(0.05)
    )


# --------------------------------------------------------------------- one number for each prompt


def average(logits, prompts):
    return logit_diff(logits, prompts).mean()


def kept_dimension(logits, prompts):
    return logit_diff(logits, prompts)[..., None]


def not_a_number(logits, prompts):
    values = logit_diff(logits, prompts).clone()
    values[..., 1] = torch.nan
    return values


def a_list(logits, prompts):
    return logit_diff(logits, prompts).tolist()


WRONG = {
    average: r"the metric average returned shape \[\] for logits of shape \[",
    kept_dimension: r"returned shape \[2, 1\] .* of shape \[2\]",
    a_list: r"the metric a_list returned <class 'list'>",
    not_a_number: "the metric not_a_number is not a finite number on the prompt 'Then, ",
}


@pytest.mark.parametrize("metric", WRONG, ids=lambda metric: metric.__name__)
def test_a_metric_must_give_one_number_for_each_prompt(tiny: Tiny, metric):
    model, prompts = tiny.model, tiny.prompts[:2]
    asked = {"senders": ["0.1"], "receivers": ["2.0.q"], "metric": metric}
    tasks = [
        lambda: path_sweep(model, prompts, **asked),
        lambda: path_sweep(model, prompts, **asked, options=SweepOptions("literal")),
        lambda: activation_sweep(model, prompts, nodes=["0.1"], metric=metric),
        lambda: node_attribution(model, prompts, ["0.1"], metric=metric),
        lambda: edge_attribution(model, prompts, **asked),
        lambda: five_treatments(model, prompts, **asked),
        lambda: Knockout(model, prompts, Ablation(metric=metric)).score(),
        lambda: discover(model, prompts, generator(), metric=metric),
    ]
    for task in tasks:
        with pytest.raises(PathPatchError, match=WRONG[metric]):
            task()


@pytest.mark.parametrize("engine", ["fast", "literal"])
def test_a_metric_that_fails_only_after_a_patch_is_refused_too(tiny: Tiny, engine: str):
    b = run(tiny.model, tiny.prompts[:2].orig, reads=[LOGITS])[LOGITS]
    before = logit_diff(b, tiny.prompts[:2])

    def late(logits, prompts):
        values = logit_diff(logits, prompts)
        known = (values[..., None] - before).abs().amin(-1) < 1e-9
        return torch.where(known, values, torch.nan)

    ways = {"senders": ["0.1"], "receivers": ["2.0.q"], "metric": late}
    with pytest.raises(PathPatchError, match="is not a finite number"):
        path_sweep(tiny.model, tiny.prompts[:2], **ways, options=SweepOptions(engine))
