"""Activation patching, causal tracing and path patching: a small reference library.

Read the modules in the order in which data flows: prompts, ioi, models, nodes, forward (passes A
and B), metrics, activation, paths (passes C and D), suffix and deltas (the same, fast), effects,
sweeps, walk, plots. Models written by hand: designs, handmade, toys, ioi_machine, ioi_variants.
"""

from pathpatch.activation import activation_patch
from pathpatch.designs import Design, HandMade, TrueEffect
from pathpatch.effects import Effects
from pathpatch.errors import PathPatchError
from pathpatch.forward import Run, run
from pathpatch.ioi import ioi_prompts
from pathpatch.ioi_variants import ioi_machine
from pathpatch.metrics import answer_prob, logit_diff, recovered
from pathpatch.models import load_model, tiny_model, wrap
from pathpatch.nodes import LOGITS, Node, heads, mlps
from pathpatch.paths import path_patch
from pathpatch.plots import heat_map
from pathpatch.prompts import Pair, Prompts, Tokens, load_prompts, make_prompts
from pathpatch.sweeps import baseline, sweep
from pathpatch.toys import five_treatments, toy
from pathpatch.walk import ioi_walk, strongest

__all__ = [
    "LOGITS",
    "Design",
    "Effects",
    "HandMade",
    "Node",
    "Pair",
    "PathPatchError",
    "Prompts",
    "Run",
    "Tokens",
    "TrueEffect",
    "activation_patch",
    "answer_prob",
    "baseline",
    "five_treatments",
    "heads",
    "heat_map",
    "ioi_machine",
    "ioi_prompts",
    "ioi_walk",
    "load_model",
    "load_prompts",
    "logit_diff",
    "make_prompts",
    "mlps",
    "path_patch",
    "recovered",
    "run",
    "strongest",
    "sweep",
    "tiny_model",
    "toy",
    "wrap",
]
