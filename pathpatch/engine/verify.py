"""Whether the fast engine knows a model: measured on the model itself, in every layer.

What a sweep asks may touch little of a model, so that agreement there would say little. Here the
two forms of pass C and of pass D are compared on two of the prompts with changes that reach every
layer: whatever the engine takes for granted about a layer is used, and its effect is seen.
"""

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pathpatch.engine.blocks import beside
from pathpatch.engine.fast import metric_at_end
from pathpatch.engine.pass_c import pass_c
from pathpatch.engine.pass_d import pass_d
from pathpatch.engine.scene import Layout, Scene, first_step, run_a_and_b, take
from pathpatch.forward import Run, all_modules, run
from pathpatch.metrics import logit_diff
from pathpatch.nodes import FROZEN, LOGITS, Model, Node, Sets, heads, mlps
from pathpatch.prompts import END, Prompts, Tokens

# How far the two forms may be apart, in parts of the largest value. In float64 some models round
# through float32 on the way. In float32 deep models carry rounding far: over 30 layers of SmolLM2
# 1e-5 to 1.2e-4, by prompts.
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}
Reasons = dict[str, str]  # kind of sender -> why the fast engine must not do it


def why_not_fast(model: Model, prompts: Prompts, senders: Sets) -> str:
    """Why the fast engine must not patch these senders; empty where both forms give the same.

    Measured once for a model, as long as its modules stay the same, and a length of the prompts.
    """
    known = known_of(model, prompts)
    if not known:
        known |= _measure(model, beside(model, two_of(prompts)))
    kinds = {node.kind for nodes in senders for node in nodes}
    return next((known[kind] for kind in sorted(kinds) if known.get(kind)), "")


def known_of(model: Model, prompts: Prompts) -> Reasons:
    """What is known already of these modules, at this length of the prompts. It may be added to."""
    key = (prompts.orig.ids.shape[1], _modules(model))
    return _known.setdefault(model, {}).setdefault(key, {})


def _modules(model: Model) -> int:
    """What the model is made of. Other weights are as good; another module or forward is not."""
    parts = all_modules(model)
    own = [(id(module), id(type(module)), id(vars(module).get("forward"))) for module in parts]
    return hash(tuple(sorted(own)))


def two_of(prompts: Prompts) -> Prompts:
    """The shortest and the longest prompt. x_new has other tokens of the prompts, everywhere."""
    end = prompts.orig.at(END)
    rows = list(dict.fromkeys([int(end.argmin()), int(end.argmax())]))
    some = torch.tensor(rows, device="cpu")
    orig = prompts.orig[some]
    words = torch.unique(torch.cat([prompts.orig.ids.flatten(), prompts.new.ids.flatten()]))
    steps = torch.arange(1, orig.ids.numel() + 1, device="cpu").reshape(orig.ids.shape)
    own = torch.searchsorted(words, orig.ids)
    others = words[(own + 1 + steps % max(1, len(words) - 1)) % len(words)]  # [batch, pos]
    return replace(
        prompts,
        orig=orig,
        new=Tokens(others, orig.positions),
        answer=prompts.answer[some],
        foil=prompts.foil[some],
        pairs=tuple(prompts.pairs[row] for row in rows),
    )


def _measure(model: Model, prompts: Prompts) -> Reasons:
    """Pass D once, for all; pass C for each kind of sender."""
    sets = {"embed": [Node("embed")], "z": heads(model), "mlp_out": mlps(model)}
    try:
        probe = _Probe.of(model, prompts, {kind: nodes for kind, nodes in sets.items() if nodes})
        if reason := probe.pass_d():
            return dict.fromkeys(sets, reason)
        return probe.pass_c()
    except Exception as error:  # parts that other models lack; what is raised is of every class
        name = model.cfg.model_name
        return dict.fromkeys(sets, f"the fast engine does not know the parts of {name} ({error})")


