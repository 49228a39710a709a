"""Activation patching, causal tracing and path patching: a small reference library.

The method is in the root; every other folder is a wing with something for it. Imports only go to
the left and up this map.

             errors files prompts nodes forward metrics activation tracing paths uncertainty effects
tasks/       pairs rows own ioi facts
models/      devices weights smollm2 tiny prepare check load
handmade/    designs build toys ioi_machine ioi_variants
engine/      spec scene suffix pass_c pass_d literal fast total blocks progress verify
             verify_total work cost identity store jobs sweeps traces
circuits/    circuit treatments links ablation knockouts edges evaluation subsets assessment
             gradients attribution discovery walk
pictures/    pen plots attention readout passes diagrams wiring
cli/         words texts door options inputs report commands

Read `paths` first: the four passes of path patching, A to D.
"""

from types import ModuleType as _Module

import pathpatch.cli.door as _door
from pathpatch.activation import activation_patch
from pathpatch.circuits.ablation import Ablation
from pathpatch.circuits.attribution import edge_attribution, node_attribution
from pathpatch.circuits.circuit import Circuit, Edge, edge_effects
from pathpatch.circuits.discovery import Rule, discover
from pathpatch.circuits.edges import EdgeKnockout
from pathpatch.circuits.evaluation import (
    Faithfulness,
    Gap,
    choices,
    completeness,
    faithfulness,
    minimality,
)
from pathpatch.circuits.knockouts import Knockout
from pathpatch.circuits.links import Link
from pathpatch.circuits.subsets import Search, greedy_set, minimal_sets, random_sets
from pathpatch.circuits.treatments import five_treatments
from pathpatch.circuits.walk import ioi_walk, strongest
from pathpatch.effects import Effects
from pathpatch.engine.cost import Plan, plan
from pathpatch.engine.spec import SweepOptions
from pathpatch.engine.sweeps import activation_sweep, baseline, path_sweep
from pathpatch.engine.traces import Trace, causal_trace
from pathpatch.errors import PathPatchError
from pathpatch.forward import Run, run
from pathpatch.handmade.designs import Design, HandMade, TrueEffect
from pathpatch.handmade.ioi_variants import ioi_machine
from pathpatch.handmade.toys import toy
from pathpatch.metrics import answer_prob, logit_diff, recovered
from pathpatch.models.load import load_model, tiny_model, wrap
from pathpatch.nodes import LOGITS, Node, grid, heads, mlps
from pathpatch.paths import path_patch
from pathpatch.pictures.attention import attention_arcs, attention_panel
from pathpatch.pictures.diagrams import pass_diagram
from pathpatch.pictures.plots import heat_map, heat_maps, save_figure
from pathpatch.pictures.wiring import circuit_diagram
from pathpatch.prompts import Pair, Prompts, Tokens
from pathpatch.tasks.facts import Fact, fact_prompts, load_facts
from pathpatch.tasks.ioi import ioi_prompts
from pathpatch.tasks.own import load_prompts
from pathpatch.tasks.pairs import make_prompts
from pathpatch.tracing import embedding_std, gaussian_noise, windows
from pathpatch.uncertainty import interval

# What is imported above is public; the modules themselves come along.
__all__ = [n for n in dir() if not n.startswith("_") and not isinstance(globals()[n], _Module)]

# From here they are called; what is wrong in kind gets a sentence.
for _name in __all__:
    globals()[_name] = _door.at_the_door(globals()[_name])
