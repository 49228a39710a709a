"""Models written by hand: the task, the true effects, and what wrong path patches make of them."""

import json
from functools import cache

import mutants
import oracle
import pytest
import torch
from conftest import AUDIT, as_oracle, ends, machine
from pencil import arithmetic, by_pencil

from pathpatch import (
    LOGITS,
    HandMade,
    Node,
    PathPatchError,
    TrueEffect,
    activation_patch,
    heads,
    ioi_machine,
    logit_diff,
    mlps,
    path_patch,
    path_sweep,
    run,
    toy,
)
from pathpatch.engine.fast import patch_all
from pathpatch.engine.spec import Spec
from pathpatch.handmade.build import hand_weights
from pathpatch.handmade.ioi_machine import NAMES
from pathpatch.handmade.ioi_variants import VARIANTS
from pathpatch.handmade.toys import TOYS, X_NEW, X_ORIG
from pathpatch.nodes import as_nodes

EXACT = 1e-10
EVERY = 1 if AUDIT else 27  # a machine has 1,300 prompts: all of them in the audit
MODELS = [*(f"toy {name}" for name in TOYS), *(f"machine {name}" for name in VARIANTS)]
DESIGNS = {f"toy {k}": v for k, v in TOYS.items()} | {
    f"machine {k}": v for k, v in VARIANTS.items()
}
EFFECTS = [(name, effect) for name in MODELS for effect in DESIGNS[name].effects]
# This one changes no number: it leaves a hook that does nothing. The exam finds it by looking.
NO_NUMBER = {"left_its_hooks_behind"}


@cache
def make(name: str) -> HandMade:
    family, variant = name.split()
    return toy(variant) if family == "toy" else machine(variant)


@cache
def oracle_weights(name: str) -> oracle.Weights:
    model, design = make(name).model, make(name).design
    return oracle.read_native(hand_weights(design), model.cfg.n_heads, design.group)


def title(value) -> str | None:
    if not isinstance(value, TrueEffect):
        return None
    kinds = f"{value.prompts}, {value.frozen}"
    return f"{value.senders} -> {value.receivers or 'everything'} ({kinds})"


def pieces(made: HandMade, effect: TrueEffect, every: int = EVERY):
    """Prompts, senders, receivers, frozen nodes, and the logit difference before."""
    prompts = made.prompts[effect.prompts][::every]
    senders = as_nodes(effect.senders.split("+"))
    receivers = as_nodes(effect.receivers.split("+")) if effect.receivers else []
    edges = mlps(made.model) if effect.frozen == "heads+mlps" else []
    before = logit_diff(run(made.model, prompts.orig, reads=[LOGITS])[LOGITS], prompts)
    return prompts, senders, receivers, heads(made.model) + edges, before


def literal(
    made: HandMade, effect: TrueEffect, patch=path_patch, every: int = EVERY
) -> torch.Tensor:
    """The change that a `path_patch` finds, [batch]."""
    prompts, senders, receivers, frozen, before = pieces(made, effect, every)
    nodes = {"senders": senders, "receivers": receivers, "frozen": frozen}
    return logit_diff(patch(made.model, prompts, **nodes), prompts) - before


def fast(made: HandMade, effect: TrueEffect) -> torch.Tensor:
    prompts, senders, receivers, frozen, before = pieces(made, effect)
    _, found = patch_all(made.model, prompts, Spec([senders], receivers, frozen, "", logit_diff))
    for _, values in found:
        return values[0] - before
    return torch.zeros(len(prompts))  # no receiver can see these senders


def total(made: HandMade, effect: TrueEffect) -> torch.Tensor:
    prompts, senders, _, _, before = pieces(made, effect)
    logits = activation_patch(made.model, prompts, nodes=senders)
    return logit_diff(logits, prompts) - before


def by_oracle(name: str, effect: TrueEffect) -> torch.Tensor:
    prompts, senders, receivers, *_ = pieces(make(name), effect, every=5 * EVERY)
    x_orig, weights = prompts.orig, oracle_weights(name)
    sent, received = ([as_oracle(n, x_orig) for n in nodes] for nodes in (senders, receivers))
    before = oracle.forward(weights, x_orig.ids)[oracle.LOGITS]
    ids = x_orig.ids, prompts.new.ids
    if received:
        after = oracle.path_patch(weights, *ids, sent, received, effect.frozen == "heads+mlps")
    else:
        after = oracle.activation_patch(weights, *ids, sent)
    return logit_diff(ends(after, x_orig), prompts) - logit_diff(ends(before, x_orig), prompts)


