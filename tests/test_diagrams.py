"""The picture of the four passes: its data against pencil and oracle, its ink against its data."""

import oracle
import pytest
import torch
from conftest import Tiny, as_oracle
from conftest import machine as machine_of
from matplotlib.colors import to_hex
from matplotlib.patches import ConnectionPatch, FancyArrowPatch, FancyBboxPatch

from pathpatch import (
    LOGITS,
    Node,
    PathPatchError,
    heads,
    logit_diff,
    mlps,
    pass_diagram,
    path_patch,
    run,
    save_figure,
    toy,
)
from pathpatch.pictures.diagrams import FROZEN, RECEIVER, SENDER, WHITE
from pathpatch.pictures.passes import four_passes, stage
from pathpatch.pictures.readout import in_words

EXACT = 1e-10
ABC = machine_of()
PAIR = ABC.prompts["abc"][:1]  # When Anna and Brian met, Brian spoke to | Carol, Daniel, Emma
TOY = {"nodes": ["0.0@END", "0.1@END"], "senders": ["0.2@END"]}


def table(data, what="text", *more):
    """node -> its texts (or another method) in passes A, B, C and D."""
    return {str(n): [getattr(p, what)(n, *more) for p in data.passes] for n in data.nodes}


def streams(data):
    """(pass, stage, position) -> whether the residual stream differs there."""
    stages = sorted({stage(node) for node in data.nodes})
    return {
        (one.name, where, at): one.stream_differs(where, at)
        for one in data.passes
        for where in stages
        for at in data.positions
    }


def toy_head():
    made, ends = toy("head"), {**TOY, "receivers": ["2.0.v@END"]}
    ends["nodes"] = [*TOY["nodes"], "1.0@END", "2.0@END"]
    return made.model, made.prompts["x_new"], ends


def machine():
    ends = {"senders": ["0.0@S2"], "receivers": ["1.0.v@S2"]}
    return ABC.model, PAIR, {**ends, "nodes": ["1.0@END", "2.0@END", "2.1@END"]}


def test_the_toy_with_p_a_head_by_hand():
    model, pair, ends = toy_head()
    data = four_passes(model, pair, **ends)
    assert table(data) == {
        "0.0.z@END": ["a = 1", "a = -2", "a = -2", "a = -2"],
        "0.1.z@END": ["q = 0", "q = 2", "q = 2", "q = 2"],
        "0.2.z@END": ["h = 4", "h = 3", "h = 4", "h = 3"],
        "1.0.z@END": ["p = 5", "p = 1", "p = 1", "p = 1"],
        "2.0.v@END": ["p+q+h = 9", "p+q+h = 6", "p+q+h = 7", "p+q+h = 7"],
        "2.0.z@END": ["R = 9", "R = 6", "R = 6", "R = 7"],
        "logits@END": ["94", "63", "64", "73"],  # in C the frozen R is 6, and h itself is read
    }
    assert table(data, "role") == {
        "0.0.z@END": ["recomputed", "stored", "frozen", "recomputed"],
        "0.1.z@END": ["recomputed", "stored", "frozen", "recomputed"],
        "0.2.z@END": ["stored", "stored", "patched", "recomputed"],
        "1.0.z@END": ["recomputed", "stored", "frozen", "recomputed"],
        "2.0.v@END": ["recomputed", "recomputed", "stored", "patched"],
        "2.0.z@END": ["recomputed", "stored", "frozen", "recomputed"],
        "logits@END": ["recomputed"] * 4,
    }
    changes = table(data, "differs")
    assert [changes[n] for n in ("0.0.z@END", "0.2.z@END", "2.0.v@END", "logits@END")] == [
        [True, False, False, False],
        [True, False, True, False],
        [True, False, True, True],
        [True, False, True, True],
    ]
    news = {name for name, new in table(data, "from_new").items() if new[2]}
    assert news == {"0.2.z@END"}
    assert all(row[0] and not row[1] and not row[3] for row in table(data, "from_new").values())


