"""Causal tracing over many nodes, prompts and draws of the noise, and the table of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from pathpatch.effects import About, Effects
from pathpatch.engine.blocks import about, as_array, blocks
from pathpatch.engine.cost import announce
from pathpatch.engine.spec import check_sets
from pathpatch.errors import PathPatchError, as_list, check_number
from pathpatch.files import write_file
from pathpatch.forward import run
from pathpatch.metrics import Metric, answer_prob, per_prompt
from pathpatch.nodes import LOGITS, Entries, Model, Node, Sets, grid, names
from pathpatch.prompts import FIRST, LAST, Prompts, Tokens
from pathpatch.tracing import EMBED, SEVERED, restored_runs
from pathpatch.uncertainty import clusters


@dataclass(frozen=True)
class Trace:
    """A metric in the clean, corrupted and restored runs: every entry, draw and prompt by itself.

    nodes: the entries; the nodes of an entry were restored together. seed: that of `effects`.
    """

    nodes: Sets
    clean: Float[np.ndarray, " batch"]
    corrupted: Float[np.ndarray, "draw batch"]
    restored: Float[np.ndarray, "node draw batch"]
    about: About
    templates: list[str] = field(default_factory=list)  # as in Effects
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", check_number("the seed", self.seed, 0, whole=True))

    def total_effect(self) -> Float[np.ndarray, " batch"]:
        """Clean minus corrupted, mean over draws, in units of the metric: all there is to win."""
        return self.clean - self.corrupted.mean(0)

    def effects(self) -> Effects:
        """Mean over draws. base: corrupted; patched: restored; change: the indirect effect."""
        base, patched = self.corrupted.mean(0), self.restored.mean(1)
        return Effects(self.nodes, base, patched, self.about, self.templates, seed=self.seed)

    def save(self, folder: str | Path) -> None:
        """Write what `Effects.save` writes, and trace.json with every draw."""
        self.effects().save(folder)
        values = {key: getattr(self, key).tolist() for key in ("clean", "corrupted", "restored")}
        data = json.dumps({"nodes": names(self.nodes), **values}, indent=1)
        write_file(Path(folder) / "trace.json", data.encode())


def causal_trace(
    model: Model,
    prompts: Prompts,
    nodes: Entries,
    *,
    noise: Float[Tensor, "draw batch pos d_model"] | None,
    severed: Sequence[str] = (),
    metric: Metric = answer_prob,
) -> Trace:
    """Restore each entry by itself, on every prompt and for every draw of the noise.

    An entry is a node, or several joined by + that are restored together (see `windows`). noise:
    added to the subject's token embeddings, and nowhere else (see `gaussian_noise`); None: the
    tokens of `prompts.new` stand there instead. severed: mlp_out or attn_out, which keep their
    corrupted values, in all layers at the positions of the entry, unless restored themselves.

    Raises: PathPatchError, before any pass, for nodes that do not exist, prompts without the
    positions subject_first and subject_last, or noise of a wrong shape.
    """
    sets, change = (
        check_sets(model, prompts.orig, nodes),
        _on_subject(prompts.orig, noise, model.cfg.d_model),
    )
    cut = [_severed(model, severed, entry) for entry in sets]
    announce(model, prompts, "causal tracing", 2 + len(change) * (1 + len(sets)))
    parts = blocks(model, prompts)
    shares = torch.split(change, [len(part) for part in parts], 1)  # [draw, batch, pos, d_model]
    clean, found = [], []
    total = len(change) * (1 + len(sets)) * len(prompts)
    with tqdm(total=total, unit="patch", delay=2, desc="causal tracing") as bar:
        for part, added in zip(parts, shares, strict=True):
            untouched = run(model, part.orig, reads=[LOGITS, EMBED, *chain(*sets)])
            clean.append(per_prompt(metric, untouched[LOGITS], part))
            embed = untouched if noise is not None else run(model, part.new, reads=[EMBED])
            rows = []
            for draw in added.to(embed[EMBED]):
                subject = embed[EMBED] + draw
                for logits in restored_runs(model, untouched, subject, sets, cut):
                    rows.append(per_prompt(metric, logits, part))
                    bar.update(len(part))
            # [draw, corrupted and entries, batch]
            found.append(torch.stack(rows).view(len(change), -1, len(part)))
    table = as_array(torch.cat(found, -1).transpose(0, 1))  # [corrupted and entries, draw, batch]
    engine = f"causal tracing, {'replaced tokens' if noise is None else 'noise'}"
    asked = {"receivers": [], "frozen": "+".join(severed) or "nothing", "engine": engine}
    details = replace(about(model, prompts, sets, metric, **asked), direction="denoising")
    values = as_array(torch.cat(clean)), table[0], table[1:]
    return Trace(sets, *values, details, clusters(prompts))


def _severed(model: Model, kinds: Sequence[str], entry: Sequence[Node]) -> list[Node]:
    """What is cut for an entry: all layers of these kinds, at its positions."""
    if unknown := [kind for kind in as_list(kinds, "kinds") if kind not in SEVERED]:
        raise PathPatchError(f"cannot sever {unknown}; these can be: {', '.join(SEVERED)}")
    return [node for kind in kinds for node in grid(model, kind, {n.at: 0 for n in entry})]


def _on_subject(tokens: Tokens, noise: Tensor | None, width: int) -> Tensor:
    """The noise, zero outside the subject: from its first to its last token in each prompt."""
    if noise is None:
        return torch.zeros(1, len(tokens), 1, 1, device=tokens.ids.device)
    tokens = tokens.to(noise.device)
    first, last = (tokens.at(label)[:, None] for label in (FIRST, LAST))  # [batch, 1]
    wanted = (*tokens.ids.shape, width)
    if noise.shape[1:] != wanted or not len(noise):
        said = f"the noise has shape {list(noise.shape)}, expected [draws, {str(wanted)[1:-1]}]"
        raise PathPatchError(said)
    pos = torch.arange(tokens.ids.shape[1], device=noise.device)
    return noise * ((first <= pos) & (pos <= last))[..., None]  # [draw, batch, pos, d_model]
