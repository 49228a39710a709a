"""MLPs and the stream below a layer as receivers: what must be equal, and what must be refused."""

import copy

import numpy as np
import pytest
import torch
from conftest import Tiny
from test_fuzz import Shape, native_shape, native_weights
from test_trust import HEAD, SIZES, WORDS, asked, random_model
from transformers import GPTJConfig, GPTJForCausalLM, LlamaConfig, LlamaForCausalLM

from pathpatch import (
    LOGITS,
    Node,
    PathPatchError,
    Prompts,
    SweepOptions,
    activation_patch,
    activation_sweep,
    edge_attribution,
    heads,
    mlps,
    path_patch,
    path_sweep,
    run,
)
from pathpatch.models.load import native, wrap
from pathpatch.models.tiny import tiny_tokenizer
from pathpatch.nodes import FROZEN, Model

EXACT = 1e-10
QUIET = SweepOptions(quiet=True)
FROZEN_SETS = pytest.mark.parametrize("frozen", FROZEN)


@FROZEN_SETS
@pytest.mark.parametrize("head", ["0.1", "1.0@END", "2.3@S2"])
def test_a_head_into_the_mlp_of_its_layer_is_what_the_head_makes_of_that_mlp(
    tiny: Tiny, head: str, frozen: str
):
    """Nothing lies between the two: its MLP writes what it writes when the head is patched."""
    model, prompts, layer = tiny.model, tiny.prompts, Node.parse(head).layer
    asked = {"senders": [head], "receivers": [f"{layer}.mlp_in"], "frozen": FROZEN[frozen](model)}
    sent = run(model, prompts.new, reads=[head])
    made = run(model, prompts.orig, reads=[f"{layer}.mlp_out"], writes=sent)
    expected = run(model, prompts.orig, reads=[LOGITS], writes=made)[LOGITS]
    found = path_patch(model, prompts, **asked)
    assert (found - expected).abs().max() < EXACT
    total = activation_patch(model, prompts, nodes=[head])
    if head != "2.3@S2":  # in the last layer S2 is seen by nobody
        assert (found - total).abs().max() > 1e-3


@FROZEN_SETS
def test_the_stream_below_a_layer_is_the_stream_above_the_one_before(tiny: Tiny, frozen: str):
    senders = ["0.1@END", "embed@S2", "0.mlp_out", "1.2", "0.2@S2+1.mlp_out@END"]
    ends = {"senders": senders, "frozen": FROZEN[frozen](tiny.model)}
    for engine in ("fast", "literal"):
        ends["options"] = SweepOptions(engine, quiet=True)
        for below, above in (
            ("1.resid_pre", "0.resid_post"),
            ("2.resid_pre@S2", "1.resid_post@S2"),
            ("2.resid_pre@END", "1.resid_post@END"),
        ):
            one, other = (
                path_sweep(tiny.model, tiny.prompts, receivers=[node], **ends)
                for node in (below, above)
            )
            assert np.abs(one.patched - other.patched).max() < EXACT
            assert np.abs(one.change).max() > 1e-3


def test_what_is_written_at_the_input_of_an_mlp_nothing_else_reads(tiny: Tiny):
    """The trap: a hook at resid_mid, or one that writes in place, reaches the residual stream."""
    model, prompts, around = tiny.model, tiny.prompts, ["1.resid_pre", "1.attn_out", "1.mlp_out"]
    reads = [*around, "1.resid_post", "1.mlp_in", "1.mlp_in@S2"]
    plain = run(model, prompts.orig, reads=reads)
    loud = {Node.parse("1.mlp_in@END"): plain["1.mlp_in@END"].flip(-1)}
    found = run(model, prompts.orig, reads=reads, writes=loud)
    for one in (plain, found):
        parts = torch.stack([one[name] for name in around]).sum(0)
        assert (one["1.resid_post"] - parts).abs().max() < EXACT
        assert (one["1.mlp_in"] - one["1.resid_pre"] - one["1.attn_out"]).abs().max() < EXACT
    moved = (found["1.mlp_out"] - plain["1.mlp_out"]).abs().amax(-1)  # [batch, pos]
    ends = torch.zeros_like(moved, dtype=torch.bool)
    ends[prompts.orig.index("END")] = True
    assert (moved[ends] > 1e-3).all() and (moved[~ends] == 0).all()