def test_the_toy_with_p_an_mlp_by_hand():
    made = toy("mlp")
    ends = {**TOY, "receivers": ["1.0.v@END"], "nodes": ["0.mlp_out@END"]}
    data = four_passes(made.model, made.prompts["x_new"], **ends)
    assert table(data)["0.mlp_out@END"] == ["p = 5", "p = 1", "p = 2", "p = 1"]
    assert table(data)["1.0.v@END"] == ["p+q+h = 9", "p+q+h = 6", "p+q+h = 8", "p+q+h = 8"]
    assert table(data)["logits@END"] == ["94", "63", "64", "83"]
    assert table(data, "role")["0.mlp_out@END"] == ["recomputed"] * 4
    frozen = heads(made.model) + mlps(made.model)
    edges = four_passes(made.model, made.prompts["x_new"], **ends, frozen=frozen)
    assert table(edges)["0.mlp_out@END"] == ["p = 5", "p = 1", "p = 1", "p = 1"]
    assert table(edges)["logits@END"] == ["94", "63", "64", "73"]
    roles = ["recomputed", "stored", "frozen", "recomputed"]
    assert table(edges, "role")["0.mlp_out@END"] == roles


def test_the_ioi_machine_by_hand():
    model, pair, ends = machine()
    data = four_passes(model, pair, **ends)
    carol_daniel = "say: 2 Carol\n+ 2 Daniel"
    assert table(data) == {
        "0.0.z@S2": ["seen: none", "seen: Brian", "seen: none", "seen: Brian"],
        "1.0.v@S2": ["seen: none", "seen: Brian", "seen: none", "seen: none"],
        "1.0.z@END": ["inhibit: none", "inhibit: Brian", "inhibit: Brian", "inhibit: none"],
        "2.0.z@END": [carol_daniel, "say: 4 Anna", "say: 4 Anna", "say: 2 Anna\n+ 2 Brian"],
        "2.1.z@END": ["say: Carol\n+ Daniel", *["say: 2 Anna"] * 2, "say: Anna\n+ Brian"],
        "logits@END": ["0", "6", "6", "0"],
    }
    assert data.positions == ["S2", "END"]
    assert [one.word("S2") for one in data.passes] == [" Emma", " Brian", " Brian", " Brian"]
    head = Node.parse("1.0@END")
    assert data.inputs(head) == [Node.parse("1.0.v@S2")]
    looks = [[at for at in data.positions if one.looks(head, at)] for one in data.passes]
    assert looks == [["S2"], ["S2"], [], ["S2"]]  # in C it is frozen: it reads nothing
    changed = {key for key, value in streams(data).items() if value and key[0] in "CD"}
    above = {("C", stage(n), "S2") for n in data.nodes if stage(n) > (0, 2)}
    assert changed == above | {("D", stage(n), "END") for n in data.nodes if stage(n) > (1, 2)}


def test_queries_and_keys_in_words():
    ends = {"senders": ["1.0@END"], "receivers": ["2.0.q@END"]}
    texts = table(four_passes(ABC.model, PAIR, **ends, nodes=["2.0.k@IO", "embed@S2"]))
    assert texts["2.0.q@END"] == ["inhibit: none", "inhibit: Brian", *["inhibit: none"] * 2]
    assert texts["2.0.k@IO"] == ["name: Carol", *["name: Anna"] * 3]
    assert texts["embed@S2"] == ["name: Emma", *["name: Brian"] * 3]
    keys = machine_of("keys")
    found = run(keys.model, PAIR.orig, reads=["1.0.k@S2", "1.0.q@END"])
    words = {str(node): in_words(keys.design, node, value[0]) for node, value in found.items()}
    assert words == {"1.0.k@S2": "seen = 1", "1.0.q@END": "end = 1"}
    norm = machine_of("norm")  # 2.0 looks at Anna with 3/4
    found = run(norm.model, PAIR.orig, reads=["2.0@END"])["2.0@END"]
    assert in_words(norm.design, Node.parse("2.0@END"), found[0]) == "say: 3 Anna\n+ Brian"