@pytest.mark.parametrize("name", MODELS)
def test_does_its_task_on_every_prompt(name: str):
    made = make(name)
    assert set(made.prompts) == set(made.design.before)
    for kind, prompts in made.prompts.items():
        logits = run(made.model, prompts.orig, reads=[LOGITS])[LOGITS]
        assert (logit_diff(logits, prompts) - made.design.before[kind]).abs().max() < EXACT
        if name.startswith("machine"):
            assert torch.equal(logits.argmax(-1), prompts.answer)
        expected = oracle.forward(oracle_weights(name), prompts.orig.ids)[oracle.LOGITS]
        assert (logits - ends(expected, prompts.orig)).abs().max() < EXACT


@pytest.mark.parametrize("kind", ["abc", "flip", "exchange"])
def test_the_machine_has_every_prompt_with_its_positions(kind: str):
    made = make("machine token")
    prompts = made.prompts[kind]
    pairs = {(pair.answer, pair.foil) for pair in prompts.pairs}
    assert len(prompts) == 4 * len(pairs) == 4 * len(NAMES) * (len(NAMES) - 1)
    assert len({pair.clean for pair in prompts.pairs}) == len(prompts)
    rows = torch.arange(len(prompts))
    for label, ids in (("IO", prompts.answer), ("S1", prompts.foil), ("S2", prompts.foil)):
        assert torch.equal(prompts.orig.ids[rows, prompts.orig.at(label)], ids)
    assert (prompts.orig.at("S1") < prompts.orig.at("S2")).all()
    assert len(prompts.orig.at("S2").unique()) == len(prompts.orig.at("IO").unique()) == 2
    changed = {"abc": 3, "flip": 1, "exchange": 2}[kind]
    assert ((prompts.orig.ids != prompts.new.ids).sum(1) == changed).all()
    words = prompts.new.ids[rows, prompts.orig.at("S2")]
    if kind == "abc":
        assert (words != prompts.answer).all() and (words != prompts.foil).all()
    else:
        assert torch.equal(words, prompts.answer if kind == "flip" else prompts.foil)


@pytest.mark.parametrize(("name", "effect"), EFFECTS, ids=title)
def test_every_true_effect(name: str, effect: TrueEffect):
    made = make(name)
    found = [by_oracle(name, effect)]
    found += (
        [literal(made, effect), fast(made, effect)] if effect.receivers else [total(made, effect)]
    )
    for change in found:
        assert (change - effect.change).abs().max() < EXACT


@pytest.mark.parametrize("name", [name for name in MODELS if name != "machine norm"])
def test_activations_are_whole_numbers(name: str):
    made = make(name)
    layers, n_heads = range(made.model.cfg.n_layers), range(made.model.cfg.n_heads)
    nodes = [Node(kind, i, head) for kind in "qkvz" for i in layers for head in n_heads]
    nodes += [Node("resid_post", i) for i in layers] + [Node("embed"), *mlps(made.model), LOGITS]
    for prompts in made.prompts.values():
        some = prompts[::EVERY]
        for tokens in (some.orig, some.new):
            for node, value in run(made.model, tokens, reads=nodes).items():
                assert (value - value.round()).abs().max() < EXACT, str(node)


def test_subspaces_can_be_read():
    made = make("machine token")
    prompts, where = made.prompts["abc"], made.design.where
    found = run(made.model, prompts.orig, reads=["2.resid_post@END", "0.resid_post@S2"])
    s = prompts.foil - prompts.foil.min()  # names in the order of the vocabulary
    io = prompts.answer - prompts.answer.min()
    one_hot = torch.eye(len(NAMES), dtype=torch.float64)
    assert torch.equal(found["0.resid_post@S2"][:, where("seen")], one_hot[s])
    assert torch.equal(found["2.resid_post@END"][:, where("inhibit")], one_hot[s])
    assert torch.equal(found["2.resid_post@END"][:, where("say")], 6 * one_hot[io])


