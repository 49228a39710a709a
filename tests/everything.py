"""Everything that computes with a model, each as a function from a model and prompts to arrays.

For the tests of devices: what one of these gives must not depend on where the model is.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from pathpatch import (
    LOGITS,
    Ablation,
    EdgeKnockout,
    Knockout,
    Node,
    Prompts,
    Rule,
    SweepOptions,
    activation_patch,
    activation_sweep,
    answer_prob,
    attention_arcs,
    attention_panel,
    baseline,
    causal_trace,
    discover,
    edge_attribution,
    edge_effects,
    embedding_std,
    faithfulness,
    five_treatments,
    gaussian_noise,
    grid,
    heads,
    logit_diff,
    mlps,
    node_attribution,
    pass_diagram,
    path_sweep,
    plan,
    run,
)
from pathpatch.circuits.circuit import Circuit, Edge
from pathpatch.circuits.gradients import gradients
from pathpatch.models.weights import fingerprint
from pathpatch.nodes import Model, device_of

SENDERS = ["embed@S2", "0.0@S2", "0.1", "0.mlp_out@END", "0.0@S2+1.1@END", "1.2@3"]
SEEN = ["0.1.z", "1.2.q@END", "1.kv0.k@S2", "1.0.v", "1.1.pattern", "1.1.pattern@END", "0.mlp_out"]
STATES = ["embed", "1.resid_pre@S2", "1.attn_out", "2.resid_post@END", "logits"]
RECEIVERS = {
    "queries": ["1.0.q@END", "2.1.q@END"],
    "keys and values": ["2.kv0.k@S2", "1.1.v@S2"],
    "all positions": ["1.1.k", "2.2.v"],
    "one token": ["1.1.v@3"],
    "a state": ["1.resid_post@END"],
    "MLPs": ["1.mlp_in@END", "2.mlp_in"],
    "a state below": ["1.resid_pre@S2"],
    "the last state": ["2.resid_post@END"],
    "logits": ["logits@END"],
}
Found = Iterable[np.ndarray]
Computation = Callable[[Model, Prompts], Found]


def forward(model: Model, prompts: Prompts) -> Found:
    found = run(model, prompts.orig, reads=[*SEEN, *STATES])
    cut = [found["0.1.z@S2"], found["logits@END"], found["0.mlp_out@3"]]
    return [value.cpu().double().numpy() for value in (*found.values(), *cut)]


def patches(model: Model, prompts: Prompts) -> Found:
    """Values of a run, values from the CPU, and what a function returns, written."""

    zeros = torch.zeros(len(prompts), model.cfg.d_model, dtype=model.W_E.dtype, device="cpu")
    kept = run(model, prompts.orig, reads=[LOGITS], writes={Node("mlp_out", 1, at="END"): zeros})
    twice = {Node("mlp_out", 0): lambda value: 2 * value}
    more = run(model, prompts.orig, reads=[LOGITS], writes=twice)
    logits = [activation_patch(model, prompts, nodes=[node]) for node in SEEN]
    logits += [kept[LOGITS], more[LOGITS]]
    values = [metric(x, prompts) for x in logits for metric in (logit_diff, answer_prob)]
    return [value.cpu().double().numpy() for value in values]


def slopes(model: Model, prompts: Prompts) -> Found:
    nodes = ["0.1.z@S2", "1.kv0.k", "1.mlp_out@END"]
    found = gradients(model, prompts.orig, lambda x: logit_diff(x, prompts), nodes=nodes)
    return [value.cpu().double().numpy() for value in found.values()]


def sweep(receivers: list[str], engine: str, *, mlps_too: bool = False) -> Computation:
    def compute(model: Model, prompts: Prompts) -> Found:
        frozen = heads(model) + (mlps(model) if mlps_too else [])
        asked = {"senders": SENDERS, "receivers": receivers, "frozen": frozen}
        found = path_sweep(model, prompts, **asked, options=SweepOptions(engine))
        assert found.about.engine == engine
        return [found.base, found.patched]

    return compute


def own_metric(model: Model, prompts: Prompts) -> Found:
    """A metric that indexes the logits itself gets logits and prompts in one place."""

    def metric(logits: torch.Tensor, asked: Prompts) -> torch.Tensor:
        rows = torch.arange(len(asked), device=logits.device)
        return logits[rows, asked.answer].abs()

    ends = {"senders": SENDERS[:2], "receivers": ["1.0.q@END"], "metric": metric}
    found = path_sweep(model, prompts, **ends)
    return [found.base, found.patched, *five_treatments(model, prompts, **ends).values()]


def activations(model: Model, prompts: Prompts) -> Found:
    nodes = [*grid(model, "z", ["END"]), "1.kv0.v@S2", "0.mlp_out+1.resid_pre@S2"]
    found = activation_sweep(model, prompts, nodes=nodes, metric=answer_prob)
    return [found.base, found.patched]


def treatments(model: Model, prompts: Prompts) -> Found:
    asked = {"senders": ["0.1@S2"], "receivers": ["1.kv0.v@S2", "logits"]}
    return five_treatments(model, prompts, **asked).values()


def estimates(model: Model, prompts: Prompts) -> Found:
    asked = {"senders": SENDERS, "receivers": [*RECEIVERS["queries"], "2.kv0.v@S2"]}
    for steps in (0, 2):
        yield node_attribution(model, prompts, SEEN[:4], steps).patched
        yield edge_attribution(model, prompts, **asked, steps=steps).patched


def traces(model: Model, prompts: Prompts) -> Found:
    subject = {"subject_first": prompts.orig.positions["S1"]}
    subject["subject_last"] = prompts.orig.positions["S1"] + 1
    places = [type(x)(x.ids, x.positions | subject) for x in (prompts.orig, prompts.new)]
    named = type(prompts)(*places, prompts.answer, prompts.foil, prompts.pairs)
    scale = embedding_std(model, [" Mary", " John"])
    noise = gaussian_noise(model, named.orig, scale, torch.Generator().manual_seed(0), draws=2)
    assert noise.device == device_of(model)
    entries = ["1.resid_post@END", "0.mlp_out@subject_last+1.mlp_out@subject_last"]
    yield np.array(scale)
    for given in (noise, noise.cpu(), None):
        severed = [] if given is None else ["attn_out"]
        trace = causal_trace(model, named, entries, noise=given, severed=severed)
        yield from (trace.clean, trace.corrupted, trace.restored)


def knockouts(model: Model, prompts: Prompts) -> Found:
    circuit = ["1.0@END", "0.1"]
    for reference in ("mean", "zero", "resample", "shuffle"):
        for positions in ("labelled", "all"):
            choices = {"generator": np.random.default_rng(0), "candidates": "heads+mlps"}
            rules = Ablation(reference, positions, **choices, over=prompts)
            knockout = Knockout(model, prompts, rules)
            yield from vars(faithfulness(knockout, circuit)).values()
            edges = EdgeKnockout(model, prompts, rules)
            yield edges.score(["0.1.z@S2 -> 2.0.k@S2", "2.0.z@END -> logits"])
            yield knockout.score(circuit, ["1.0@END"])


def discovery(model: Model, prompts: Prompts) -> Found:
    rule = Rule(error=1.0, least=0, least_attention=0.5, rounds=2)
    found = discover(model, prompts, np.random.default_rng(0), rule=rule)
    assert found.edges or model.W_E.dtype != torch.float64
    return [np.array(sorted(edge.change for edge in found.edges))]


def edges(model: Model, prompts: Prompts) -> Found:
    ends = [("0.0.z@S2", "1.1.v@S2"), ("embed@S2", "2.kv0.k@S2"), ("1.0.z@END", "logits@END")]
    found = edge_effects(model, prompts, Circuit([Edge(*pair, *[0.0] * 5) for pair in ends]))
    return [found.base, found.patched]


def before(model: Model, prompts: Prompts) -> Found:
    return baseline(model, prompts).values()


def cost(model: Model, prompts: Prompts) -> Found:
    found = plan(model, prompts, senders=SENDERS, receivers=RECEIVERS["queries"])
    return [np.array([found.multiply_adds, found.memory])]


def panel(model: Model, prompts: Prompts) -> Found:
    figure = attention_panel(model, prompts.orig[:1], ["1.1@END", "2.0"])
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def arcs(model: Model, prompts: Prompts) -> Found:
    figure = attention_arcs(model, prompts.orig[:1], ["1.1@END"])
    return [np.array([patch.get_facecolor() for patch in figure.axes[0].patches])]


def diagram(model: Model, prompts: Prompts) -> Found:
    nodes = {"senders": ["0.1@S2"], "receivers": ["1.1.v@S2"], "nodes": ["1.1@END"]}
    figure = pass_diagram(model, prompts[:1], **nodes)
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [np.array(sum(map(len, words)))]


def machine(model: Model, prompts: Prompts) -> Found:
    """For models written by hand: their values in words, and both engines."""
    ends = {"senders": ["0.0@S2"], "receivers": ["2.0.q@END"], "frozen": []}
    texts = pass_diagram(model, prompts[:1], **ends).axes[0].texts
    yield np.array([sum(map(ord, text.get_text())) for text in texts])
    for engine in ("fast", "literal"):
        asked = {"senders": heads(model), "receivers": ["2.0.q@END"]}
        yield path_sweep(model, prompts, **asked, options=SweepOptions(engine)).patched


def identity(model: Model, prompts: Prompts) -> Found:
    return [np.array(int(fingerprint(model, again=True)[:8], 16))]


EVERYTHING: dict[str, Computation] = {
    **{f"fast to {name}": sweep(nodes, "fast") for name, nodes in RECEIVERS.items()},
    **{f"literal to {name}": sweep(RECEIVERS[name], "literal") for name in ("queries", "logits")},
    "fast with MLPs frozen": sweep(RECEIVERS["queries"], "fast", mlps_too=True),
    "literal with MLPs frozen": sweep(RECEIVERS["queries"], "literal", mlps_too=True),
}
for each in (forward, patches, slopes, own_metric, activations, treatments, estimates, traces):
    EVERYTHING[each.__name__] = each
for each in (knockouts, discovery, edges, before, cost, panel, arcs, diagram, identity):
    EVERYTHING[each.__name__] = each
