"""Activation patching, causal tracing and path patching: a small reference library.

Read the modules in the order in which data flows: prompts, facts, ioi, models, nodes, forward
(passes A and B), metrics, uncertainty, effects, edges, activation, paths (passes C and D), spec,
suffix and deltas (C and D, fast), cost, blocks, store, jobs, sweeps, treatments, tracing,
knockouts, circuits, subsets, attribution, discovery, walk, plots. Models written by hand: designs,
handmade, toys, ioi_machine, ioi_variants, export. Diagrams: readout, passes, diagrams, wiring.
"""

from types import ModuleType as _Module

from pathpatch.activation import activation_patch
from pathpatch.attribution import edge_attribution, node_attribution
from pathpatch.circuits import Faithfulness, Gap, choices, completeness, faithfulness, minimality
from pathpatch.cost import Plan, plan
from pathpatch.designs import Design, HandMade, TrueEffect
from pathpatch.diagrams import pass_diagram
from pathpatch.discovery import Rule, discover, edge_effects
from pathpatch.edges import Circuit, Edge
from pathpatch.effects import Effects
from pathpatch.errors import PathPatchError
from pathpatch.facts import Fact, fact_prompts, load_facts
from pathpatch.forward import Run, run
from pathpatch.ioi import ioi_prompts
from pathpatch.ioi_variants import ioi_machine
from pathpatch.knockouts import Ablation, Knockout
from pathpatch.metrics import answer_prob, logit_diff, recovered
from pathpatch.models import load_model, tiny_model, wrap
from pathpatch.nodes import LOGITS, Node, grid, heads, mlps, windows
from pathpatch.paths import path_patch
from pathpatch.plots import attention_panel, heat_map, heat_maps, save_figure
from pathpatch.prompts import Pair, Prompts, Tokens, load_prompts, make_prompts
from pathpatch.spec import How
from pathpatch.subsets import Search, greedy_set, minimal_sets, random_sets
from pathpatch.sweeps import activation_sweep, baseline, sweep
from pathpatch.toys import by_pencil, toy
from pathpatch.tracing import Trace, causal_trace, embedding_std, gaussian_noise
from pathpatch.treatments import five_treatments
from pathpatch.walk import ioi_walk, strongest
from pathpatch.wiring import circuit_diagram

# What is imported above is public; the modules themselves come along.
__all__ = [n for n in dir() if not n.startswith("_") and not isinstance(globals()[n], _Module)]
