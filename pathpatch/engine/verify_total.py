"""Whether the fast engine knows the nodes of a model: one kind after another, in both forms.

`verify` compares the parts of a model. Here it is whether the places that TransformerBridge calls
the output of a head, say, are those where the engine computes it.
"""

from pathpatch.engine.blocks import beside
from pathpatch.engine.spec import Spec
from pathpatch.engine.total import ends_of, two_runs
from pathpatch.engine.verify import apart, known_of, two_of, why_not_fast
from pathpatch.forward import run
from pathpatch.metrics import logit_diff
from pathpatch.nodes import LOGITS, Model, Sets, grid, heads
from pathpatch.prompts import END, Prompts


def why_not_total(model: Model, prompts: Prompts, sets: Sets) -> str:
    """Why the fast engine must not patch these nodes; empty where both forms give the same."""
    if reason := why_not_fast(model, prompts, [heads(model)]):
        return reason
    known = known_of(model, prompts)
    for kind in sorted({node.kind for nodes in sets for node in nodes}):
        name = f"patched {kind}"
        if name not in known:
            known[name] = _measure(model, beside(model, two_of(prompts)), kind)
        if known[name]:
            return known[name]
    return ""


def _measure(model: Model, prompts: Prompts, kind: str) -> str:
    """All nodes of a kind together, in the middle of two prompts, and those of the last layer at
    END, with values of other tokens; where they differ, in words."""
    if kind in model.cfg.deaf:
        return f"{model.cfg.model_name} ignores what is written at {kind}"
    nodes = grid(model, kind, [int(prompts.orig.at(END).min()) // 2])
    last = [node for node in grid(model, kind, [END]) if node.layer in (None, nodes[-1].layer)]
    spec = Spec([nodes, last], [], [], "nothing", logit_diff)
    scene, reason = two_runs(model, prompts, spec), ""
    for rows, ends in ends_of(scene, spec):
        for i, end in zip(rows, ends[1:], strict=True):  # end: [batch, d_model]
            found = model.unembed(model.ln_final(end))  # [batch, vocab]
            writes = {node: scene.a[node] for node in spec.senders[i]}
            right = run(model, prompts.orig, reads=[LOGITS], writes=writes)[LOGITS]
            here = f"the logits with {kind} patched"
            before = scene.b[LOGITS]
            reason = reason or apart(model, here, found, right, before, moved=i == 0)
    return reason
