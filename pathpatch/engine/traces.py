"""Causal tracing over many nodes, prompts and draws of the noise, and the table of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pathpatch.effects import About, Effects
from pathpatch.engine.blocks import as_array, blocks
from pathpatch.engine.spec import Corruption, Spec, SweepOptions, check_sets
from pathpatch.engine.sweeps import run_sweep
from pathpatch.errors import PathPatchError, check_number
from pathpatch.files import write_file
from pathpatch.forward import run
from pathpatch.metrics import Metric, answer_prob, per_prompt
from pathpatch.nodes import LOGITS, Entries, Model, Sets, names
from pathpatch.prompts import FIRST, LAST, Prompts, Tokens
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
    options: SweepOptions | None = None,
) -> Trace:
    """Restore each entry by itself, on every prompt and for every draw of the noise.

    An entry is a node, or several joined by + that are restored together (see `windows`). noise:
    added to the subject's token embeddings, and nowhere else (see `gaussian_noise`); None: the
    tokens of `prompts.new` stand there instead. severed: mlp_out or attn_out, which keep their
    corrupted values, in all layers at the positions of the entry, unless restored themselves.
    options: as in `activation_sweep`.

    Raises: PathPatchError, before any pass, for nodes that do not exist, prompts without the
    positions subject_first and subject_last, or noise of a wrong shape.
    """
    sets, change = (
        check_sets(model, prompts.orig, nodes),
        _on_subject(prompts.orig, noise, model.cfg.d_model),
    )
    # Each draw is a column by itself, like a prompt: [draw, batch] in one.
    columns = prompts[list(range(len(prompts))) * len(change)]
    flat = change.flatten(0, 1) if noise is not None else None  # [draw and batch, pos, d_model]
    kept, corruption = "+".join(severed) or "nothing", Corruption(flat, tuple(severed))
    spec = Spec(sets, [], [], kept, metric, corruption=corruption)
    found = run_sweep(model, columns, spec, SweepOptions.of(options))
    shape = len(change), len(prompts)
    clean = [
        per_prompt(metric, run(model, part.orig, reads=[LOGITS])[LOGITS], part)
        for part in blocks(model, prompts)
    ]
    details = replace(found.about, prompts_sha256=prompts.sha256(), direction="denoising")
    return Trace(
        sets,
        as_array(torch.cat(clean)),
        found.base.reshape(shape),
        found.patched.reshape(-1, *shape),
        details,
        clusters(prompts),
        seed=found.seed,
    )


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
