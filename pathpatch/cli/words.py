"""What things are, in words: for calls that get a thing of another kind."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from numbers import Integral, Real
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from pathpatch.circuits.ablation import Ablation
from pathpatch.circuits.circuit import Circuit
from pathpatch.circuits.knockouts import Knockout
from pathpatch.circuits.subsets import Search
from pathpatch.effects import Effects
from pathpatch.engine.spec import SweepOptions
from pathpatch.nodes import Node
from pathpatch.prompts import Pair, Prompts, Tokens

# What would work, in words. Python's own kinds first, widened: numpy's numbers are numbers.
WORDS: dict[Any, str] = {
    str: "a text",
    Integral: "a whole number",
    Real: "a number",
    Iterable: "a list",
    Mapping: "a dict",
    Callable: "a function",
    Path: "a path",
    type(None): "None",
    Prompts: "Prompts, such as make_prompts(model.tokenizer, pairs) gives",
    Tokens: "Tokens, such as prompts.orig",
    Pair: "a Pair of texts: Pair(clean, corrupt, answer, foil)",
    Node: "a Node, such as Node.parse('9.6@END')",
    Effects: "Effects, such as path_sweep gives",
    Circuit: "a Circuit, such as discover gives",
    Knockout: "a Knockout, such as Knockout(model, prompts)",
    Ablation: "Ablation(...), such as Ablation('mean')",
    Search: "a Search, such as Search(numpy.random.default_rng(seed))",
    SweepOptions: "SweepOptions(...), such as SweepOptions(engine='literal')",
    Random: "a generator of Python, such as random.Random(seed)",
    np.random.Generator: "a generator of numpy, such as numpy.random.default_rng(seed)",
    torch.Generator: "a generator of torch, such as torch.Generator().manual_seed(seed)",
    np.ndarray: "an array of numpy",
    torch.Tensor: "a tensor",
    torch.device: "a device, such as torch.device('cpu')",
    torch.dtype: "a dtype, such as torch.float32",
    Executor: "an executor of concurrent.futures",
}
WIDE = {int: Integral, float: Real, dict: Mapping, list: Iterable, tuple: Iterable}
WIDE |= {Sequence: Iterable, bool: object}
PLAIN = (str, Integral, Real, object, Iterable, Mapping, Path, np.ndarray, torch.Tensor)
# What has no class of its own is known by its name.
BY_NAME: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (
        lambda model: hasattr(getattr(model, "cfg", None), "places"),
        "a model, such as load_model, tiny_model or wrap gives",
    ),
    "tokenizer": (
        lambda tokenizer: callable(tokenizer) and hasattr(tokenizer, "decode"),
        "a tokenizer of transformers, such as model.tokenizer",
    ),
    "hf_model": (lambda model: hasattr(model, "config"), "a causal language model of transformers"),
}
