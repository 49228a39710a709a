"""Attribution: derivatives against the oracle's, exact on linear models, and what goes wrong."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
import torch
from conftest import Tiny, as_oracle, ends
from exam import CASES, hooks_on
from test_transformer_lens import double  # noqa: F401
from transformer_lens.tools.analysis import attribution_patching as theirs

from pathpatch import (
    LOGITS,
    Effects,
    Node,
    PathPatchError,
    Prompts,
    Run,
    activation_sweep,
    answer_prob,
    edge_attribution,
    grid,
    heads,
    logit_diff,
    mlps,
    node_attribution,
    path_sweep,
    run,
    tiny_model,
    toy,
)
from pathpatch.circuits.gradients import gradients
from pathpatch.nodes import Model, as_nodes
from pathpatch.paths import passes_c_and_d

EXACT = 1e-10
EMBED = Node("embed")
HEAD = "z q k v pattern".split()
SHARED = [Node("k", 1, 0, True, "S2"), Node("v", 1, 1, True)]
KINDS = "embed resid_pre resid_post attn_out mlp_out z q k v pattern".split()


def some_nodes(model: Model) -> list[Node]:
    """Nodes of every kind: at labels, shared, and at all positions."""
    nodes = [node for kind in KINDS for node in grid(model, kind, ["S1+1", "END"])][::3]
    last = model.cfg.n_heads // model.cfg.query_heads_per_kv - 1
    names = [f"{i}.kv{last}.{kind}@S2" for i in (0, 1, 2) for kind in "kv"]
    return [*nodes, *as_nodes([*names, "embed", "1.kv0.v", "1.2.q", "0.1.pattern", "1.resid_pre"])]


def line(steps: int) -> list[tuple[float, float]]:
    """Weight and place of every gradient."""
    if not steps:
        return [(1.0, 0.0)]
    x, weights = np.polynomial.legendre.leggauss(steps)
    return [(weight / 2, (1 + at) / 2) for at, weight in zip(x, weights, strict=True)]


# ------------------------------------------------------------------ against the oracle's derivative


METRICS = {"noising": logit_diff, "denoising": answer_prob}


def ask(tiny: Tiny, steps: int):
    """Both directions and metrics have their turn."""
    prompts = tiny.prompts.swapped() if steps else tiny.prompts
    return prompts, METRICS[prompts.direction]


def derivative(function, prompts: Prompts) -> np.ndarray:
    """How fast a metric grows in each prompt: function of t [batch, 1, 1] at 0, to logits."""
    t = torch.zeros(len(prompts), 1, 1, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        logits = ends(function(t), prompts.orig)
        metric = METRICS[prompts.direction]
        (slope,) = torch.autograd.grad(metric(logits, prompts).sum(), t)
    return slope.flatten().numpy()


def on_the_line(tiny: Tiny, prompts: Prompts, at: float):
    """Traces of the runs on x_orig and x_new, the edit that sets embeddings between, its trace."""
    b, a = (oracle.forward(tiny.weights, p.ids) for p in (prompts.orig, prompts.new))
    embed = (1 - at) * b[oracle.EMBED] + at * a[oracle.EMBED]
    edit = (("embed", None, None, None), embed)
    return b, a, edit, oracle.forward(tiny.weights, prompts.orig.ids, [edit])


@pytest.mark.sample(5)
@pytest.mark.parametrize("steps", [0, 3])
def test_nodes_of_every_kind(tiny: Tiny, steps: int):
    prompts, metric = ask(tiny, steps)
    nodes = some_nodes(tiny.model)
    found = node_attribution(tiny.model, prompts, nodes, steps, metric)
    expected = np.zeros_like(found.change)
    for weight, at in line(steps):
        b, a, edit, here = on_the_line(tiny, prompts, at)
        for i, node in enumerate(as_oracle(n, prompts.orig) for n in nodes):

            def moved(t, node=node, here=here, a=a, b=b, edit=edit):
                value = here[node[:3]] + t * (a[node[:3]] - b[node[:3]])
                edits = [edit, (node, value)]
                return oracle.forward(tiny.weights, prompts.orig.ids, edits)[oracle.LOGITS]

            expected[i] += weight * derivative(moved, prompts)
    assert np.abs(found.change - expected).max() < EXACT
    assert (np.abs(expected).max(1) > 1e-9).mean() > 0.5  # some tokens are the same on both sides
    exact = activation_sweep(tiny.model, prompts, nodes=nodes, metric=metric)
    assert found.senders == exact.senders
    assert np.abs(found.base - exact.base).max() < EXACT
    assert np.abs(found.change - exact.change).max() > 1e-3  # it is an estimate


@pytest.mark.sample(5)
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("case", CASES)
def test_edges_of_every_kind(tiny: Tiny, case: str, steps: int):
    (senders, receivers), (prompts, metric) = CASES[case], ask(tiny, steps)
    rows = ["+".join(senders), *senders]
    asked = {"senders": rows, "receivers": receivers, "steps": steps, "metric": metric}
    found = edge_attribution(tiny.model, prompts, **asked)
    expected = np.stack(
        [edge_slope(tiny, prompts, row, receivers, steps) for row in (senders, *zip(senders))]
    )
    assert np.abs(found.change - expected).max() < EXACT
    assert np.abs(expected).max() > 1e-8


def edge_slope(tiny: Tiny, prompts: Prompts, senders, receivers, steps: int) -> np.ndarray:
    """The oracle's path patching with its senders moved by t, differentiated."""
    ids = prompts.orig.ids
    sent, received = (
        [as_oracle(n, prompts.orig) for n in as_nodes(names)] for names in (senders, receivers)
    )
    total = np.zeros(len(prompts))
    for weight, at in line(steps):
        b, a, edit, here = on_the_line(tiny, prompts, at)

        def moved(t, a=a, b=b, edit=edit, here=here):
            keys = [node[:3] for node in sent]
            new = here | {key: here[key] + t * (a[key] - b[key]) for key in keys}
            terms = oracle.direct_terms(tiny.weights, here, new, sent, True)
            stored = [(r, oracle.would_be_value(tiny.weights, terms, r)) for r in received]
            return oracle.forward(tiny.weights, ids, [edit, *stored])[oracle.LOGITS]

        total += weight * derivative(moved, prompts)
    return total