@dataclass(frozen=True)
class _Probe:
    """Passes A and B of the probe.

    before: the receivers in pass B. sets: kind -> all nodes of that kind, sent together.
    """

    scene: Scene
    before: Run
    prompts: Prompts
    sets: dict[str, list[Node]]

    @staticmethod
    def of(model: Model, prompts: Prompts, sets: dict[str, list[Node]]) -> "_Probe":
        """Receivers are in every layer: the inputs of two heads and of the MLP, and the residual
        stream below and above."""
        layers, some = range(model.cfg.n_layers), {0, model.cfg.n_heads - 1}
        every = range(model.cfg.n_heads)  # in the lowest layer all heads, in others two
        doors = [(i, head) for i in layers for head in (some if i else every)]
        receivers = [Node(door, i, head) for i, head in doors for door in "qkv"]
        kinds = ["resid_pre", *(["mlp_in"] if mlps(model) else []), "resid_post"]
        receivers += [Node(kind, i) for i in layers for kind in kinds]
        layout = Layout(model, prompts.orig, receivers, mlps_frozen=False)
        scene = run_a_and_b(layout, prompts.new, list(sets.values()))
        return _Probe(scene, run(model, prompts.orig, reads=receivers), prompts, sets)

    def pass_c(self) -> Reasons:
        """What every receiver would be when all nodes of a kind send; of heads, also with the MLPs
        frozen."""
        scene, model, reasons = self.scene, self.scene.model, dict.fromkeys(self.sets, "")
        for kind, frozen in (*((kind, "heads") for kind in self.sets), ("z", "heads+mlps")):
            nodes = self.sets[kind]
            fixed = replace(scene, mlps_frozen=model.cfg.attn_only or frozen != "heads")
            stored, _ = pass_c(fixed, [nodes], [first_step(model, nodes)])
            writes = {node: scene.b[node] for node in FROZEN[frozen](model)}
            writes |= {node: scene.a[node] for node in nodes}
            right = run(model, scene.tokens, reads=scene.receivers, writes=writes)
            for node in scene.receivers:
                three = [x[self._real()] for x in (stored[node][0], right[node], self.before[node])]
                last = node == scene.receivers[-1]  # the change must have come up to here
                found = apart(model, str(node), three[0], three[1], three[2], moved=last)
                reasons[kind] = reasons[kind] or found
        return reasons

    def pass_d(self) -> str:
        """The logits when receivers in the lowest layer hold noise: all inputs of heads, at all
        positions and at one, then the input of the MLP, then the residual stream above; of these
        two the change must be seen in the end."""
        middle = int(self.scene.tokens.at(END).min()) // 2
        lowest = [node for node in self.scene.receivers if node.layer == 0]
        doors = [node for node in lowest if node.head is not None]
        reason = self._noisy(doors) or self._noisy([replace(node, at=middle) for node in doors])
        for node in [node for node in lowest if node.kind in ("mlp_in", "resid_post")]:
            reason = reason or self._noisy([node], moved=True)
        return reason

    def _noisy(self, receivers: list[Node], moved: bool = False) -> str:
        scene, model = replace(self.scene, receivers=receivers), self.scene.model
        stored, writes = {}, {}
        for node in receivers:
            whole = self.before[node.everywhere()]  # [batch, pos, ...]
            value = take(whole, scene.places(node))  # [batch, place, ...]
            noise = torch.arange(value.numel(), device=value.device).cos()  # between -1 and 1
            value = value + 3 * noise.reshape(value.shape).to(value) * value.std()
            stored[node], writes[node] = value[None], value if node.at is None else value[:, 0]
        end = pass_d(scene, stored)  # [1, batch, d_model]
        right = run(model, scene.tokens, reads=[LOGITS], writes=writes)[LOGITS]
        found = model.unembed(model.ln_final(end))[0]  # [batch, vocab]
        if reason := apart(model, "the logits", found, right, scene.b[LOGITS], moved=moved):
            return reason
        short = metric_at_end(model, end, self.prompts, logit_diff)[0]  # [batch]
        size = right.abs().max()
        wanted, one = logit_diff(right, self.prompts) / size, right.new_ones(1)
        return apart(model, "the logit difference", short / size, wanted, one)

    def _real(self) -> Tensor:
        """Which positions are no padding, [batch, pos]."""
        ids, end = self.scene.tokens.ids, self.scene.tokens.at(END)
        return torch.arange(ids.shape[1], device=ids.device) <= end[:, None]


def apart(
    model: Model, what: str, found: Tensor, right: Tensor, before: Tensor, moved: bool = False
) -> str:
    """In words, where two forms differ; also where a change should have moved them and has not.

    Rounding is measured in parts of the largest value, changed or not.
    """
    name = model.cfg.model_name
    largest = max(right.abs().max(), before.abs().max())
    allowed = ROUNDING.get(right.dtype, 0.1) * largest
    gap = (found - right).abs().max()
    if not gap <= allowed:
        return (
            f"the fast engine does not know {name}: on two prompts {what} differs by "
            f"{gap:.2g} of {largest:.2g} from the literal form"
        )
    if moved and not (right - before).abs().max() > gap:
        return f"the fast engine cannot be compared on {name}: no change reaches {what}"
    return ""


_known: WeakKeyDictionary[Model, dict[object, Reasons]] = WeakKeyDictionary()
