"""Five treatments: whole numbers by hand, the truth about the machines, identities, the oracle."""

import numpy as np
import oracle
import pytest
from conftest import Tiny, as_oracle, ends
from pencil import by_pencil
from test_handmade import EFFECTS, make, title

from pathpatch import (
    PathPatchError,
    Prompts,
    TrueEffect,
    answer_prob,
    baseline,
    five_treatments,
    grid,
    heads,
    mlps,
)
from pathpatch.nodes import as_nodes

EXACT = 1e-10
NAMES = [
    "none",
    "path patch h to R",
    "activation patch h",
    "overwrite R",
    "patch h, freeze R",
    "patch h and R",
]
BOTH_WAYS = [(effect, name) for name, effect in EFFECTS if effect.receivers]


def same(found, expected) -> bool:
    return bool(np.abs(np.asarray(found) - np.asarray(expected)).max() < EXACT)


@pytest.mark.parametrize(("form", "r"), [("head", "2.0.v@END"), ("mlp", "1.0.v@END")])
def test_the_integers_of_the_toy(form: str, r: str):
    """x_orig: a, q, h = -2, 2, 3; x_new: 1, 0, 4. p = a + h, R = p + q + h, y = 10 R + h."""
    made = make(f"toy {form}")
    found = five_treatments(made.model, made.prompts["x_new"], senders=["0.2@END"], receivers=[r])
    path = {"head": 73, "mlp": 83}[form]  # R = 1 + 2 + 4, or p follows h: R = 2 + 2 + 4
    freeze = 10 * 6 + 4  # R stays 6, the last + h sees 4
    both = 10 * 9 + 4  # R = 5 + 0 + 4
    assert list(found) == NAMES
    assert same([value for (value,) in found.values()], [63, path, 84, 93, freeze, both])
    pencil = by_pencil()
    assert found["none"] == pencil["none"] and found["overwrite R"] == pencil["overwrite R"]


def test_edges_cut_the_mlp_out_of_the_path():
    made = make("toy mlp")
    nodes = {"senders": ["0.2@END"], "receivers": ["1.0.v@END"]}
    frozen = heads(made.model) + mlps(made.model)
    found = five_treatments(made.model, made.prompts["x_new"], **nodes, frozen=frozen)
    assert same(found["path patch h to R"], 73)
    assert same(found["activation patch h"], 84), "frozen is for the path patch alone"


@pytest.mark.parametrize(("effect", "name"), BOTH_WAYS, ids=title)
def test_the_truth_about_the_machines(effect: TrueEffect, name: str):
    made = make(name)
    prompts = made.prompts[effect.prompts][::7]
    frozen = heads(made.model) + (mlps(made.model) if effect.frozen == "heads+mlps" else [])
    h, r = effect.senders, effect.receivers
    nodes = {"senders": h.split("+"), "receivers": r.split("+"), "frozen": frozen}
    found = five_treatments(made.model, prompts, **nodes)
    assert same(found["path patch h to R"] - found["none"], effect.change)
    for other in made.design.effects:  # total effects of the same nodes
        if other.prompts == effect.prompts and not other.receivers:
            for role, key in ((h, "activation patch h"), (r, "overwrite R")):
                if other.senders == role:
                    assert same(found[key] - found["none"], other.change)


def test_the_machine_by_hand():
    """1.0 writes to 2.0.q and 2.1.q: each mover loses its 4 or 2 when its query is patched."""
    made = make("machine token")

    def values(h: str, r: str) -> list[float]:
        found = five_treatments(
            made.model, made.prompts["abc"], senders=[h], receivers=r.split("+")
        )
        assert all(same(row, row[0]) for row in found.values())
        return [row[0] for row in found.values()]

    # Freezing 2.0.q leaves 2.1.q to lose its 2; overwriting 2.0.q alone costs 4.
    assert same(values("1.0@END", "2.0.q@END"), [6, 2, 0, 2, 4, 0])
    # Freezing both queries leaves no way for 1.0 at all.
    assert same(values("1.0@END", "2.0.q@END+2.1.q@END"), [6, 0, 0, 0, 6, 0])
    # 0.0 has no direct path to the queries; all it does goes through them by way of 1.0.
    assert same(values("0.0@S2", "2.0.q@END+2.1.q@END"), [6, 6, 0, 0, 6, 0])


def test_the_backup_by_hand():
    """The movers say another name: -6, and 3.0, which finds IO unsaid, gives 4 back."""
    made = make("machine backup")
    found = five_treatments(
        made.model,
        made.prompts["abc"],
        senders=["2.0@END", "2.1@END"],
        receivers=["3.0.q@END"],
    )
    # 3.0.q as in x_new: nothing inhibited, the names of x_new said. So IO and S are free, 2 each.
    assert same([row.mean() for row in found.values()], [6, 10, 4, 6, 0, 0])


