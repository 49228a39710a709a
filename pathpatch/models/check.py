"""Is the wrapped model still the model, and can it be patched? Two short passes at load.

The first is of the untouched Hugging Face model. The second is of the wrapped one, and answers
three questions at once with its rows: the logits must be those of the first; a later token must not
change earlier logits (the padding of short prompts relies on it); and whatever is written at a kind
of node must reach the logits; at the input of an MLP it may do so through that MLP alone.
"""

import copy
import warnings
from collections.abc import Set
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pathpatch.errors import PathPatchError
from pathpatch.forward import Step, attempt, foreign_hooks
from pathpatch.nodes import WRITABLE, Model, Node, grid
from pathpatch.prompts import END, Tokens

# How far two computations of the same logits may be apart, in parts of the largest logit.
ROUNDING = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}
LENGTH = 8  # tokens of the short prompts
LOUD = 30.0  # what is written, in standard deviations of what stood there: saturates a softmax


def check_original(hf_model: Any, tokenizer: Any) -> None:
    """Raises: PathPatchError for a Hugging Face model or a tokenizer that cannot be used."""
    name = type(hf_model).__name__
    if getattr(hf_model, "wrapped", False):
        raise PathPatchError(
            f"this {name} was given to wrap before, which changes it in place; go on with the "
            f"model that wrap returned, or load it again"
        )
    if getattr(hf_model.config, "is_encoder_decoder", False):
        raise PathPatchError(f"{name} has an encoder; only decoders that predict the next token do")
    if foreign_hooks(hf_model.modules()):
        raise PathPatchError(f"there are hooks on this {name}; remove them before it is wrapped")
    if tokenizer is None:
        raise PathPatchError(f"wrap needs the tokenizer of this {name}, got None")
    plain = list(tokenizer("the", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("the")["input_ids"])
    if plain and full[-1] != plain[-1]:
        raise PathPatchError(
            f"the tokenizer puts {tokenizer.decode(full[-1:])!r} after every text, and END "
            f"would be there; load it with add_eos_token=False, or change its post-processor"
        )


def short_prompts(hf_model: Any) -> Int[Tensor, "batch pos"]:
    """Two prompts that begin with the same tokens, and differ in the second half."""
    vocab = hf_model.config.get_text_config().vocab_size
    low, high = vocab // 4, vocab - vocab // 4  # special tokens stand at the ends
    heads = getattr(hf_model.config.get_text_config(), "num_attention_heads", 0)
    length = LENGTH + (heads == LENGTH)  # positions must not be mistaken for heads
    length = min(length, getattr(hf_model.config, "max_position_embeddings", length))
    generator = torch.Generator().manual_seed(0)
    some = torch.randint(low, high, (length,), generator=generator, device="cpu")
    first = torch.arange(length, device="cpu") < length // 2
    other = torch.where(first, some, low + (some + 1) % (high - low))
    return torch.stack([some, other]).to(hf_model.device)


@torch.no_grad()
def untouched_logits(
    hf_model: Any, ids: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos vocab"]:
    """The logits of the Hugging Face model itself.

    Raises: PathPatchError where it fails, and says so if it does not fail in float32.
    """
    try:
        return hf_model(ids).logits
    except Exception as error:  # of every class
        said = f"{type(error).__name__}: {str(error)[:300]}"
        raise PathPatchError(
            f"this {type(hf_model).__name__} fails itself, before it is wrapped, on two short "
            f"prompts in {hf_model.dtype}{_in_float32(hf_model, ids)}. {said}"
        ) from error


def _in_float32(hf_model: Any, ids: Tensor) -> str:
    try:
        copy.deepcopy(hf_model).float()(ids)
    except Exception:  # it is not the dtype
        return ""
    return " (in float32 it works: load it with dtype=torch.float32)"


def longest_prompt(model: Model) -> int | None:
    """How many tokens a prompt may have, or None. Learned positions end somewhere.

    Of rotary positions two kinds change with the longest prompt that the model has seen, beyond the
    length of its first training: the numbers would depend on what ran before.
    """
    config = model.original_model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("dynamic", "longrope"):
        first = rope.get("original_max_position_embeddings")
        return int(first or config.max_position_embeddings)
    learned = model.cfg.positional_embedding_type == "standard"
    return int(model.cfg.n_ctx) if learned else None


@torch.no_grad()
def deaf_kinds_and_odd_places(
    model: Model, ids: Int[Tensor, "batch pos"], expected: Float[Tensor, "batch pos vocab"]
) -> tuple[frozenset[str], Set[str]]:
    """Compare the wrapped model with the logits of the untouched one on the short prompts.

    Returns: the kinds of nodes of which nothing reaches the logits, so that a write is refused;
    and the hook points that cannot be used at all: where the pass does not come, where activations
    are laid out in another way, and the inputs of MLPs where more than the MLP reads them.
    Raises: PathPatchError when the logits differ, or when the model looks ahead.
    """
    kinds = sorted(WRITABLE)
    rows = torch.cat([ids, *[ids[:1]] * (len(kinds) + 1)])  # for each kind one where it is written
    tokens = Tokens(rows, {END: torch.full((len(rows),), rows.shape[1] - 1, device=rows.device)})
    odd: set[str] = set()
    plan = [
        (node.hook, _loud(len(ids) + i, _layout(model, kind, rows), kind, odd))
        for i, kind in enumerate(kinds)
        for node in _once_each_layer(model, kind)
        if node.is_in(model)
    ]
    plan += _only_into_mlps(model, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a write is ignored: this is what is found out here
        logits, silent = attempt(model, tokens, plan)
    centred = expected - expected.mean(-1, keepdim=True)
    allowed = ROUNDING.get(expected.dtype, 0.1) * centred.abs().max()
    name = model.cfg.architecture
    if not (apart := (logits[: len(ids)] - expected).abs().max()) <= allowed:
        raise PathPatchError(
            f"the wrapped {name} is not the original: on two short prompts their logits differ by "
            f"up to {apart:.2g}, and {allowed:.2g} would be rounding; TransformerBridge does not "
            f"know something in this configuration"
        )
    half = rows.shape[1] // 2
    if (logits[0, :half] - logits[1, :half]).abs().max() > allowed:
        raise PathPatchError(f"{name} is not causal: a later token changes earlier logits")
    *moved, leaked = (logits[len(ids) :] - logits[0]).abs().amax((1, 2))
    deaf = [k for k, much in zip(kinds, moved, strict=True) if much <= allowed / 100]
    odd |= set() if leaked <= allowed else {"mlp_in"}
    return frozenset(deaf), silent | {node.hook for kind in odd for node in grid(model, kind)}


def _only_into_mlps(model: Model, rows: Tensor) -> list[tuple[str, Step]]:
    """In the last row noise at the inputs of all MLPs, and their outputs as in the first row: where
    only the MLP reads its input, the logits are those of the first row."""
    last, layout = len(rows) - 1, tuple(rows.shape)

    def as_first(activation: Tensor) -> Tensor | None:
        if activation.shape[:2] != layout:
            return None
        edited = activation.clone()
        edited[last] = activation[0]
        return edited

    doors = [node for node in grid(model, "mlp_in") if node.is_in(model)]
    outputs = [node for node in grid(model, "mlp_out") if node.is_in(model)]
    plan: list[tuple[str, Step]] = [(node.hook, as_first) for node in outputs]
    return plan + [(node.hook, _loud(last, layout, "mlp_in", set())) for node in doors]


def _once_each_layer(model: Model, kind: str) -> list[Node]:
    return [node for node in grid(model, kind) if not node.head]


def _layout(model: Model, kind: str, rows: Tensor) -> tuple[int, ...]:
    """How the activations of a kind begin: [batch, pos] or [batch, pos, head]."""
    if kind == "pattern":
        return (len(rows), model.cfg.n_heads, rows.shape[1])
    return (*rows.shape, model.cfg.n_heads) if kind in ("z", "q", "k", "v") else tuple(rows.shape)


def _loud(row: int, layout: tuple[int, ...], kind: str, odd: set[str]) -> Step:
    """Overwrite one prompt of the batch with loud noise; where that cannot be, the kind is odd."""

    def write(activation: Tensor) -> Tensor | None:
        if activation.shape[: len(layout)] != layout:
            odd.add(kind)
            return None
        generator = torch.Generator().manual_seed(0)
        edited, old = activation.clone(), activation[0].double().cpu()  # as without any write
        noise = torch.randn(old.shape, generator=generator, device="cpu").double()
        edited[row] = (LOUD * (1 + old.std()) * noise).to(edited)
        return edited

    return write