# ------------------------------------------------------------------------- against exact patching


@pytest.mark.parametrize("name", ["head", "sum", "mlp"])
def test_the_whole_numbers_of_the_linear_toys(name: str):
    made = toy(name)
    for effect in made.design.effects:
        prompts, senders = made.prompts[effect.prompts], [effect.senders]
        for steps in (0, 1, 4):
            if not effect.receivers:
                found = node_attribution(made.model, prompts, senders, steps)
            elif name == "mlp" and effect.frozen == "heads":
                continue  # the MLP is on the path
            else:
                receivers = effect.receivers.split("+")
                asked = {"senders": senders, "receivers": receivers, "steps": steps}
                found = edge_attribution(made.model, prompts, **asked)
            assert found.base == pytest.approx(made.design.before[effect.prompts], abs=EXACT)
            assert found.change == pytest.approx(effect.change, abs=EXACT)


def random_weights(group: int, flat: bool) -> Model:
    """A model without norms or MLPs, with random weights. flat: all scores are 0, so linear."""
    model, generator = toy("head").model, torch.Generator().manual_seed(0)
    model.cfg.query_heads_per_kv = group
    n_heads = model.cfg.n_heads
    for name, weight in model.original_model.named_parameters():
        weight.copy_(0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
        if ".k." in name or ".v." in name:
            of_heads = weight.unflatten(0, (n_heads, -1))
            of_heads.copy_(of_heads[torch.arange(n_heads) // group * group].clone())
        if flat and ".q." in name:
            weight.zero_()
    return model


@pytest.mark.sample(5)
@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("steps", [0, 2])
def test_exact_on_a_linear_model(group: int, steps: int):
    model, prompts = random_weights(group, flat=True), toy("head").prompts["x_new"]
    kinds = [kind for kind in KINDS if kind not in ("mlp_out", "pattern", "q", "k")]
    nodes = [node for kind in kinds for node in grid(model, kind, ["A", "END", None])]
    nodes += as_nodes(f"{i}.kv0.v{at}" for i in range(3) for at in ("@H", ""))
    exact = activation_sweep(model, prompts, nodes=nodes)
    found = node_attribution(model, prompts, nodes, steps)
    assert np.abs(found.change - exact.change).max() < EXACT
    assert np.abs(exact.change).mean() > 1e-3
    senders = [*heads(model, "H"), *heads(model, "END"), *heads(model), "embed@H", "embed"]
    for receivers in (
        ["2.0.v@END"],
        ["2.kv0.v@H", "1.1.v@H"],
        ["1.kv0.v"],
        ["logits"],
        ["1.resid_post@END"],
        ["2.2.v", "1.resid_post@H"],
    ):
        found = edge_attribution(model, prompts, senders=senders, receivers=receivers, steps=steps)
        exact = path_sweep(model, prompts, senders=senders, receivers=receivers)
        assert found.senders == exact.senders
        assert np.abs(found.change - exact.change).max() < EXACT
        assert np.abs(exact.change).max() > 1e-3


def test_gates_say_what_a_gradient_misses():
    """x OR y, from 0 to 1: at 0 the slope is 0 (the answer of torch at the corner of a relu). On
    the line the slope is 1 up to the middle, then 0: each of the two gets half of the credit."""
    senders = ["0.0@END", "0.1@END"]
    for name, exact in (("or", 1), ("and", 0)):
        made = toy(name)
        prompts = made.prompts["denoising"]
        truth = activation_sweep(made.model, prompts, nodes=senders)
        assert truth.change == pytest.approx(exact, abs=EXACT)
        assert node_attribution(made.model, prompts, senders).change == pytest.approx(0, abs=EXACT)
        shared = node_attribution(made.model, prompts, senders, steps=8)
        assert shared.change == pytest.approx(0.5, abs=EXACT)


def calm(tiny: Tiny) -> Model:
    """A random model with softer attention: its gradients change slowly along the line."""
    model = tiny_model("gpt2" if tiny.group == 1 else "llama", 2)
    for name, weight in model.original_model.named_parameters():
        if "attn" in name:
            weight.mul_(0.5)
    return model


def test_integrated_gradients_of_the_embeddings_are_the_whole_effect(tiny: Tiny):
    model, prompts, steps = calm(tiny), tiny.prompts, 40 if tiny.group == 1 else 150
    whole = activation_sweep(model, prompts, nodes=["embed"])
    found = node_attribution(model, prompts, ["embed", "0.resid_pre"], steps)
    assert np.abs(found.change - whole.change).max() < EXACT
    assert np.abs(whole.change).min() > 1e-3
    few = node_attribution(model, prompts, ["embed"], 2)
    assert np.abs(few.change - whole.change).max() > 1e-3
    one = prompts[:1]
    positions = range(int(one.orig.at("END")) + 1)
    parts = node_attribution(model, one, grid(model, "embed", positions), steps)
    assert np.abs(parts.change.sum(0) - whole.change[:, :1]).max() < EXACT


def test_the_gradients_of_one_node_on_its_own_line_add_up_to_patching_it(tiny: Tiny):
    """Completeness, at every kind of node: what is integrated is the exact effect's slope."""
    model, prompts = calm(tiny), tiny.prompts[:3]
    nodes = [*as_nodes(f"1.{'2.' * (kind in HEAD)}{kind}@S2" for kind in KINDS[1:]), *SHARED]
    a, b = (run(model, side, reads=nodes) for side in (prompts.new, prompts.orig))
    exact = activation_sweep(model, prompts, nodes=nodes)
    for node, change in zip(nodes, exact.change, strict=True):
        delta, total = a[node] - b[node], 0
        for weight, at in line(48):
            slope = gradients(
                model,
                prompts.orig,
                lambda logits: logit_diff(logits, prompts),
                nodes=[node],
                writes={node: b[node] + at * delta},
            )[node]
            total += weight * (slope * delta).flatten(1).sum(1)
        assert np.abs(total.numpy() - change).max() < EXACT, node
        assert np.abs(change).max() > 1e-5


def near(b: Run, a: Run, eps: float) -> Run:
    """The run on x_new, moved to near that on x_orig."""
    found = Run(a.tokens)
    found.update({node: b[node] + eps * (value - b[node]) for node, value in a.items()})
    return found


def test_the_error_of_a_node_shrinks_as_the_square(tiny: Tiny):
    model, prompts = tiny.model, tiny.prompts
    nodes = some_nodes(model)
    found = node_attribution(model, prompts, nodes)
    a, b = (run(model, side, reads=nodes) for side in (prompts.new, prompts.orig))
    before = logit_diff(run(model, prompts.orig, reads=[LOGITS])[LOGITS], prompts)
    for node, change in zip(nodes, torch.tensor(found.change), strict=True):
        errors = []
        for eps in (2e-4, 1e-4):
            patch = {node: near(b, a, eps)[node]}
            logits = run(model, prompts.orig, reads=[LOGITS], writes=patch)[LOGITS]
            errors.append((logit_diff(logits, prompts) - before - eps * change).abs().sum())
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.1) or errors[0] < 1e-11, node
    assert np.abs(found.change).max() > 0.1


@pytest.mark.sample(5)
@pytest.mark.parametrize("case", CASES)
def test_the_error_of_an_edge_shrinks_as_the_square(tiny: Tiny, case: str):
    model, prompts = tiny.model, tiny.prompts
    senders, receivers = map(as_nodes, CASES[case])
    asked = {"senders": ["+".join(CASES[case][0])], "receivers": receivers}
    change = torch.tensor(edge_attribution(model, prompts, **asked).change[0])
    frozen = heads(model) + mlps(model)
    a = run(model, prompts.new, reads=senders)
    b = run(model, prompts.orig, reads=[*frozen, *senders, LOGITS])
    errors = []
    for eps in (2e-4, 1e-4):
        ends = {"senders": senders, "receivers": receivers, "frozen": frozen}
        logits = passes_c_and_d(model, near(b, a, eps), b, **ends)
        exact = logit_diff(logits, prompts) - logit_diff(b[LOGITS], prompts)
        errors.append((exact - eps * change).abs().sum())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1) or errors[0] < 1e-11
    assert change.abs().max() > 1e-4


def test_the_edges_of_a_head_add_up_to_the_node():
    """Without MLPs every route out of a head begins with an edge to a later head or the logits."""
    model, prompts = random_weights(1, flat=False), toy("head").prompts["x_new"]
    senders = [*heads(model, "A")[:6], "0.1", "1.2@END", "embed@H"]
    receivers = [node for kind in "qkv" for node in grid(model, kind)] + [LOGITS]
    for steps in (0, 3):
        whole = node_attribution(model, prompts, senders, steps)
        parts = [
            edge_attribution(model, prompts, senders=senders, receivers=[node], steps=steps).change
            for node in receivers
        ]
        assert np.abs(sum(parts) - whole.change).max() < EXACT
        assert np.abs(whole.change).max() > 0.01


# --------------------------------------------------------------------------------- a second opinion


def test_nodes_and_edges_of_transformer_lens(tiny: Tiny):
    """Theirs takes one query head's keys and values at a time; a shared one is their sum."""
    model, prompts = calm(tiny).requires_grad_(True), tiny.prompts.swapped()[1:2]
    end, s2 = (int(prompts.orig.at(label)) for label in ("END", "S2"))

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return logit_diff(logits[:, end], prompts).sum()

    config = theirs.EdgeAttributionConfig(granularity="edge")
    ids = prompts.new.ids, prompts.orig.ids
    found = theirs.attribution_patch(model, *ids, metric, config)
    model.requires_grad_(False)
    senders = [f"{layer}.{head}@{at}" for layer in (0, 1) for head in (0, 3) for at in (s2, end)]
    senders += [f"0.mlp_out@{end}", f"embed@{s2}"]
    names = {"z": "attn_head_out", "mlp_out": "mlp_out", "embed": "embed"}
    sent = [theirs.Node(names[n.kind], n.at, n.layer, n.head) for n in as_nodes(senders)]
    ours = node_attribution(model, prompts, senders).mean()
    assert ours == pytest.approx([found.node_scores[node] for node in sent], abs=EXACT)

    group = model.cfg.query_heads_per_kv
    shared = {f"2.kv0.{kind}@{s2}": (f"{kind}_input", range(group), s2) for kind in "kv"}
    single = {f"2.1.{kind}@{end}": (f"{kind}_input", [1], end) for kind in "qkv"}
    for receiver, (name, numbers, at) in (shared | single).items():
        readers = [theirs.Node(name, at, 2, number) for number in numbers]
        ours = edge_attribution(model, prompts, senders=senders, receivers=[receiver]).mean()
        scores = [sum(found.edge_scores.get((n, r), 0.0) for r in readers) for n in sent]
        assert ours == pytest.approx(scores, abs=EXACT)
        assert np.abs(ours).max() > 1e-6
    ours = edge_attribution(model, prompts, senders=senders, receivers=["logits"]).mean()
    reader = theirs.Node("logits", end, model.cfg.n_layers - 1)
    assert ours == pytest.approx(
        [found.edge_scores.get((node, reader), 0.0) for node in sent], abs=EXACT
    )


# -------------------------------------------------------------------------------- tables, refusals


def both(tiny: Tiny, prompts: Prompts, **more) -> list[Effects]:
    nodes, receivers = ["0.1@S2", "1.2.q@END", "embed@S1"], ["2.1.q@END", "1.kv0.v@S2"]
    return [
        node_attribution(tiny.model, prompts, nodes, **more),
        edge_attribution(
            tiny.model, prompts, senders=["0.1@S2", "embed", "0.2"], receivers=receivers, **more
        ),
    ]


@pytest.mark.sample(5)
@pytest.mark.parametrize("steps", [0, 2])
def test_each_prompt_is_by_itself(tiny: Tiny, monkeypatch, steps: int):
    """The prompts have different lengths, and S2 stands at different places."""
    assert len(set(tiny.prompts.orig.at("S2").tolist())) > 1
    together = both(tiny, tiny.prompts, steps=steps)
    for i in range(len(tiny.prompts)):
        for whole, alone in zip(
            together, both(tiny, tiny.prompts[i : i + 1], steps=steps), strict=True
        ):
            assert np.abs(whole.patched[:, i] - alone.patched[:, 0]).max() < EXACT
    monkeypatch.setattr("pathpatch.engine.blocks.BLOCK", 4)
    for whole, parts in zip(together, both(tiny, tiny.prompts, steps=steps), strict=True):
        assert np.abs(whole.patched - parts.patched).max() < EXACT
        assert np.abs(whole.base - parts.base).max() < EXACT


def test_what_the_tables_record(tiny: Tiny, tmp_path):
    nodes, edges = both(tiny, tiny.prompts.swapped(), steps=2, metric=answer_prob)
    assert nodes.about.engine == edges.about.engine == "integrated gradients, 2 steps"
    assert (nodes.about.receivers, nodes.about.frozen) == ([], "nothing")
    assert edges.about.receivers == ["2.1.q@END", "1.kv0.v@S2"]
    assert (edges.about.frozen, edges.about.direction) == ("heads+mlps", "denoising")
    assert nodes.about.metric == edges.about.metric == "answer_prob"
    assert both(tiny, tiny.prompts)[0].about.engine == "attribution"
    assert edges.templates == ["1", "1", "2", "2", "3", "3"]
    edges.save(tmp_path)
    assert Effects.load(tmp_path).about == edges.about


def test_patching_a_run_with_itself_and_senders_above_receivers_change_nothing(tiny: Tiny):
    same = replace(tiny.prompts, new=tiny.prompts.orig)
    assert all((found.change == 0).all() for found in both(tiny, same, steps=2))
    senders = ["1.0@END", "2.1@END", "1.mlp_out@END", "0.0@S1"]
    found = edge_attribution(tiny.model, tiny.prompts, senders=senders, receivers=["1.0.q@END"])
    assert (found.change == 0).all()


def test_the_model_is_left_as_it_was(tiny: Tiny):
    both(tiny, tiny.prompts, steps=1)
    nodes = ["1.2.q", "embed@S2"]
    metric = lambda logits: logit_diff(logits, tiny.prompts)  # noqa: E731
    slopes = gradients(tiny.model, tiny.prompts.orig, metric, nodes=nodes)
    assert not any(slope.requires_grad for slope in slopes.values())
    assert not hooks_on(tiny.model)
    for weight in tiny.model.original_model.parameters():
        assert weight.grad is None
        assert not weight.requires_grad
    assert not run(tiny.model, tiny.prompts.orig, reads=[LOGITS])[LOGITS].requires_grad


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (["0.1@END+1.1@END"], r"one by one, got 0\.1\.z@END\+1\.1\.z@END; activation_sweep takes"),
        ([], "the list of nodes to patch is empty"),
        (["logits"], "the logits cannot be patched"),
        (["9.1"], "layer 9 of node"),
    ],
)
def test_refuses_nodes_before_any_pass(tiny: Tiny, monkeypatch, nodes, words):
    monkeypatch.setattr(tiny.model, "run_with_hooks", None)  # a pass would be a TypeError
    with pytest.raises(PathPatchError, match=words):
        node_attribution(tiny.model, tiny.prompts, nodes)


