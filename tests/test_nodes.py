"""Node addresses print and parse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathpatch import Node, PathPatchError, heads, mlps
from pathpatch.nodes import as_nodes, node_set

AT = st.one_of(st.none(), st.integers(0, 99), st.sampled_from(["END", "S1+1", "S2"]))
LAYER = st.integers(0, 40)
NODES = st.one_of(
    st.builds(Node, st.sampled_from(["z", "q", "k", "v", "pattern"]), LAYER, LAYER, at=AT),
    st.builds(Node, st.sampled_from("kv"), LAYER, LAYER, st.just(True), at=AT),
    st.builds(
        Node,
        st.sampled_from(["mlp_in", "mlp_out", "attn_out", "resid_pre", "resid_post"]),
        LAYER,
        at=AT,
    ),
    st.builds(Node, st.sampled_from(["embed", "logits"]), at=AT),
)


@given(NODES)
def test_print_and_parse_are_inverse(node: Node):
    assert Node.parse(str(node)) == node


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("9.6@END", "9.6.z@END"),
        ("9.6", "9.6.z"),
        (" 9.6.q@END ", "9.6.q@END"),
        ("9.6.k@S2", "9.6.k@S2"),
        ("20.kv0.v@S2", "20.kv0.v@S2"),
        ("9.mlp_out@END", "9.mlp_out@END"),
        ("9.attn_out@END", "9.attn_out@END"),
        ("9.resid_pre@3", "9.resid_pre@3"),
        ("11.resid_post@END", "11.resid_post@END"),
        ("logits", "logits"),
        ("10.11.z@S1+1", "10.11.z@S1+1"),
    ],
)
def test_forms(text: str, printed: str):
    assert str(Node.parse(text)) == printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9.6.x@END", "unknown kind 'x' in node '9.6.x@END'; known: "),
        ("9.mlpout", "unknown kind 'mlpout' .*did you mean 'mlp_out'"),
        ("9", "a z node looks like 9.6.z@END"),
        ("", "unknown kind"),
        ("9.q@END", "a q node looks like 9.6.q@END"),
        ("9.6.mlp_out", "a mlp_out node looks like 9.mlp_out@END"),
        ("3.logits", "a logits node looks like logits@END"),
        ("9.kv0.q", "a q node looks like 9.6.q@END"),
        ("9.kv0@END", "a z node looks like 9.6.z@END"),
        ("-1.6.q", "cannot read '-1.6.q' as a node"),
        ("9.6.q@", "cannot read '9.6.q@' as a node"),
    ],
)
def test_refuses(text: str, words: str):
    with pytest.raises(PathPatchError, match=words):
        Node.parse(text)


def test_lists(tiny):
    cfg = tiny.model.cfg
    assert len(heads(tiny.model)) == cfg.n_layers * cfg.n_heads
    assert str(mlps(tiny.model, "END")[0]) == "0.mlp_out@END"
    assert as_nodes(["0.1", Node("z", 0, 1), "0.2"]) == [Node("z", 0, 1), Node("z", 0, 2)]


def test_a_shared_node_means_its_query_heads(llama, gpt2):
    assert Node.parse("0.kv1.v").heads(llama.model) == [3, 4, 5]
    assert Node.parse("0.4.v").heads(llama.model) == [4]
    assert Node.parse("0.kv1.v").heads(gpt2.model) == [1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3.0.q", "layer 3 of node 3.0.q is out of range: tiny-llama has layers 0 to 2"),
        ("0.6.q", "head 6 of node 0.6.q is out of range: tiny-llama has heads 0 to 5"),
        ("0.kv2.v", "key/value head 2 .* has key/value heads 0 to 1"),
    ],
)
def test_out_of_range(llama, text: str, words: str):
    with pytest.raises(PathPatchError, match=words):
        Node.parse(text).check(llama.model)


def test_sets_are_joined_by_plus_and_a_label_may_hold_one():
    """S1+1 is a position of the IOI task."""
    found = node_set("0.1@S1+1+1.mlp_out@S1+1 + embed@S2+logits")
    assert [str(node) for node in found] == [
        "0.1.z@S1+1",
        "1.mlp_out@S1+1",
        "embed@S2",
        "logits",
    ]
    assert node_set(Node("z", 0, 1, at="S1+1")) == [Node("z", 0, 1, at="S1+1")]
