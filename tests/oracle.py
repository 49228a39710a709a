"""A slow, literal reference for activation patching and path patching.

Written from the papers alone, so that the library can be tested against something that shares
none of its code. It reads the weights of a GPT-2 or Llama language model and does the arithmetic
itself, one head at a time; it installs no hooks and never calls the model.

Names: `ids` is the prompt whose run is edited (x_orig), `new_ids` the prompt that supplies the
inserted values (x_new); both are [batch, pos]. A node is `(kind, layer, head, position)`, with None
for a layer or head the kind does not have. A position of None means every position, and a
LongTensor [batch] means one position per prompt.

Node kinds: embed (token embedding, before learned positions are added); q, k (both before the
rotary embedding), v, pattern, z (per query head); kv.k, kv.v (the key or value vector that a group
of query heads shares; "head" is then the key/value head); attn_out and mlp_out (biases included);
mlp_in (the MLP's own copy of resid_mid); resid_pre, resid_mid, resid_post; logits. Under grouped
queries k and v mean the copy that one query head alone reads.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Key = tuple[str, int | None, int | None]  # (kind, layer, head)
Node = tuple[str, int | None, int | None, Tensor | None]  # (kind, layer, head, position)
Edit = tuple[Node, Tensor]  # a node and the tensor [batch, pos, ...] its new values come from
Trace = dict[Key, Tensor]  # every activation of one run, [batch, pos, ...]
Term = tuple[int, Tensor]  # what one component adds to the residual stream, and its layer
Function = Callable[[Tensor], Tensor]

EMBED: Key = ("embed", None, None)
LOGITS: Key = ("logits", None, None)


@dataclass
class Layer:
    """One transformer block. Matrices act on row vectors: output = input @ W + b."""

    attn_norm: Function
    W_Q: Tensor  # [head, d_model, d_head]
    b_Q: Tensor  # [head, d_head]
    W_K: Tensor  # [kv_head, d_model, d_head]
    b_K: Tensor  # [kv_head, d_head]
    W_V: Tensor  # [kv_head, d_model, d_head]
    b_V: Tensor  # [kv_head, d_head]
    W_O: Tensor  # [head, d_head, d_model]
    b_O: Tensor  # [d_model]
    mlp_norm: Function
    mlp: Function


@dataclass
class Weights:
    """A whole model."""

    W_E: Tensor  # [vocab, d_model]
    W_pos: Tensor | None  # [max_pos, d_model], or None when positions are rotary
    rope_theta: float | None  # base of the rotary angles, or None when positions are learned
    layers: list[Layer]
    kv_of_head: list[int]  # which key/value head each query head reads
    final_norm: Function
    W_U: Tensor  # [d_model, vocab]


# ------------------------------------------------------------------------------ reading weights


def layer_norm(gain: Tensor, bias: Tensor, eps: float) -> Function:
    """LayerNorm: subtract the mean, divide by the standard deviation, scale and shift."""

    def apply(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps) * gain + bias

    return apply


def rms_norm(gain: Tensor, eps: float) -> Function:
    """RMSNorm: divide by the root mean square and scale, in the dtype of the input."""
    return lambda x: x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps) * gain


def gelu_mlp(W_in: Tensor, b_in: Tensor, W_out: Tensor, b_out: Tensor) -> Function:
    """GPT-2's MLP, with the tanh approximation of GELU."""

    def apply(x: Tensor) -> Tensor:
        h = x @ W_in + b_in
        gelu = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        return gelu @ W_out + b_out

    return apply


def swiglu_mlp(W_gate: Tensor, W_up: Tensor, W_down: Tensor) -> Function:
    """Llama's MLP: a SiLU gate times a linear map, then down to d_model."""
    return lambda x: ((x @ W_gate) * torch.sigmoid(x @ W_gate) * (x @ W_up)) @ W_down


def heads(W: Tensor, n: int, dim: int = 0) -> Tensor:
    """Cut one dimension of W into n heads and stack them: [n, ...]."""
    return torch.stack(W.chunk(n, dim))


def read_weights(hf_model: Any) -> Weights:
    """Copy the weights of a GPT2LMHeadModel or a LlamaForCausalLM."""
    state = {name: tensor.detach().clone() for name, tensor in hf_model.state_dict().items()}
    if hf_model.config.model_type == "gpt2":
        return read_gpt2(state, hf_model.config)
    if hf_model.config.model_type == "llama":
        return read_llama(state, hf_model.config)
    raise ValueError(f"unknown model type {hf_model.config.model_type!r}")