# What the nodes at a place in a layer read, as the oracle calls it.
PLACES = {1: "resid_pre", 2: "resid_pre", 3: "resid_mid", 4: "resid_mid", 6: "resid_post"}
QUESTIONS = {
    "key": (["0.1@S2", "0.mlp_out@S2"], ["2.0.k@S2"], False),
    "two": (["0.2@END", "embed@END"], ["2.1.q@END", "1.3.v@END"], True),
    "end": (["1.0@END"], ["2.resid_post@END"], False),
    "middle": (["0.0@S2"], ["1.resid_post@S2"], False),
    "MLP": (["0.0@S2", "1.1@END"], ["1.mlp_in@S2", "2.mlp_in@END"], False),
    "below": (["0.0@S2"], ["0.resid_pre@S2", "2.resid_pre@S2"], False),
    "logits": (["2.2@END"], ["logits@END"], False),
    "shared": (["0.3@S1"], ["2.kv0.v@S1"], True),
}
ALSO = ["embed@END", "0.1@S2", "1.2@END", "1.mlp_out@S2", "1.mlp_out@END", "2.0.q@END", "2.1@END"]


@pytest.mark.parametrize("swapped", [False, True], ids=["noising", "denoising"])
@pytest.mark.parametrize("case", QUESTIONS)
def test_every_value_and_stream_agrees_with_the_oracle(tiny: Tiny, case: str, swapped: bool):
    senders, receivers, edges = QUESTIONS[case]
    pair = (tiny.prompts.swapped() if swapped else tiny.prompts)[1:2]
    frozen = heads(tiny.model) + (mlps(tiny.model) if edges else [])
    ends = {"senders": senders, "receivers": receivers, "nodes": ALSO, "frozen": frozen}
    data = four_passes(tiny.model, pair, **ends)
    sent, received, cold = (
        [as_oracle(Node.parse(str(n)), pair.orig) for n in nodes]
        for nodes in (senders, receivers, frozen)
    )
    a = oracle.forward(tiny.weights, pair.new.ids)
    b = oracle.forward(tiny.weights, pair.orig.ids)
    edits = oracle.edits_from(b, cold) + oracle.edits_from(a, sent)
    c = oracle.forward(tiny.weights, pair.orig.ids, edits)
    d = oracle.forward(tiny.weights, pair.orig.ids, oracle.edits_from(c, received))
    before, moved = data.passes[1], streams(data)
    for one, trace in zip(data.passes, (a, b, c, d), strict=True):
        for node in data.nodes:
            kind, layer, head, at = as_oracle(node, pair.orig)
            value = trace[kind, layer, head][0, at[0]]
            if node.kind == "logits":
                value = logit_diff(value[None], pair)[0]
            found = one.value(node)
            assert (found - value).abs().max() < EXACT, (one.name, str(node))
            assert one.differs(node) == bool((found - before.value(node)).abs().max() > EXACT)
        for (name, (layer, place), at), changed in moved.items():
            read = PLACES.get(place)
            if one.name == name and read:
                key = (read, min(layer, 2), None)
                index = pair.orig.at(at)[0]
                size = (trace[key][0, index] - b[key][0, index]).abs().max()
                assert changed == bool(size > EXACT), (name, layer, place, at)
    del ends["nodes"]
    logits = path_patch(tiny.model, pair, **ends)
    assert (data.passes[3].value(LOGITS) - logit_diff(logits, pair)[0]).abs() < EXACT
    assert data.passes[3].differs(LOGITS)


def test_a_node_under_another_name_has_the_same_role_and_value(llama: Tiny):
    pair = llama.prompts[:1]
    s2 = int(pair.orig.at("S2"))
    ends = {"senders": [f"0.1@{s2}"], "receivers": ["2.kv0.k@S2"]}
    data = four_passes(llama.model, pair, **ends, nodes=["0.1@S2", "2.1.k@S2", "2.3.k@S2"])
    for one, other in ((f"0.1@{s2}", "0.1@S2"), ("2.kv0.k@S2", "2.1.k@S2")):
        x, y = Node.parse(one), Node.parse(other)
        for found in data.passes:
            assert (found.role(x), found.differs(x)) == (found.role(y), found.differs(y))
            assert torch.equal(found.value(x), found.value(y))
    assert data.passes[2].role(Node.parse("0.1@S2")) == "patched"
    assert data.passes[3].role(Node.parse("2.3.k@S2")) == "recomputed"  # head 3 reads kv1