def test_refuses_edges_before_any_pass(tiny: Tiny, monkeypatch):
    monkeypatch.setattr(tiny.model, "run_with_hooks", None)
    with pytest.raises(PathPatchError, match=r"steps .* must be a whole number from 0 on, got -1"):
        both(tiny, tiny.prompts, steps=-1)
    asked = {"senders": ["0.1"], "receivers": ["1.0.q"]}
    with pytest.raises(PathPatchError, match=r"1\.0\.q cannot be a sender"):
        edge_attribution(tiny.model, tiny.prompts, **asked | {"senders": ["1.0.q"]})
    monkeypatch.setattr("pathpatch.circuits.attribution.why_not_fast", lambda *_: "It does not.")
    with pytest.raises(PathPatchError, match=r"fast engine\. It does not\.; use path_sweep"):
        edge_attribution(tiny.model, tiny.prompts, **asked)


def test_gradients_refuse_what_run_refuses(tiny: Tiny):
    with pytest.raises(PathPatchError, match="layer 9 of node"):
        gradients(tiny.model, tiny.prompts.orig, torch.sum, nodes=["9.0.q"])
    tiny.model.train()
    try:
        with pytest.raises(PathPatchError, match="training mode"):
            gradients(tiny.model, tiny.prompts.orig, torch.sum, nodes=["1.0.q"])
    finally:
        tiny.model.eval()