def read_gpt2(state: dict[str, Tensor], config: Any) -> Weights:
    """GPT-2 stores matrices as [in, out] and q, k, v side by side in one matrix, c_attn."""
    assert config.activation_function == "gelu_new"
    assert config.scale_attn_weights and not config.scale_attn_by_inverse_layer_idx
    n, eps = config.n_head, config.layer_norm_epsilon

    def affine(name: str) -> tuple[Tensor, Tensor]:
        return state[f"transformer.{name}.weight"], state[f"transformer.{name}.bias"]

    def read_layer(at: str) -> Layer:
        W_qkv, b_qkv = affine(at + "attn.c_attn")
        (W_Q, W_K, W_V), (b_Q, b_K, b_V) = W_qkv.chunk(3, dim=1), b_qkv.chunk(3)
        W_O, b_O = affine(at + "attn.c_proj")
        return Layer(
            attn_norm=layer_norm(*affine(at + "ln_1"), eps),
            W_Q=heads(W_Q, n, dim=1),
            b_Q=heads(b_Q, n),
            W_K=heads(W_K, n, dim=1),
            b_K=heads(b_K, n),
            W_V=heads(W_V, n, dim=1),
            b_V=heads(b_V, n),
            W_O=heads(W_O, n),
            b_O=b_O,
            mlp_norm=layer_norm(*affine(at + "ln_2"), eps),
            mlp=gelu_mlp(*affine(at + "mlp.c_fc"), *affine(at + "mlp.c_proj")),
        )

    return Weights(
        W_E=state["transformer.wte.weight"],
        W_pos=state["transformer.wpe.weight"],
        rope_theta=None,
        layers=[read_layer(f"h.{i}.") for i in range(config.n_layer)],
        kv_of_head=list(range(n)),
        final_norm=layer_norm(*affine("ln_f"), eps),
        W_U=state["lm_head.weight"].T,
    )


