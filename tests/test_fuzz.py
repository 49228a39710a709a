"""Random models, prompts and questions: fast engine, literal form and hook-free oracle agree.

Asks 200 questions; PATHPATCH_FUZZ=2000 in the environment asks for as many.
"""

import os
from dataclasses import dataclass
from functools import cache

import oracle
import torch
from conftest import as_oracle, ends
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pathpatch import Node, Pair, Prompts, Tokens, heads, logit_diff, mlps
from pathpatch.engine.fast import patch_all
from pathpatch.engine.jobs import literal_passes
from pathpatch.engine.spec import Spec
from pathpatch.models.load import native, wrap
from pathpatch.models.tiny import word_tokenizer
from pathpatch.nodes import FROZEN, Model

EXACT = 1e-10
QUESTIONS = int(os.environ.get("PATHPATCH_FUZZ", "200"))
VOCABULARY, LONGEST = 9, 6
LABELS = ("A", "B", "C")


@dataclass(frozen=True)
class Shape:
    """The sizes of a random model. group: how many query heads share keys and values."""

    family: str
    layers: int
    heads: int
    group: int
    d_head: int
    d_model: int
    d_mlp: int  # 0: no MLPs
    norm: bool = True


SHAPES = (
    Shape("gpt2", 1, 1, 1, 6, 6, 5),
    Shape("gpt2", 2, 3, 1, 4, 12, 7),
    Shape("gpt2", 3, 2, 1, 3, 6, 9),
    Shape("gpt2", 4, 2, 1, 4, 8, 3),
    Shape("llama", 1, 2, 2, 4, 6, 5),
    Shape("llama", 2, 2, 1, 2, 8, 6),
    Shape("llama", 2, 6, 3, 4, 12, 7),
    Shape("llama", 3, 4, 2, 6, 12, 4),
    Shape("llama", 4, 3, 3, 2, 6, 9),
    Shape("native", 1, 2, 1, 4, 6, 0, norm=False),
    Shape("native", 2, 4, 2, 3, 8, 0),
    Shape("native", 3, 3, 1, 4, 7, 6),
    Shape("native", 3, 6, 3, 2, 8, 0, norm=False),
)


@cache
def make(shape: Shape) -> tuple[Model, oracle.Weights]:
    """A random model, and its weights as the oracle reads them."""
    tokenizer = word_tokenizer([f" {i}" for i in range(1, VOCABULARY)])
    if shape.family == "native":
        weights = native_weights(shape)
        model = native(native_shape(shape), weights, tokenizer, str(shape), shape.group)
        return model, oracle.read_native(weights, shape.heads, shape.group)
    hf_model = random_hf(shape)
    weights = oracle.read_weights(hf_model)
    return wrap(hf_model, tokenizer, str(shape)), weights