def test_a_receiver_that_is_frozen_too_is_stored_as_it_would_have_been(gpt2: Tiny):
    pair, node = gpt2.prompts[:1], Node.parse("2.1.q@END")
    ends = {"senders": ["0.1@END"], "receivers": [node]}
    plain = four_passes(gpt2.model, pair, **ends)
    frozen = four_passes(gpt2.model, pair, **ends, frozen=[*heads(gpt2.model), node])
    for data in (plain, frozen):
        assert data.passes[2].role(node) == "stored"
        assert torch.equal(data.passes[2].value(node), data.passes[3].value(node))
    assert torch.equal(plain.passes[3].value(node), frozen.passes[3].value(node))


def test_inputs_are_what_attention_permits(gpt2: Tiny):
    names = ["2.1.q@S2", "2.1.k@S1", "2.1.v@END", "2.2.k@S2", "2.1@END", "2.1@S2", "1.1.q@S2"]
    ends = {"senders": ["0.0@S2"], "receivers": ["2.1.k@S2"]}
    data = four_passes(gpt2.model, gpt2.prompts[:1], **ends, nodes=names)
    at_end, at_s2 = (set(map(str, data.inputs(Node.parse(n)))) for n in ("2.1@END", "2.1@S2"))
    assert at_end == {"2.1.k@S1", "2.1.k@S2", "2.1.v@END"}  # and not the query of another token
    assert at_s2 == {"2.1.k@S1", "2.1.k@S2", "2.1.q@S2"}  # and nothing from the right


def test_percentages_of_a_model_that_was_not_written_by_hand(gpt2: Tiny):
    pair = gpt2.prompts[:1]
    ends = {"senders": ["0.1@END"], "receivers": ["2.1.q@END"]}
    data = four_passes(gpt2.model, pair, **ends)
    node = Node.parse("0.1@END")
    a, b = (run(gpt2.model, t, reads=[node])[node] for t in (pair.new, pair.orig))
    percent = f"{float(100 * (a - b).norm() / b.norm()):.1f} %"
    assert table(data)["0.1.z@END"] == [percent, "0.0 %", percent, "0.0 %"]
    assert table(data)["logits@END"][1] == f"{data.passes[1].value(LOGITS):+.2f}"
    own = table(data, "text", lambda node, value, base: f"{len(base.shape)}")
    assert own == {"0.1.z@END": ["1"] * 4, "2.1.q@END": ["1"] * 4, "logits@END": ["0"] * 4}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"senders": ["0.1"]}, "cannot draw 0.1.z: a diagram shows nodes with a position"),
        ({"nodes": ["0.attn_out@END"]}, "cannot draw 0.attn_out@END"),
        ({"senders": ["1.0.q@END"]}, "cannot be a sender"),
        ({"receivers": []}, "at least one receiver"),
        ({"nodes": ["9.0@END"]}, "layer 9 of node 9.0.z@END is out of range"),
        ({"nodes": ["0.0@S9"]}, "no position 'S9'"),
    ],
)
def test_refuses(changes, words):
    ends = {"senders": ["0.0@S2"], "receivers": ["1.0.v@S2"], **changes}
    with pytest.raises(PathPatchError, match=words):
        four_passes(ABC.model, PAIR, **ends)


def test_refuses_several_pairs():
    with pytest.raises(PathPatchError, match=r"shows one pair, got 224; pick one: prompts\[:1\]"):
        pass_diagram(ABC.model, ABC.prompts["abc"], senders=["0.0@S2"], receivers=["1.0.v@S2"])


# Ink -------------------------------------------------------------------------------------------

TITLES = {"z": "head", "q": "query", "v": "value", "mlp_out": "MLP", "logits": "logit diff."}
QUERIES = {"senders": ["1.0@END"], "receivers": ["2.0.q@END", "2.1.q@END"], "nodes": ["2.0@END"]}
WIDE = {"senders": ["0.0@S2"], "receivers": ["1.0.v@S2"], "nodes": ["1.0@END"]}
FIGURES = [machine, toy_head, lambda: (ABC.model, PAIR, QUERIES), lambda: (ABC.model, PAIR, WIDE)]


@pytest.fixture(params=FIGURES, scope="module")
def drawn(request):
    model, pair, ends = request.param()
    figure, data = pass_diagram(model, pair, **ends), four_passes(model, pair, **ends)
    return figure, data, dict(zip("ABCD", figure.axes, strict=True))