def read_llama(state: dict[str, Tensor], config: Any) -> Weights:
    """Llama stores matrices as [out, in], has no biases, and may share keys and values."""
    assert config.hidden_act == "silu" and config.rope_parameters["rope_type"] == "default"
    assert not config.attention_bias and not config.mlp_bias
    n, n_kv, eps = config.num_attention_heads, config.num_key_value_heads, config.rms_norm_eps
    zeros = state["model.norm.weight"].new_zeros

    def matrix(name: str) -> Tensor:
        return state[f"model.layers.{name}_proj.weight"].T

    def read_layer(at: str) -> Layer:
        return Layer(
            attn_norm=rms_norm(state[f"model.layers.{at}input_layernorm.weight"], eps),
            W_Q=heads(matrix(at + "self_attn.q"), n, dim=1),
            b_Q=zeros(n, config.head_dim),
            W_K=heads(matrix(at + "self_attn.k"), n_kv, dim=1),
            b_K=zeros(n_kv, config.head_dim),
            W_V=heads(matrix(at + "self_attn.v"), n_kv, dim=1),
            b_V=zeros(n_kv, config.head_dim),
            W_O=heads(matrix(at + "self_attn.o"), n),
            b_O=zeros(config.hidden_size),
            mlp_norm=rms_norm(state[f"model.layers.{at}post_attention_layernorm.weight"], eps),
            mlp=swiglu_mlp(*(matrix(at + f"mlp.{part}") for part in ("gate", "up", "down"))),
        )

    return Weights(
        W_E=state["model.embed_tokens.weight"],
        W_pos=None,
        rope_theta=config.rope_parameters["rope_theta"],
        layers=[read_layer(f"{i}.") for i in range(config.num_hidden_layers)],
        kv_of_head=[head // (n // n_kv) for head in range(n)],  # neighbouring heads share
        final_norm=rms_norm(state["model.norm.weight"], eps),
        W_U=state["lm_head.weight"].T,
    )


def read_native(weights: dict[str, Tensor], n_heads: int, group: int) -> Weights:
    """The weights of a model in TransformerLens's own architecture: [out, in], perhaps no norms.

    Keys and values come as equal copies for every query head of a group; one of them is kept.
    Norms are RMSNorms with epsilon 0, MLPs are ReLU; both may be missing.
    """

    def norm(name: str) -> Function:
        gain = weights.get(f"{name}.weight")
        return (lambda x: x) if gain is None else rms_norm(gain, 0.0)

    def mlp(at: str) -> Function:
        if f"{at}mlp.fc_in.weight" not in weights:
            return torch.zeros_like
        W_in, W_out = (weights[f"{at}mlp.{part}.weight"].T for part in ("fc_in", "fc_out"))
        b_in, b_out = (weights[f"{at}mlp.{part}.bias"] for part in ("fc_in", "fc_out"))
        return lambda x: (x @ W_in + b_in).clamp(min=0) @ W_out + b_out

    def inputs(name: str, step: int) -> tuple[Tensor, Tensor]:
        W = heads(weights[f"{name}.weight"].T, n_heads, dim=1)
        b = heads(weights[f"{name}.bias"], n_heads)
        for i in range(n_heads):
            first = i - i % step
            assert torch.equal(W[i], W[first]) and torch.equal(b[i], b[first])
        return W[::step], b[::step]

    def read_layer(at: str) -> Layer:
        (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = (
            inputs(f"{at}attn.{kind}", step)
            for kind, step in (("q", 1), ("k", group), ("v", group))
        )
        W_O = heads(weights[f"{at}attn.o.weight"].T, n_heads)
        b_O = weights[f"{at}attn.o.bias"]
        norms = norm(f"{at}ln1"), norm(f"{at}ln2")
        return Layer(norms[0], W_Q, b_Q, W_K, b_K, W_V, b_V, W_O, b_O, norms[1], mlp(at))

    n_layers = len([name for name in weights if name.endswith("attn.o.bias")])
    return Weights(
        W_E=weights["tok_embed.weight"],
        W_pos=weights["pos.weight"],
        rope_theta=None,
        layers=[read_layer(f"layers.{i}.") for i in range(n_layers)],
        kv_of_head=[head // group for head in range(n_heads)],
        final_norm=norm("ln_out"),
        W_U=weights["head.weight"].T,
    )


# ---------------------------------------------------------------------------- the plain forward


def rotate(x: Tensor, theta: float) -> Tensor:
    """Rotary embedding of one head's queries or keys, [batch, pos, d_head], rotate-half form.

    Dimension i is paired with dimension i + d_head / 2, and the pair turns by the angle
    pos * theta ** (-2i / d_head). Frequencies, angles, cosines and sines are computed in float32
    whatever the dtype of x, because the Hugging Face implementation does so and the result has
    to match it beyond float32 precision.
    """
    n_pos, d_head = x.shape[1:]
    frequency = 1.0 / (theta ** (torch.arange(0, d_head, 2, dtype=torch.float32) / d_head))
    angle = torch.arange(n_pos, dtype=torch.float32)[:, None] * frequency  # [pos, d_head / 2]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def attention_pattern(weights: Weights, q: Tensor, k: Tensor) -> Tensor:
    """Causal softmax attention of one head, [batch, pos, d_head] twice -> [batch, pos, pos]."""
    if weights.rope_theta is not None:
        q, k = rotate(q, weights.rope_theta), rotate(k, weights.rope_theta)
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(diagonal=1)
    return scores.masked_fill(future, -math.inf).softmax(dim=-1)


def project(weights: Weights, kind: str, layer: int, head: int, x: Tensor) -> Tensor:
    """The q, k, v, kv.k or kv.v of one head, from the residual stream x entering its layer."""
    block = weights.layers[layer]
    normed = block.attn_norm(x)
    if kind == "q":
        return normed @ block.W_Q[head] + block.b_Q[head]
    group = head if kind.startswith("kv.") else weights.kv_of_head[head]
    if kind in ("k", "kv.k"):
        return normed @ block.W_K[group] + block.b_K[group]
    if kind in ("v", "kv.v"):
        return normed @ block.W_V[group] + block.b_V[group]
    raise ValueError(f"{kind!r} is not an input of a head")


def overwrite(key: Key, value: Tensor, edits: Iterable[Edit]) -> Tensor:
    """`value` with the edits of this node written into it, at their positions."""
    value = value.clone()
    for (*edited_key, position), source in edits:
        if tuple(edited_key) != key:
            continue
        if position is None:
            value[:] = source
        else:
            rows = torch.arange(len(value))
            value[rows, position] = source[rows, position]
    return value


def forward(weights: Weights, ids: Tensor, edits: Sequence[Edit] = ()) -> Trace:
    """Run the model, overwriting the edited nodes as they are reached; return everything.

    The trace holds, under (kind, layer, head), every node kind of the module docstring and also
    head_out, what one head adds to the residual stream ([batch, pos, d_model]).
    """
    trace: Trace = {}

    def record(kind: str, layer: int | None, head: int | None, value: Tensor) -> Tensor:
        key = (kind, layer, head)
        trace[key] = overwrite(key, value, edits)
        return trace[key]

    x = record("embed", None, None, weights.W_E[ids])
    if weights.W_pos is not None:
        x = x + weights.W_pos[: ids.shape[1]]
    for i, block in enumerate(weights.layers):
        x = record("resid_pre", i, None, x)
        for group in range(len(block.W_K)):
            record("kv.k", i, group, project(weights, "kv.k", i, group, x))
            record("kv.v", i, group, project(weights, "kv.v", i, group, x))
        attn_out = block.b_O.expand_as(x)
        for head, group in enumerate(weights.kv_of_head):
            q = record("q", i, head, project(weights, "q", i, head, x))
            k = record("k", i, head, trace["kv.k", i, group])  # this head's own copy
            v = record("v", i, head, trace["kv.v", i, group])
            pattern = record("pattern", i, head, attention_pattern(weights, q, k))
            z = record("z", i, head, pattern @ v)
            attn_out = attn_out + record("head_out", i, head, z @ block.W_O[head])
        x = record("resid_mid", i, None, x + record("attn_out", i, None, attn_out))
        read = record("mlp_in", i, None, x)
        mlp_out = record("mlp_out", i, None, block.mlp(block.mlp_norm(read)))
        x = record("resid_post", i, None, x + mlp_out)
    record("logits", None, None, weights.final_norm(x) @ weights.W_U)

    missing = {node[:3] for node, _ in edits} - trace.keys()
    if missing:  # a misspelt node must not pass for one without effect
        raise ValueError(f"no such node: {missing}")
    return trace


# ------------------------------------------------------------------------------------- patching


def edits_from(trace: Trace, nodes: Iterable[Node]) -> list[Edit]:
    """Edits that set each node to its value in another run."""
    return [(node, trace[node[:3]]) for node in nodes]


def activation_patch(
    weights: Weights, ids: Tensor, new_ids: Tensor, nodes: Sequence[Node]
) -> Tensor:
    """Logits of x_orig with the nodes set to their x_new values, the rest recomputed."""
    new = forward(weights, new_ids)
    return forward(weights, ids, edits_from(new, nodes))[LOGITS]


def path_patch(
    weights: Weights,
    ids: Tensor,
    new_ids: Tensor,
    senders: Sequence[Node],
    receivers: Sequence[Node],
    frozen_mlps: bool,
) -> Tensor:
    """Wang et al. 2022, Algorithm 1: logits [batch, pos, vocab] after path patching.

    Senders are z, mlp_out or embed nodes; receivers are q, k, v, kv.k, kv.v, mlp_in, resid_pre,
    resid_post or logits nodes. `frozen_mlps` says whether MLPs are nodes to freeze like the heads
    (True) or part of the direct path, to recompute (False, as in the paper).
    """
    new = forward(weights, new_ids)  # pass A
    orig = forward(weights, ids)  # pass B
    terms = direct_terms(weights, orig, new, senders, frozen_mlps)  # pass C
    stored = [(receiver, would_be_value(weights, terms, receiver)) for receiver in receivers]
    return forward(weights, ids, stored)[LOGITS]  # pass D


def direct_terms(
    weights: Weights, orig: Trace, new: Trace, senders: Sequence[Node], frozen_mlps: bool
) -> list[Term]:
    """Pass C, the edges: what each component adds to the residual stream, in order.

    Every head adds what it added in x_orig: heads are frozen, so nothing gets through them, and
    receivers cannot influence one another. Senders add what they added in x_new, at their
    positions. An MLP adds its x_orig term if frozen, or else is recomputed from the sum of the
    terms below it, its only inputs.
    """
    if any(kind not in ("z", "mlp_out", "embed") for kind, *_ in senders):
        raise ValueError("a sender is a z, mlp_out or embed node")
    sent = edits_from(new, senders)
    terms: list[Term] = [(-1, overwrite(EMBED, orig[EMBED], sent))]
    if weights.W_pos is not None:
        terms.append((-1, weights.W_pos[: orig[EMBED].shape[1]]))
    for i, block in enumerate(weights.layers):
        for head in range(len(block.W_Q)):
            key: Key = ("z", i, head)
            terms.append((i, overwrite(key, orig[key], sent) @ block.W_O[head]))
        terms.append((i, block.b_O))
        key = ("mlp_out", i, None)
        recomputed = block.mlp(block.mlp_norm(add_up(terms)))
        terms.append((i, overwrite(key, orig[key] if frozen_mlps else recomputed, sent)))
    return terms


def add_up(terms: Sequence[Term]) -> Tensor:
    """The residual stream [batch, pos, d_model] that these terms make."""
    total = terms[0][1]
    for _, term in terms[1:]:
        total = total + term
    return total


def would_be_value(weights: Weights, terms: Sequence[Term], receiver: Node) -> Tensor:
    """Pass C, one receiver: the value it would take given its incoming edges, [batch, pos, ...]."""
    kind, layer, head, _ = receiver
    if kind == "logits":
        return weights.final_norm(add_up(terms)) @ weights.W_U
    assert layer is not None
    if kind == "resid_post":
        return add_up([(source, term) for source, term in terms if source <= layer])
    if kind == "mlp_in":  # the MLP's own term is the last of its layer
        return add_up([(source, term) for source, term in terms if source <= layer][:-1])
    below = [(source, term) for source, term in terms if source < layer]
    if kind == "resid_pre":
        return add_up(below)
    assert head is not None
    return project(weights, kind, layer, head, add_up(below))


def edge_circuit(
    weights: Weights,
    ids: Tensor,
    reference: Trace,
    kept: Callable[[Key, Key], Tensor],
    frozen_mlps: bool,
) -> Tensor:
    """Logits [batch, pos, vocab] when only some edges carry what their sender computes.

    Every input of a head or MLP, and the end of the stream, is a sum over the parts below it; each
    part counts as computed here where `kept(sender, receiver)` [batch, pos] is true, and with its
    reference value (of embed, z and mlp_out) elsewhere. If MLPs are not frozen they are no parts:
    each sum passes through copies of them.
    """
    own: Trace = {EMBED: weights.W_E[ids]}

    def stream(receiver: Key, layer: int, attention: bool = False) -> Tensor:
        def sent(sender: Key) -> Tensor:
            return torch.where(kept(sender, receiver)[..., None], own[sender], reference[sender])

        x = sent(EMBED)
        if weights.W_pos is not None:
            x = x + weights.W_pos[: ids.shape[1]]
        for i, block in enumerate(weights.layers[: layer + 1]):
            if i == layer and not attention:
                break
            for head in range(len(block.W_Q)):
                x = x + sent(("z", i, head)) @ block.W_O[head]
            x = x + block.b_O
            if i < layer:
                x = x + (
                    sent(("mlp_out", i, None)) if frozen_mlps else block.mlp(block.mlp_norm(x))
                )
        return x

    for i, block in enumerate(weights.layers):
        for head in range(len(block.W_Q)):
            q, k, v = (project(weights, c, i, head, stream((c, i, head), i)) for c in "qkv")
            own["z", i, head] = attention_pattern(weights, q, k) @ v
        if frozen_mlps:
            read = stream(("mlp_in", i, None), i, attention=True)
            own["mlp_out", i, None] = block.mlp(block.mlp_norm(read))
    return weights.final_norm(stream(LOGITS, len(weights.layers))) @ weights.W_U


def causal_trace(
    weights: Weights,
    ids: Tensor,
    noise: Tensor,
    subject: range,
    restored: Sequence[tuple[str, int | None, int]],
    severed: Sequence[str] = (),
) -> Tensor:
    """Meng et al. 2022, section 2, for one prompt and one draw of noise: logits [vocab] at the end.

    ids is [pos]; noise [len(subject), d_model] is added to the embeddings of the subject's tokens,
    one after the other. `restored` lists states (kind, layer, token) that get the value they have
    without noise. `severed` kinds (mlp_out, attn_out) are frozen, in every layer and at the tokens
    of the restored states, at the value they have with noise and nothing restored.
    """
    clean = forward(weights, ids[None])
    embedding = clean[EMBED].clone()
    for token, change in zip(subject, noise, strict=True):
        embedding[0, token] += change
    corruption: list[Edit] = [((*EMBED, None), embedding)]
    corrupted = forward(weights, ids[None], corruption)

    edits = list(corruption)
    for _, _, token in restored:
        for kind in severed:
            for layer in range(len(weights.layers)):
                node = (kind, layer, None, torch.tensor([token]))
                edits += edits_from(corrupted, [node])
    for kind, layer, token in restored:
        edits += edits_from(clean, [(kind, layer, None, torch.tensor([token]))])
    return forward(weights, ids[None], edits)[LOGITS][0, -1]
