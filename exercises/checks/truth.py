"""Path patches on random models: what is right, and what comes out after each known mistake."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, cached_property
from unittest import mock

import torch
from torch import Tensor

from exercises.checks.labs import lab
from pathpatch import (
    LOGITS,
    Node,
    activation_patch,
    run,
)
from pathpatch.forward import all_modules, foreign_hooks
from pathpatch.nodes import as_nodes, heads, mlps

Pass = dict[Node, Tensor]
ENDS = {  # senders and receivers, in each of the two families
    "gpt2": (
        (("0.3@END",), ("1.0.q@END", "2.1.q@END", "2.1.k@S2")),
        (("0.0@S2", "0.mlp_out@S2"), ("2.2.k@S2", "2.1.v@S2")),
        (("0.1@END",), ("2.3.q@END",)),
    ),
    "llama": (
        (("0.4@END",), ("2.1.q@END",)),
        (("0.1@S2",), ("2.kv1.k@S2", "1.2.v@S2")),
        (("1.3@END",), ("2.resid_post@END",)),
    ),
}


@cache
def question(kind: str, senders: tuple[str, ...], receivers: tuple[str, ...]) -> "Question":
    """A question is asked again and again: by several exercises, and at each new try."""
    return Question(kind, senders, receivers)


def questions() -> list["Question"]:
    return [question(kind, *ends) for kind, some in ENDS.items() for ends in some]


class Question:
    """Path patch some senders to some receivers, with all heads frozen."""

    def __init__(self, kind: str, senders: Iterable[str], receivers: Iterable[str]) -> None:
        self.kind, (self.model, self.prompts) = kind, lab(kind)
        self.senders, self.receivers = as_nodes(senders), as_nodes(receivers)
        every = [*heads(self.model), *mlps(self.model), *self.senders, LOGITS]
        self.a = run(self.model, self.prompts.new, reads=every)
        self.b = run(self.model, self.prompts.orig, reads=every)
        self.frozen = {node: self.b[node] for node in heads(self.model)}
        self.patch = {node: self.a[node] for node in self.senders}
        self.stored = self.c(self.frozen, self.patch)
        self.given = (self.model, self.prompts, self.a, self.b, self.stored)

    def c(self, *writes: Pass, new: bool = False) -> Pass:
        """A run on x_orig (or x_new) with these writes, the later ones last, that reads R."""
        return self._run(self.receivers, writes, new)

    def d(self, *writes: Pass, new: bool = False) -> Tensor:
        """The same, reading the logits."""
        return self._run([LOGITS], writes, new)[LOGITS]

    def _run(self, reads: list[Node], writes: Iterable[Pass], new: bool) -> Pass:
        merged: Pass = {}
        for some in writes:
            merged = {n: v for n, v in merged.items() if n not in some} | some
        tokens = self.prompts.new if new else self.prompts.orig
        return dict(run(self.model, tokens, reads=reads, writes=merged))

    @cached_property
    def wrong_stored(self) -> dict[str, Pass]:
        """What pass C stores after each of several mistakes."""
        a, b, frozen, patch = self.a, self.b, self.frozen, self.patch
        mlp = {node: b[node] for node in mlps(self.model) if node not in self.senders}
        wide = [node.everywhere() for node in self.senders]
        late = max(node.layer or 0 for node in self.receivers)
        short = {node: value for node, value in frozen.items() if (node.layer or 0) < late - 1}
        layer = [
            replace(node, at=n.at)
            for n in self.senders
            for node in heads(self.model)
            if n.kind == "z" and node.layer == n.layer
        ]
        mean = {n: v.mean(0, keepdim=True).expand_as(v) for n, v in patch.items()}
        return {
            "nothing is frozen: heads between h and R react to the new h": self.c(patch),
            "the MLPs are frozen too: they belong to the direct path": self.c(frozen, mlp, patch),
            "the freeze comes after the patch and undoes it": self.c(patch, frozen),
            "R is as in pass B: it was read where nothing was patched, or a view of it was kept "
            "and then changed": self.c(),
            "x_orig and x_new have changed places": self.c(
                {n: a[n] for n in frozen}, {n: b[n] for n in patch}, new=True
            ),
            "the freeze is taken from A and the patch from B: it is the other way round": self.c(
                {n: a[n] for n in frozen}, {n: b[n] for n in patch}
            ),
            "pass C is run on x_new": self.c(frozen, patch, new=True),
            "R is read in pass A, where every sender is new": self.c(new=True),
            "the sender is patched at all positions, not only at its own": self.c(
                frozen, {n: a[n] for n in wide}
            ),
            "only the first of the senders is patched": self.c(
                frozen, {n: patch[n] for n in self.senders[:1]}
            ),
            "all heads of the sender's layer are patched": self.c(
                frozen, patch, {n: a[n] for n in layer}
            ),
            "the layers are off by one: the last layer before R is not frozen": self.c(
                short, patch
            ),
            "the sender's values are averaged over the prompts": self.c(frozen, mean),
            "the scale of the norms is frozen: it belongs to the direct path": self._scaled(
                lambda name: True
            ),
            "the scale of the norm before R is frozen: it belongs to the direct path": self._scaled(
                lambda name: name == f"blocks.{late}.ln1.hook_scale"
            ),
        }

    @cached_property
    def wrong_logits(self) -> dict[str, Tensor]:
        """The logits at END after each of several mistakes, in pass C or in pass D."""
        found = {words: self.d(stored) for words, stored in self.wrong_stored.items()}
        swapped = "x_orig and x_new have changed places"
        found[swapped] = self.d(self.wrong_stored[swapped], new=True)
        doors = [n for n in self.receivers if n.kind in "qkv"]
        block = {replace(n, kind="resid_pre", head=None, shared=False): n for n in doors}
        stream = self._run(list(block), [self.frozen, self.patch], new=False)
        more = {
            "h is patched again in pass D: there it is as on x_orig": self.d(
                self.stored, self.patch
            ),
            "the logits of pass C are returned, where R is not used": self.d(
                self.frozen, self.patch
            ),
            "pass D is run on x_new": self.d(self.stored, new=True),
            "h is patched and everything reacts: that is activation patching": activation_patch(
                self.model, self.prompts, nodes=self.senders
            ),
            "R is overwritten with its value on x_new": self.d(self.c(new=True)),
            "the residual stream before R is stored, and not one input of one head": self.d(stream),
            "R is set in all heads of its layer, and not in one": self._whole_layer(doors),
        }
        return found | self.wrong_d | more

    @cached_property
    def wrong_d(self) -> dict[str, Tensor]:
        """The logits at END after each of several mistakes with the right stored values."""
        first = dict(list(self.stored.items())[:1])
        mean = {n: v.mean(0, keepdim=True).expand_as(v) for n, v in self.stored.items()}
        return {
            "R is not written: these are the logits of pass B": self.b[LOGITS],
            "all heads are frozen in pass D too; there everything is recomputed": self.d(
                self.frozen, self.stored
            ),
            "only the first receiver is written": self.d(first),
            "R is written at all positions, and not only at its own": self.d(self._everywhere()),
            "the stored values are averaged over the prompts": self.d(mean),
        }

    def _whole_layer(self, doors: list[Node]) -> Tensor:
        numbers = range(self.model.cfg.n_heads)
        wide = [replace(node, head=i, shared=False) for node in doors for i in numbers]
        stored = self._run(list(dict.fromkeys(wide)), [self.frozen, self.patch], new=False)
        return self.d(stored)

    def _everywhere(self) -> Pass:
        """Each stored value written at every position."""
        wide: Pass = {}
        for node, value in self.stored.items():
            whole = run(self.model, self.prompts.orig, reads=[node.everywhere()])
            wide[node.everywhere()] = value[:, None].expand_as(whole[node.everywhere()])
        return wide

    def _scaled(self, which: Callable[[str], bool]) -> Pass:
        """What C stores when the scales of some norms are frozen too, which `run` cannot do."""
        _, own = self.model.run_with_cache(self.prompts.orig.ids)
        points = [n for n in self.model.hook_dict if n.endswith("hook_scale") and which(n)]
        hold = [(name, lambda value, hook, name=name: own[name]) for name in points]
        with self.model.hooks(fwd_hooks=hold), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "numerics may differ": they shall
            known = foreign_hooks(all_modules(self.model))  # else `run` refuses to run beside them
            with mock.patch.object(self.model.cfg, "own_hooks", known):
                return self.c(self.frozen, self.patch)

    def at_positions(self, mask: Tensor) -> Tensor:
        """The logits of D when h is patched and R set wherever the mask [batch, pos] says."""
        (h,), (r,) = self.senders, self.receivers
        mixed = torch.where(mask[..., None], self.a[h.everywhere()], self.b[h.everywhere()])
        writes = self.frozen | {h.everywhere(): mixed}
        stored = run(self.model, self.prompts.orig, reads=[r.everywhere()], writes=writes)

        def some(own: Tensor) -> Tensor:
            return torch.where(mask[..., None], stored[r.everywhere()], own)

        put = {r.everywhere(): some}
        return run(self.model, self.prompts.orig, reads=[LOGITS], writes=put)[LOGITS]
