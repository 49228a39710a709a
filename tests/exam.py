"""The exam for any `path_patch`: the library's passes it, every mutant must fail it."""

from collections.abc import Callable

import oracle
import torch
from conftest import Tiny, as_oracle, ends

from pathpatch import LOGITS, heads, mlps, run
from pathpatch.nodes import as_nodes

# (senders, receivers) in every kind of address. gpt2 has 4 heads; llama 6, in pairs of 3 per kv.
CASES = {
    "q": (["0.1@END"], ["2.3.q@END"]),
    "q over a layer": (["0.2@END"], ["1.1.q@END"]),
    "k": (["0.0@S2"], ["1.2.k@S2"]),
    "v": (["1.1@S2"], ["2.0.v@S2"]),
    "shared k": (["0.3@S2"], ["1.kv1.k@S2"]),
    "shared v": (["0.3@S2"], ["2.kv0.v@S2"]),
    "final residual": (["1.2@END"], ["2.resid_post@END"]),
    "logits": (["0.3@END"], ["logits@END"]),
    "last layer to the logits": (["2.1@END"], ["logits@END"]),
    "mlp sender": (["0.mlp_out@END"], ["2.0.q@END", "2.2.q@END"]),
    "embedding sender": (["embed@S2"], ["1.0.v@S2", "1.1.k@S2"]),
    "several senders": (["0.0@S2", "0.1@S2", "1.mlp_out@S2"], ["2.1.v@S2", "2.1.k@S2"]),
    "several layers": (["0.2@END"], ["1.0.q@END", "2.1.q@END", "2.resid_post@END"]),
    "all positions": (["0.1"], ["1.3.k", "2.3.v"]),
    "one token": (["0.1@2"], ["1.3.v@2"]),
    "an MLP": (["0.1@END"], ["2.mlp_in@END"]),
    "the MLP of its layer": (["1.0@S2", "0.mlp_out@S2"], ["1.mlp_in@S2"]),
    "an MLP everywhere": (["embed"], ["1.mlp_in"]),
    "an MLP and others": (["0.2@END"], ["1.mlp_in@END", "2.0.q@END", "2.1.v@END", "2.mlp_in@END"]),
    "a stream below a layer": (["0.0@S2"], ["1.resid_pre@S2", "1.mlp_in@S2"]),
    "a residual stream on the way": (["0.3@END"], ["1.resid_post@END", "2.0.q@END"]),
}


def patch_both_ways(path_patch: Callable, tiny: Tiny, case: str, edges: bool, denoise: bool):
    """Logits at END: the candidate's, the oracle's, and those of x_orig."""
    senders, receivers = map(as_nodes, CASES[case])
    prompts = tiny.prompts.swapped() if denoise else tiny.prompts
    frozen = heads(tiny.model) + (mlps(tiny.model) if edges else [])
    found = path_patch(tiny.model, prompts, senders=senders, receivers=receivers, frozen=frozen)
    expected = oracle.path_patch(
        tiny.weights,
        prompts.orig.ids,
        prompts.new.ids,
        [as_oracle(node, prompts.orig) for node in senders],
        [as_oracle(node, prompts.orig) for node in receivers],
        edges,
    )
    b = run(tiny.model, prompts.orig, reads=[LOGITS])
    return found, ends(expected, prompts.orig), b[LOGITS]


def exam(path_patch: Callable, tiny: Tiny) -> None:
    """Raises: AssertionError when any case differs from the oracle."""
    for case in CASES:
        for edges in (False, True):
            found, expected, _ = patch_both_ways(path_patch, tiny, case, edges, denoise=False)
            assert (found - expected).abs().max() < 1e-10, (case, edges)
    assert not hooks_on(tiny.model), "hooks left behind"


def hooks_on(model: torch.nn.Module) -> list[str]:
    return [name for name, point in model.hook_dict.items() if point.fwd_hooks]
