"""One forward pass: reads, writes, and every way to be refused. The oracle knows the values."""

import numpy as np
import oracle
import pytest
import torch
from conftest import Tiny, as_oracle, ends
from exam import hooks_on

from pathpatch import LOGITS, Node, PathPatchError, activation_patch, run, tiny_model
from pathpatch.nodes import as_nodes

EXACT = 1e-10
READS = (
    "embed 0.resid_pre 1.resid_pre 2.resid_post 1.attn_out 1.mlp_out 2.3.z 2.3.q 2.3.k 2.3.v "
    "2.3.pattern logits"
).split()


@pytest.mark.parametrize("name", READS)
def test_reads_what_the_oracle_computes(tiny: Tiny, name: str):
    tokens = tiny.prompts.orig
    node = Node.parse(name)
    found = run(tiny.model, tokens, reads=[node])[node]
    expected = oracle.forward(tiny.weights, tokens.ids)[node.kind, node.layer, node.head]
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < EXACT
    label = Node.parse(f"{name}@S2")
    assert torch.equal(run(tiny.model, tokens, reads=[label])[label], ends_at(found, tokens, "S2"))


def ends_at(values: torch.Tensor, tokens, label: str) -> torch.Tensor:
    return values[torch.arange(len(tokens)), tokens.at(label)]


WRITES = (
    "embed@S2 0.resid_pre@S1 1.resid_pre@S2 2.resid_post@END 0.attn_out@S2 1.mlp_out@END 1.3.z@END "
    "1.3.q@END 1.2.k@S2 1.2.v@S2 1.kv1.k@S2 1.kv0.v@S2 1.3.pattern embed 1.resid_pre 1.attn_out "
    "1.mlp_out 1.3.z 1.3.q 1.2.k 1.2.v"
).split()


@pytest.mark.parametrize("name", WRITES)
def test_writes_what_the_oracle_writes_and_it_matters(tiny: Tiny, name: str):
    tokens, x_new = tiny.prompts.orig, tiny.prompts.new
    found = activation_patch(tiny.model, tiny.prompts, nodes=[name])
    node = as_oracle(Node.parse(name), tokens)
    expected = oracle.activation_patch(tiny.weights, tokens.ids, x_new.ids, [node])
    assert (found - ends(expected, tokens)).abs().max() < EXACT
    before = run(tiny.model, tokens, reads=[LOGITS])[LOGITS]
    assert (found - before).abs().max() > 1e-3


def test_several_writes_at_once(tiny: Tiny):
    names = ["0.1@S2", "1.2.q@END", "1.mlp_out@END"]
    tokens, x_new = tiny.prompts.orig, tiny.prompts.new
    found = activation_patch(tiny.model, tiny.prompts, nodes=names)
    nodes = [as_oracle(node, tokens) for node in as_nodes(names)]
    expected = oracle.activation_patch(tiny.weights, tokens.ids, x_new.ids, nodes)
    assert (found - ends(expected, tokens)).abs().max() < EXACT


def test_earlier_positions_and_layers_stay_untouched(tiny: Tiny):
    tokens = tiny.prompts.orig
    probes = ["0.mlp_out", "1.resid_pre", "2.resid_post"]
    before = run(tiny.model, tokens, reads=probes)
    noise = torch.randn_like(before["1.resid_pre"][:, 0])
    after = run(tiny.model, tokens, reads=probes, writes={Node.parse("1.mlp_out@S2"): noise})
    assert torch.equal(before["0.mlp_out"], after["0.mlp_out"])
    assert torch.equal(before["1.resid_pre"], after["1.resid_pre"])
    for row, s2 in enumerate(tokens.at("S2").tolist()):
        moved = (before["2.resid_post"] - after["2.resid_post"])[row].abs().amax(-1)
        assert moved[:s2].max() < EXACT < moved[s2]


def test_reads_come_before_writes_and_are_copies(tiny: Tiny):
    tokens, node = tiny.prompts.orig, Node.parse("1.2.q@END")
    plain = run(tiny.model, tokens, reads=[node])
    both = run(tiny.model, tokens, reads=[node], writes={node: plain[node] + 1})
    assert torch.equal(both[node], plain[node])


def test_the_value_written_is_not_changed(tiny: Tiny):
    tokens, node = tiny.prompts.orig, Node.parse("0.mlp_out")
    value = run(tiny.model, tokens, reads=[node])[node]
    kept = value.clone()
    run(
        tiny.model,
        tokens,
        reads=[LOGITS],
        writes={node: value, Node.parse("0.mlp_out@END"): value[:, 0]},
    )
    assert torch.equal(value, kept)


def test_a_position_is_cut_out_of_all_positions(tiny: Tiny):
    whole = run(tiny.model, tiny.prompts.orig, reads=["1.2.q"])
    part = run(tiny.model, tiny.prompts.orig, reads=["1.2.q@S2", "1.2.q@3"])
    assert torch.equal(whole["1.2.q@S2"], part["1.2.q@S2"])
    assert torch.equal(whole["1.2.q@3"], part["1.2.q@3"])


def test_refuses_a_node_that_was_not_read(tiny: Tiny):
    found = run(tiny.model, tiny.prompts.orig, reads=["1.2.q@S2"])
    with pytest.raises(PathPatchError, match=r"did not read 1\.2\.q@END; use run"):
        found["1.2.q@END"]


def test_refuses_training_mode_and_leaves_it(tiny: Tiny):
    tiny.model.train()
    try:
        with pytest.raises(PathPatchError, match=r"training mode .* call model\.eval\(\)"):
            run(tiny.model, tiny.prompts.orig, reads=[LOGITS])
        assert tiny.model.training
    finally:
        tiny.model.eval()


