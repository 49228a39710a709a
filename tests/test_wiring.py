"""Circuit diagrams: every edge is there, at its door, and nothing covers anything else."""

from itertools import combinations
from random import Random

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pathpatch import Node, PathPatchError, circuit_diagram
from pathpatch.circuits.circuit import Circuit, Edge
from pathpatch.pictures.wiring import LOWERS, RAISES, SIZE, Wiring


def edge(sender: str, receiver: str, change: float) -> Edge:
    return Edge(sender, receiver, change, change - 0.1, change + 0.1, 100 * change / 6, 0.01)


MACHINE = Circuit(
    [
        edge("2.0.z@END", "logits@END", -4.0),
        edge("2.1.z@END", "logits@END", -2.0),
        edge("2.2.z@END", "logits@END", 2.0),
        edge("1.0.z@END", "2.0.q@END", -4.0),
        edge("1.0.z@END", "2.1.q@END", -2.0),
        edge("0.0.z@S2", "1.0.v@S2", -6.0),
        edge("embed@S1", "2.0.k@S1", -4.0),
        edge("0.mlp_out@S2", "1.0.k@S2", -1.0),
    ]
)


def random_circuit(seed: int) -> Circuit:
    """About 25 heads in ten layers, and 40 edges."""
    random, edges = Random(seed), []
    heads = sorted({(random.choice(range(6, 30, 2)), random.randrange(9)) for _ in range(25)})
    for i, (layer, head) in enumerate(heads):
        above = [other for other in heads[i:] if other[0] > layer]
        for other in random.sample(above, min(len(above), random.choice((1, 2)))):
            receiver = f"{other[0]}.{other[1]}.{random.choice('qkv')}@END"
            change = random.choice((-1, 1)) * random.uniform(0.1, 4)
            edges.append(edge(f"{layer}.{head}.z@END", receiver, change))
        if not above:
            edges.append(edge(f"{layer}.{head}.z@END", "logits@END", -1.0))
    return Circuit(edges)


def frames(figure):
    (axes,) = figure.axes
    patches = [p for p in axes.patches if isinstance(p, FancyBboxPatch)]
    return [p for p in patches if round(p.get_width(), 6) == SIZE[0]]


def test_boxes_doors_and_labels_of_the_machine():
    figure = circuit_diagram(MACHINE)
    (axes,) = figure.axes
    names = [t.get_text() for t in axes.texts]
    heads = {"2.0 @END", "2.1 @END", "2.2 @END", "1.0 @END", "0.0 @S2"}
    boxes = heads | {"embed @S1", "0.mlp_out @S2", "logits"}
    assert boxes <= set(names) and len(frames(figure)) == len(boxes)
    percents = sorted(name for name in names if "%" in name)
    assert percents == sorted(f"{edge.percent:+.0f} %" for edge in MACHINE.edges)
    assert sorted(name for name in names if name in set("qkv")) == ["k", "k", "q", "q", "v"]
    rows = ["tokens", "layer 0", "layer 0", "layer 1", "layer 2"]  # heads, and above them the MLP
    assert [name for name in names if name in rows] == rows
    assert all(t.get_size() >= 8 for t in axes.texts)


def test_lines_say_sign_and_size():
    (axes,) = circuit_diagram(MACHINE).axes
    lines = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(lines) == len(MACHINE.edges) and LOWERS["linestyle"] != RAISES["linestyle"]
    for line, found in zip(lines, MACHINE.edges, strict=True):
        assert line.get_linewidth() == pytest.approx(0.7 + 3.3 * abs(found.change) / 6)
        style = LOWERS if found.change < 0 else RAISES
        assert line.get_linestyle() == style["linestyle"]
        assert to_hex(line.get_edgecolor()) == style["color"]


def test_lines_go_from_the_sender_up_to_the_door_of_the_receiver():
    wiring = Wiring(MACHINE)
    shift = {"q": -0.25, "k": 0.0, "v": 0.25}
    for link, line in zip(wiring.links, wiring.lines(), strict=True):
        (x, y), (x_end, y_end) = wiring.place[link.start], wiring.place[link.stop]
        assert abs(line[0][0] - x) < SIZE[0] / 2 and line[0][1] == pytest.approx(y + SIZE[1] / 2)
        assert line[-1][1] <= y_end - SIZE[1] / 2 + 1e-9
        if link.door:
            assert line[-1][0] == pytest.approx(x_end + shift[link.door])
        assert (np.diff(np.array(line)[:, 1]) >= 0).all()
    ys = {node: y for node, (_, y) in wiring.place.items() if isinstance(node, Node)}
    order = ["embed@S1", "0.0.z@S2", "0.mlp_out@S2", "1.0.z@END", "2.0.z@END", "logits@END"]
    heights = [ys[Node.parse(name)] for name in order]
    assert heights == sorted(set(heights))


def test_a_key_belongs_to_every_box_of_its_head_and_a_query_to_its_own():
    edges = [
        edge("3.1.z@END", "logits@END", -1.0),
        edge("3.1.z@S2", "4.0.v@S2", -1.0),
        edge("4.0.z@END", "logits@END", -1.0),
        edge("1.0.z@S2", "3.1.k@S2", -1.0),
        edge("1.0.z@S2", "3.1.q@S2", -1.0),
        edge("1.0.z@S2", "5.5.v@S2", -1.0),
    ]
    ends = [(str(link.start), str(link.stop), link.door) for link in Wiring(Circuit(edges)).links]
    assert ends == [
        ("3.1.z@END", "logits@END", ""),
        ("3.1.z@S2", "4.0.z@END", "v"),
        ("4.0.z@END", "logits@END", ""),
        ("1.0.z@S2", "3.1.z@END", "k"),
        ("1.0.z@S2", "3.1.z@S2", "k"),
        ("1.0.z@S2", "3.1.z@S2", "q"),
        ("1.0.z@S2", "5.5.z@S2", "v"),
    ]


@pytest.mark.parametrize("circuit", [MACHINE, *map(random_circuit, range(6))])
def test_nothing_covers_anything_else(circuit):
    figure = circuit_diagram(circuit)
    (axes,) = figure.axes
    figure.canvas.draw()
    boxes = [frame.get_window_extent() for frame in frames(figure)]
    labels = [t.get_window_extent() for t in axes.texts if "%" in t.get_text()]
    assert len(labels) >= len(circuit.edges)
    for one, other in combinations([*boxes, *labels], 2):
        assert not one.overlaps(other)
    wiring = Wiring(circuit)
    places = [at for spot, at in wiring.place.items() if isinstance(spot, Node)]
    for line in map(np.array, wiring.lines()):
        for x, y in places:
            inside = (abs(line[:, 0] - x) < SIZE[0] / 2) & (
                abs(line[:, 1] - y) < SIZE[1] / 2 - 0.01
            )
            assert not inside.any()
    low, high = np.array(places).min(0), np.array(places).max(0)
    assert (low > SIZE[0] / 2 + 0.3).any() and high[0] + SIZE[0] / 2 < wiring.width


def test_the_same_circuit_gives_the_same_places():
    assert Wiring(random_circuit(1)).place == Wiring(random_circuit(1)).place


def test_refuses_a_head_without_a_position_and_an_empty_circuit():
    with pytest.raises(PathPatchError, match=r"cannot draw 1\.0\.z"):
        circuit_diagram(Circuit([edge("1.0", "logits@END", -1.0)]))
    with pytest.raises(PathPatchError, match="no edges"):
        circuit_diagram(Circuit([]))