def linear(heads_: int = 3, layers: int = 3) -> tuple[Model, Prompts]:
    """A model without norms that looks everywhere alike and whose MLPs have no bend in reach."""
    shape = Shape("native", layers, heads_, 1, 4, 7, 6, norm=False)
    weights = native_weights(shape)
    for name, weight in weights.items():
        if ".q." in name:
            weight.zero_()
        if "fc_in.bias" in name:
            weight += 1000
    sizes = native_shape(shape) | {"d_vocab": WORDS, "n_ctx": 64}
    generator = torch.Generator().manual_seed(1)
    for name, size in (("tok_embed", (WORDS, 7)), ("pos", (64, 7)), ("head", (WORDS, 7))):
        weights[f"{name}.weight"] = torch.randn(size, generator=generator, dtype=torch.float64)
    return native(sizes, weights, tiny_tokenizer(), "linear", 1), asked()


@pytest.mark.parametrize("sender", ["0.1", "0.mlp_out", "1.0@END", "embed@S2"])
def test_the_edges_of_a_sender_add_up_to_the_whole_where_all_is_linear(sender: str):
    """Each first edge once, whatever follows it: into every value, every MLP and the logits."""
    model, prompts = linear()
    layers = range(model.cfg.n_layers)
    values = [f"{node.layer}.{node.head}.v" for node in heads(model)]
    whole = activation_sweep(model, prompts, nodes=[sender], options=QUIET).change[0]
    for frozen, into in (
        (heads(model) + mlps(model), [*values, *(f"{i}.mlp_in" for i in layers), "logits@END"]),
        (heads(model), [*values, "logits@END"]),  # MLPs belong to the path
    ):
        asked = {"senders": [sender], "frozen": frozen, "options": QUIET}
        edges = [path_sweep(model, prompts, receivers=[to], **asked) for to in into]
        assert {edge.about.engine for edge in edges} == {"fast"}
        assert np.abs(sum(edge.change[0] for edge in edges) - whole).max() < 1e-9
    assert np.abs(whole).max() > 1e-2


def test_estimated_edges_into_mlps_are_exact_where_all_is_linear():
    model, prompts = linear()
    asked = {"senders": [*heads(model, "S2"), *mlps(model), "embed"]}
    for receivers in (["1.mlp_in"], ["0.mlp_in@S2", "2.mlp_in@END"], ["1.mlp_in@S2", "2.1.v@S2"]):
        asked["receivers"] = receivers
        found = edge_attribution(model, prompts, **asked)
        frozen = heads(model) + mlps(model)
        exact = path_sweep(model, prompts, **asked, frozen=frozen, options=QUIET)
        assert np.abs(found.change - exact.change).max() < 1e-9
        assert np.abs(exact.change).max() > 1e-3


def test_a_model_without_mlps_has_no_input_of_one():
    shape = Shape("native", 2, 4, 2, 3, 8, 0)
    model = native(native_shape(shape), native_weights(shape), tiny_tokenizer(), "bare", 2)
    with pytest.raises(PathPatchError, match=r"there is no 1\.mlp_in@END: bare has no MLPs"):
        Node.parse("1.mlp_in@END").check(model)


def test_an_mlp_that_shares_the_norm_of_attention_is_refused():
    """GPT-J has one norm for both; what only its MLP reads has no place there."""
    sizes = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}
    original = random_model(GPTJForCausalLM, GPTJConfig(**sizes, n_positions=64))
    model, words = wrap(original, tiny_tokenizer(), "gptj"), r"there is no 1\.mlp_in@END: Trans"
    ends = {"senders": ["0.1@END"], "receivers": ["1.mlp_in@END"]}
    for ask in (path_patch, path_sweep):
        with pytest.raises(PathPatchError, match=words):
            ask(model, asked(), **ends)
    path_patch(model, asked(), senders=["0.1@END"], receivers=["1.resid_pre@END"])


def test_an_input_that_more_than_the_mlp_reads_is_refused():
    """A block whose skip connection starts above the second norm."""
    original = random_model(LlamaForCausalLM, LlamaConfig(**SIZES, **HEAD))

    def leaks(layer):
        def forward(hidden_states, **more):
            mixed, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **more)
            normed = layer.post_attention_layernorm(hidden_states + mixed)
            return normed + layer.mlp(normed)

        return forward

    sound = wrap(copy.deepcopy(original), tiny_tokenizer(), "sound")
    assert Node("mlp_in", 1).is_in(sound)
    for layer in original.model.layers:
        layer.forward = leaks(layer)
    model = wrap(original, tiny_tokenizer(), "leaks")
    with pytest.raises(PathPatchError, match=r"there is no 1\.mlp_in: TransformerBridge gives lea"):
        run(model, asked().orig, reads=["1.mlp_in"])