def by_oracle(tiny: Tiny, prompts: Prompts, h, r, edges: bool) -> list[np.ndarray]:
    ids, new_ids = prompts.orig.ids, prompts.new.ids
    h, r = ([as_oracle(node, prompts.orig) for node in as_nodes(nodes)] for nodes in (h, r))
    orig, new = (oracle.forward(tiny.weights, some) for some in (ids, new_ids))
    new_h, new_r, old_r = (oracle.edits_from(*pair) for pair in ((new, h), (new, r), (orig, r)))
    runs = [
        oracle.forward(tiny.weights, ids, edits)[oracle.LOGITS]
        for edits in ([], new_h, new_r, new_h + old_r, new_h + new_r)
    ]
    runs.insert(1, oracle.path_patch(tiny.weights, ids, new_ids, h, r, edges))
    return [answer_prob(ends(logits, prompts.orig), prompts).numpy() for logits in runs]


CASES = [
    (["0.1@END"], ["2.3.q@END"]),
    (["0.2@S2", "0.mlp_out@S2"], ["1.1.k@S2", "2.0.v@S2"]),
    (["embed@S2"], ["1.kv1.k@S2", "1.0.q@END"]),
    (["0.0", "1.1"], ["2.kv0.v", "2.1.q"]),
    (["1.2@END"], ["logits@END"]),
    (["0.2@END"], ["1.resid_post@END", "logits@END"]),
    (["2.1@END"], ["1.0.q@END"]),  # R is before h
]


@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize(("h", "r"), CASES)
def test_equals_the_oracle(tiny: Tiny, h, r, edges: bool, denoise: bool):
    prompts = tiny.prompts.swapped() if denoise else tiny.prompts
    frozen = heads(tiny.model) + mlps(tiny.model) if edges else None
    found = five_treatments(
        tiny.model, prompts, senders=h, receivers=r, frozen=frozen, metric=answer_prob
    )
    for (name, ours), theirs in zip(
        found.items(), by_oracle(tiny, prompts, h, r, edges), strict=True
    ):
        assert same(ours, theirs), name
    assert len({tuple(row.round(12)) for row in found.values()}) >= 3


def test_a_receiver_before_the_sender(tiny: Tiny):
    found = five_treatments(
        tiny.model, tiny.prompts, senders=["2.1@END"], receivers=["1.0.q@END", "0.3.v@S2"]
    )
    assert same(found["path patch h to R"], found["none"])
    assert same(found["patch h, freeze R"], found["activation patch h"])
    assert not same(found["activation patch h"], found["none"])


def test_the_logits_as_receiver(tiny: Tiny):
    last = ["2.0@END", "2.2@END"]
    found = five_treatments(tiny.model, tiny.prompts, senders=last, receivers=["logits@END"])
    other_run = baseline(tiny.model, tiny.prompts)["logit_diff_new"]
    assert same(found["overwrite R"], other_run) and same(found["patch h and R"], other_run)
    assert same(found["patch h, freeze R"], found["none"])
    assert same(found["path patch h to R"], found["activation patch h"])
    early = five_treatments(
        tiny.model, tiny.prompts, senders=["0.1@END"], receivers=["2.resid_post@END"]
    )
    named = five_treatments(tiny.model, tiny.prompts, senders=["0.1@END"], receivers=["logits"])
    assert all(same(early[name], named[name]) for name in NAMES)
    assert not same(named["path patch h to R"], named["activation patch h"])


def test_all_readers_frozen_leave_nothing(tiny: Tiny):
    """h acts through the heads above it and the end of the residual stream: freeze all of them."""
    above = [node for kind in "qkv" for node in grid(tiny.model, kind) if node.layer]
    nodes = {"senders": ["0.1", "0.2"], "receivers": [*above, "logits"]}
    found = five_treatments(tiny.model, tiny.prompts, **nodes)
    assert same(found["patch h, freeze R"], found["none"])
    # Without the logits, what is left is the direct effect, which is the path to the logits.
    nodes["receivers"] = above
    found = five_treatments(tiny.model, tiny.prompts, **nodes)
    nodes["receivers"] = ["logits@END"]
    direct = five_treatments(tiny.model, tiny.prompts, **nodes)["path patch h to R"]
    assert same(found["patch h, freeze R"], direct)
    assert not same(direct, found["none"])


def test_blocks_of_prompts():
    made = make("machine backup")
    nodes = {"senders": ["2.0@END"], "receivers": ["3.0.q@END"]}
    whole = five_treatments(made.model, made.prompts["abc"][:70], **nodes)
    part = five_treatments(made.model, made.prompts["abc"][60:70], **nodes)
    assert all(len(whole[name]) == 70 and same(whole[name][60:], part[name]) for name in NAMES)


@pytest.mark.parametrize(
    ("h", "r", "words"),
    [
        ([], ["logits"], "at least one sender"),
        (["0.1"], [], "at least one receiver"),
        (["0.1.q"], ["logits"], "0.1.q cannot be a sender"),
        (["0.1"], ["2.1.z"], "2.1.z cannot be a receiver"),
        (["0.1@S3"], ["logits"], "no position 'S3'"),
        (["7.1"], ["logits"], "layer 7 of node"),
    ],
)
def test_refuses(tiny: Tiny, h, r, words: str):
    with pytest.raises(PathPatchError, match=words):
        five_treatments(tiny.model, tiny.prompts, senders=h, receivers=r)