def test_the_table_by_pencil():
    """In arithmetic, and with the same integers in the transformers."""
    expected = dict(zip(by_pencil(), (63, 73, 83, 84, 93), strict=True))
    assert by_pencil() == expected
    assert arithmetic(**X_ORIG) == {"p": 1, "R": 6, "y": 63}
    assert arithmetic(**X_NEW) == {"p": 5, "R": 9, "y": 94}
    changes = {
        name: {(e.senders, e.receivers, e.frozen): e.change for e in TOYS[name].effects}
        for name in ("head", "mlp")
    }
    assert 63 + changes["head"]["0.2@END", "2.0.v@END", "heads"] == 73
    assert 63 + changes["mlp"]["0.2@END", "1.0.v@END", "heads"] == 83
    assert 63 + changes["mlp"]["0.2@END", "1.0.v@END", "heads+mlps"] == 73
    for name, r in (("head", "2.0.v@END"), ("mlp", "1.0.v@END")):
        assert 63 + changes[name]["0.2@END", "", "heads"] == 84
        assert 63 + changes[name][r, "", "heads"] == 93
        made = make(f"toy {name}")
        for tokens, numbers in (("orig", X_ORIG), ("new", X_NEW)):
            last = f"{made.model.cfg.n_layers - 1}.resid_post@END"
            state = run(made.model, getattr(made.prompts["x_new"], tokens), reads=[last])[last][0]
            want = numbers | arithmetic(**numbers)
            for space in ("a", "q", "h", "p", "R"):
                assert state[made.design.where(space)].item() == want[space]


def test_every_mutant_gets_a_number_wrong():
    alive = {mutant.__name__: mutant for mutant in mutants.ALL if mutant.__name__ not in NO_NUMBER}
    for name, effect in [(name, effect) for name, effect in EFFECTS if effect.receivers]:
        for mutant_name, mutant in list(alive.items()):
            found = literal(make(name), effect, mutant, every=7 * EVERY)
            if (found - effect.change).abs().max() > 1e-3:
                del alive[mutant_name]
    assert not alive


def test_a_mutant_that_changes_no_number_is_noticed_by_the_next_pass():
    (mutant,) = [mutant for mutant in mutants.ALL if mutant.__name__ in NO_NUMBER]
    for name, effect in [(name, effect) for name, effect in EFFECTS if effect.receivers]:
        try:
            with pytest.raises(PathPatchError, match="somebody else's hook"):
                literal(
                    make(name), effect, mutant, every=7 * EVERY
                )  # the hooks that it left are there
                literal(make(name), effect, mutant, every=7 * EVERY)
        finally:
            make(name).model.reset_hooks()


def test_direct_and_total_effects_part_where_they_should():
    effects = {(e.senders, e.receivers): e.change for e in VARIANTS["backup"].effects}
    both = "2.0@END+2.1@END"
    assert effects[both, "logits@END"] + effects[both, "3.0.q@END"] == effects[both, ""] == -2


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_few_numbers(name: str):
    entries = [
        [key, *index, value]
        for key, weight in hand_weights(make(name).design).items()
        for *index, value in torch.cat(
            [weight.nonzero().double(), weight[weight != 0][:, None]], dim=1
        ).tolist()
    ]
    by_name: dict[str, list] = {}
    for key, *rest in entries:
        by_name.setdefault(key, []).append([int(x) if x == int(x) else x for x in rest])
    assert 0 < len(json.dumps(by_name, separators=(",", ":"))) <= 20_000


def test_a_model_without_mlps_says_so():
    made = make("machine token")
    assert mlps(made.model) == []
    with pytest.raises(PathPatchError, match=r"no 0\.mlp_out@END: ioi-machine-token has no MLPs"):
        run(made.model, made.prompts["abc"].orig, reads=["0.mlp_out@END"])


def test_sweeps_run_on_the_machine():
    made = make("machine token")
    nodes = {"senders": heads(made.model, "END"), "receivers": ["2.0.q@END", "2.1.q@END"]}
    found = path_sweep(made.model, made.prompts["abc"], **nodes)
    assert found.about.engine == "fast"
    assert found.names[found.top(1)[0]] == "1.0.z@END"
    assert found.mean().min() == pytest.approx(-6, abs=EXACT)


@pytest.mark.parametrize(
    ("maker", "words"),
    [(toy, "no toy 'orr'; did you mean 'or'"), (ioi_machine, "no variant 'orr' of the machine")],
)
def test_unknown_names(maker, words: str):
    with pytest.raises(PathPatchError, match=words):
        maker("orr")