def test_refuses_a_wrong_shape_and_leaves_no_hook(tiny: Tiny):
    wrong = {Node.parse("1.2.q@END"): torch.zeros(1, 3, dtype=torch.float64)}
    with pytest.raises(PathPatchError, match=r"value for 1\.2\.q@END has shape \[1, 3\], expected"):
        run(tiny.model, tiny.prompts.orig, reads=[LOGITS], writes=wrong)
    assert not hooks_on(tiny.model)


def test_writes_are_named_as_reads_are(tiny: Tiny):
    tokens, nodes = (
        tiny.prompts.orig,
        [Node.parse(name) for name in ("0.1@END", "1.mlp_out", "0.2")],
    )
    values = run(tiny.model, tiny.prompts.new, reads=nodes)
    right = run(tiny.model, tokens, reads=[LOGITS], writes=values)[LOGITS]
    mixed = {"0.1@END": values[nodes[0]], nodes[1]: values[nodes[1]], "0.2.z": values[nodes[2]]}
    found = run(tiny.model, tokens, reads=["logits@END"], writes=mixed)[LOGITS]
    torch.testing.assert_close(found, right, rtol=0, atol=0)
    zero = torch.zeros_like(values[nodes[0]])
    joined = run(tiny.model, tokens, reads=[LOGITS], writes={"0.1@END+1.0@END": zero})[LOGITS]
    each = run(tiny.model, tokens, reads=[LOGITS], writes={"0.1@END": zero, "1.0@END": zero})
    torch.testing.assert_close(joined, each[LOGITS], rtol=0, atol=0)
    assert not torch.equal(joined, right)


def test_a_later_write_wins_however_it_is_named(tiny: Tiny):
    tokens, node = tiny.prompts.orig, Node.parse("0.1@END")
    b, a = (run(tiny.model, x, reads=[node])[node] for x in (tokens, tiny.prompts.new))
    plain = run(tiny.model, tokens, reads=[LOGITS])[LOGITS]
    last = run(tiny.model, tokens, reads=[LOGITS], writes={"0.1.z@END": a, node: b})[LOGITS]
    torch.testing.assert_close(last, plain, rtol=0, atol=0)
    first = run(tiny.model, tokens, reads=[LOGITS], writes={node: b, "0.1.z@END": a})[LOGITS]
    assert not torch.equal(first, plain)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("value", [np.zeros((6, 8)), None, "0", 3, lambda x: None, lambda x: 0])
def test_refuses_a_value_that_is_no_tensor(tiny: Tiny, value):
    with pytest.raises(
        PathPatchError, match=r"value for 0\.1\.z@END has the type .*, expected a t"
    ):
        run(tiny.model, tiny.prompts.orig, reads=[LOGITS], writes={"0.1@END": value})


def test_refuses_values_that_are_not_numbers(tiny: Tiny):
    node = Node.parse("1.2.q@END")
    nan = run(tiny.model, tiny.prompts.orig, reads=[node])[node] * torch.nan
    with pytest.raises(
        PathPatchError, match="the run gave values at logits@END that are not finite"
    ):
        run(tiny.model, tiny.prompts.orig, reads=[LOGITS], writes={node: nan})


def test_a_hook_that_never_fires_is_an_error(tiny: Tiny, monkeypatch):
    def forget(ids, fwd_hooks):
        return torch.zeros(*ids.shape, tiny.model.cfg.d_vocab, dtype=torch.float64)

    monkeypatch.setattr(tiny.model, "run_with_hooks", forget)
    with pytest.raises(PathPatchError, match="these hooks never fired"):
        run(tiny.model, tiny.prompts.orig, reads=["1.2.z"])


@pytest.mark.parametrize("name", ["1.2.z", "1.2.z@S2", "1.kv1.v", "2.1.pattern@END", "embed"])
def test_a_write_may_be_a_function_of_what_the_pass_computed(tiny: Tiny, name: str):
    tokens, node = tiny.prompts.orig, Node.parse(name)
    before = run(tiny.model, tokens, reads=[node])[node]
    seen = []

    def halve(computed: torch.Tensor) -> torch.Tensor:
        seen.append(computed.clone())
        return computed / 2

    found = run(tiny.model, tokens, reads=[LOGITS], writes={node: halve})[LOGITS]
    expected = run(tiny.model, tokens, reads=[LOGITS], writes={node: before / 2})[LOGITS]
    assert (found - expected).abs().max() < EXACT
    assert all((value - before).abs().max() < EXACT for value in seen) and seen
    with pytest.raises(PathPatchError, match="the value for"):
        run(tiny.model, tokens, writes={node: lambda computed: computed[1:]})


HOOKS = [
    f"register_module_{kind}_hook"
    for kind in ("forward", "forward_pre", "full_backward", "full_backward_pre")
]


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_on_all_modules_is_somebody_elses(gpt2: Tiny, name: str):
    handle = getattr(torch.nn.modules.module, name)(lambda *_: None)
    try:
        with pytest.raises(PathPatchError, match="somebody else's hook is on the model"):
            run(gpt2.model, gpt2.prompts.orig, reads=[LOGITS])
        with pytest.raises(PathPatchError, match="there are hooks on this GPT2LMHeadModel"):
            tiny_model("gpt2")
    finally:
        handle.remove()
    run(gpt2.model, gpt2.prompts.orig, reads=[LOGITS])


@pytest.mark.parametrize("name", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_a_hook_on_the_way_back_is_somebody_elses(gpt2: Tiny, name: str):
    handle = getattr(gpt2.model.original_model.lm_head, name)(lambda *_: None)
    try:
        with pytest.raises(PathPatchError, match="somebody else's hook is on the model"):
            run(gpt2.model, gpt2.prompts.orig, reads=[LOGITS])
    finally:
        handle.remove()