def boxes(axes):
    """The boxes, each with its texts, from the lowest."""
    for box in [p for p in axes.patches if isinstance(p, FancyBboxPatch)]:
        frame = box.get_window_extent()
        yield box, [t for t in axes.texts if frame.contains(*frame_center(t, axes))]


def frame_center(text, axes):
    return axes.transData.transform(text.get_position())


def test_boxes_show_what_the_data_says(drawn):
    figure, data, panels = drawn
    figure.canvas.draw()
    for one in data.passes:
        found = list(boxes(panels[one.name]))
        assert len(found) == len(data.nodes) + len(data.positions)
        for _, (words,) in found[: len(data.positions)]:
            at, word = words.get_text().split(": ")
            assert word == one.word(at if at in data.positions else int(at)).strip()
        for node, (box, texts) in zip(data.nodes, found[len(data.positions) :], strict=True):
            title, role, *values = [t.get_text() for t in texts]
            number = "" if node.layer is None else f" {node.layer}.{node.head}"
            assert title == TITLES[node.kind] + number
            assert "\n".join(values) == one.text(node)
            origin = {"C frozen": " (B)", "C patched": " (A)", "D patched": " (C)"}
            assert role == one.role(node) + origin.get(f"{one.name} {one.role(node)}", "")
            weight = "bold" if one.differs(node) else "normal"
            assert {t.get_weight() for t in texts[2:]} == {weight}
            red = node in data.senders and one.name in "AC"
            yellow = node in data.receivers and one.name in "CD"
            cold = FROZEN if one.role(node) == "frozen" else WHITE
            style = SENDER if red else RECEIVER if yellow else cold
            assert to_hex(box.get_facecolor()) == to_hex(style["fc"])
            assert to_hex(box.get_edgecolor()) == to_hex(style["ec"])
            assert bool(box.get_hatch()) == one.from_new(node)


def thick(axes):
    """The lines and arrows that carry a change."""
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    return [line for line in [*axes.lines, *arrows] if line.get_linewidth() > 2]


def test_thick_lines_are_changes(drawn):
    _, data, panels = drawn
    assert not thick(panels["B"])
    for one in [one for one in data.passes if one.name != "B"]:
        moved = [n for n in data.nodes if n.kind == "z" and one.differs(n)]
        found = thick(panels[one.name])
        assert bool(found) and len(found) >= len(moved)


def test_the_stored_value_is_handed_from_c_to_d(drawn):
    figure, data, panels = drawn
    handed = [artist for artist in figure.artists if isinstance(artist, ConnectionPatch)]
    assert len(handed) == len(data.receivers)
    c, d = (panels[name].get_window_extent() for name in "CD")
    for arrow in handed:
        assert c.contains(*arrow.coords1.transform(arrow.xy1))
        assert d.contains(*arrow.coords2.transform(arrow.xy2))
        assert arrow.get_zorder() < 0  # behind the boxes


def test_texts_are_large_enough_and_inside_their_boxes(drawn):
    figure, _, panels = drawn
    figure.canvas.draw()
    texts = [*figure.legends[0].get_texts(), *(t for axes in figure.axes for t in axes.texts)]
    assert all(t.get_size() >= 8 for t in texts)
    legend, lowest = figure.legends[0].get_window_extent(), panels["D"].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width and legend.y1 < lowest.y0 + 1
    assert figure.get_size_inches()[0] == 7.5
    for axes in panels.values():
        for box, texts in boxes(axes):
            frame = box.get_window_extent()
            for text in texts:
                words = text.get_window_extent()
                assert frame.x0 < words.x0 and words.x1 < frame.x1, text.get_text()


def test_files_are_the_same_every_time(tmp_path):
    model, pair, ends = toy_head()
    for name in ("one.svg", "two.svg", "one.png"):
        save_figure(pass_diagram(model, pair, **ends), tmp_path / name)
    svg = (tmp_path / "one.svg").read_text()
    assert svg == (tmp_path / "two.svg").read_text()
    assert "<path" in svg and "<image" not in svg and "dc:date" not in svg
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