def random_hf(shape: Shape):
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    common = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None}
    if shape.family == "gpt2":
        sizes = {"n_embd": shape.d_model, "n_inner": shape.d_mlp, "n_positions": LONGEST}
        config = GPT2Config(**common, **sizes, n_layer=shape.layers, n_head=shape.heads)
        hf_model = GPT2LMHeadModel(config)
    else:
        sizes = {"hidden_size": shape.d_model, "intermediate_size": shape.d_mlp}
        sizes |= {"num_hidden_layers": shape.layers, "num_attention_heads": shape.heads}
        sizes |= {"num_key_value_heads": shape.heads // shape.group, "head_dim": shape.d_head}
        hf_model = LlamaForCausalLM(LlamaConfig(**common, **sizes, tie_word_embeddings=False))
    generator = torch.Generator().manual_seed(0)
    hf_model = hf_model.double()
    with torch.no_grad():
        for name, weight in hf_model.named_parameters():
            scale = "norm" in name or "ln_" in name
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(scale * name.endswith("weight") + 0.5 * noise)
    return hf_model.eval()


def native_shape(shape: Shape) -> dict:
    return {
        "d_model": shape.d_model,
        "d_head": shape.d_head,
        "n_heads": shape.heads,
        "n_layers": shape.layers,
        "n_ctx": LONGEST,
        "d_vocab": VOCABULARY,
        "d_mlp": shape.d_mlp or 1,
        "act_fn": "relu",
        "attn_only": not shape.d_mlp,
        "normalization_type": "RMS" if shape.norm else None,
        "eps": 0.0,
    }


def native_weights(shape: Shape) -> dict[str, Tensor]:
    generator, width = torch.Generator().manual_seed(0), shape.heads * shape.d_head
    sizes = {
        "tok_embed.weight": (VOCABULARY, shape.d_model),
        "pos.weight": (LONGEST, shape.d_model),
    }
    sizes["head.weight"] = (VOCABULARY, shape.d_model)
    for at in (f"layers.{i}." for i in range(shape.layers)):
        sizes |= {f"{at}attn.{kind}.weight": (width, shape.d_model) for kind in "qkv"}
        sizes |= {f"{at}attn.{kind}.bias": (width,) for kind in "qkv"}
        sizes |= {
            f"{at}attn.o.weight": (shape.d_model, width),
            f"{at}attn.o.bias": (shape.d_model,),
        }
        if shape.d_mlp:
            sizes |= {f"{at}mlp.fc_in.weight": (shape.d_mlp, shape.d_model)}
            sizes |= {
                f"{at}mlp.fc_in.bias": (shape.d_mlp,),
                f"{at}mlp.fc_out.bias": (shape.d_model,),
            }
            sizes |= {f"{at}mlp.fc_out.weight": (shape.d_model, shape.d_mlp)}
        if shape.norm:
            sizes |= {
                f"{at}{norm}.weight": (shape.d_model,)
                for norm in ("ln1", "ln2")[: 1 + bool(shape.d_mlp)]
            }
    if shape.norm:
        sizes["ln_out.weight"] = (shape.d_model,)
    found = {
        name: 0.5 * torch.randn(size, generator=generator, dtype=torch.float64)
        for name, size in sizes.items()
    }
    first = torch.arange(shape.heads) // shape.group * shape.group  # keys and values are shared
    for name in [name for name in found if ".attn.k." in name or ".attn.v." in name]:
        found[name] = found[name].unflatten(0, (shape.heads, -1))[first].flatten(0, 1).contiguous()
    return found


@dataclass(frozen=True)
class Drawn:
    """One to three pairs of 2 to 6 tokens. places: of each label in each; several may be equal."""

    lengths: list[int]
    places: list[list[int]]
    seed: int
    swap: bool

    def prompts(self) -> Prompts:
        n, lengths = len(self.lengths), torch.tensor(self.lengths)
        generator = torch.Generator().manual_seed(self.seed)
        ids = torch.randint(VOCABULARY, (2, n, max(self.lengths)), generator=generator)
        positions = dict(zip(LABELS, torch.tensor(self.places).T % lengths, strict=True))
        positions["END"] = lengths - 1
        sides = [Tokens(side, positions) for side in ids]
        words = torch.randint(VOCABULARY, (2, n), generator=generator)
        pairs = tuple(Pair("", "", "", "") for i in range(n))
        prompts = Prompts(*sides, *words, pairs)
        return prompts.swapped() if self.swap else prompts


@st.composite
def drawn_prompts(draw) -> Drawn:
    lengths = draw(st.lists(st.integers(2, LONGEST), min_size=1, max_size=3))
    place = st.lists(st.integers(0, LONGEST - 1), min_size=len(LABELS), max_size=len(LABELS))
    places = draw(st.lists(place, min_size=len(lengths), max_size=len(lengths)))
    return Drawn(lengths, places, draw(st.integers(0, 999)), draw(st.booleans()))


@st.composite
def questions(draw):
    """A model, prompts, sets of senders, receivers of all kinds, and whether MLPs are frozen."""
    shape, prompts = draw(st.sampled_from(SHAPES)), draw(drawn_prompts())
    at = st.sampled_from([None, "END", *LABELS, *range(min(prompts.lengths))])
    layer, head = st.integers(0, shape.layers - 1), st.integers(0, shape.heads - 1)
    kv, none, no, yes = (
        st.integers(0, shape.heads // shape.group - 1),
        *map(st.just, (None, False, True)),
    )
    mlp = st.builds(Node, st.just("mlp_out"), layer, none, no, at)
    streams = ["resid_pre", "resid_post", *(["mlp_in"] * 2 if shape.d_mlp else [])]
    sender = st.one_of(
        st.builds(Node, st.just("z"), layer, head, no, at),
        st.builds(Node, st.just("embed"), none, none, no, at),
        *([mlp] if shape.d_mlp else []),
    )
    receiver = st.one_of(
        st.builds(Node, st.sampled_from("qkv"), layer, head, no, at),
        st.builds(Node, st.sampled_from("kv"), layer, kv, yes, at),
        st.builds(Node, st.sampled_from(streams), layer, none, no, at),
        st.sampled_from([Node("logits"), Node("logits", at="END")]),
    )
    senders = draw(st.lists(st.lists(sender, min_size=1, max_size=3), min_size=1, max_size=2))
    # The same activations once more, at other positions: often the same places.
    senders = [
        [*nodes, *(Node(n.kind, n.layer, n.head, at=draw(at)) for n in nodes[:2])]
        for nodes in senders
    ]
    receivers = draw(st.lists(receiver, min_size=1, max_size=4))
    return shape, prompts, senders, receivers, draw(st.booleans())


def every_logit(logits: Tensor, prompts: Prompts) -> Tensor:
    """A metric that no logit can hide from."""
    weights = torch.linspace(-1, 2, logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return logits @ weights


@settings(max_examples=QUESTIONS, suppress_health_check=list(HealthCheck))
@given(question=questions(), metric=st.sampled_from([logit_diff, every_logit]))
def test_fast_literal_and_oracle_agree(question, metric):
    shape, drawn, senders, receivers, edges = question
    prompts = drawn.prompts()
    model, weights = make(shape)
    frozen = heads(model) + (mlps(model) if edges else [])
    received = [as_oracle(node, prompts.orig) for node in dict.fromkeys(receivers)]
    expected = [
        ends(
            oracle.path_patch(
                weights,
                prompts.orig.ids,
                prompts.new.ids,
                [as_oracle(node, prompts.orig) for node in nodes],
                received,
                edges,
            ),
            prompts.orig,
        )
        for nodes in senders
    ]
    truth = torch.stack([metric(logits, prompts) for logits in expected])
    spec = Spec.of(
        model, prompts, ["+".join(map(str, nodes)) for nodes in senders], receivers, frozen, metric
    )
    assert spec.frozen_name in FROZEN
    for passes in (patch_all, literal_passes):
        base, parts = passes(model, prompts, spec)
        found = base.repeat(len(senders), 1)  # what no receiver can see changes nothing
        for rows, part in parts:
            found[rows] = part
        assert (found - truth).abs().max() < EXACT * max(1.0, float(truth.abs().max())), passes
