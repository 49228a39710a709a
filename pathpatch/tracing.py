"""Causal tracing: corrupt the subject's tokens, restore one state, see how much comes back.

Clean run: nothing is touched. Corrupted run: the token embeddings of the subject get noise, or
another subject stands there. Restored run: the corrupted run with a few nodes set to their clean
values. Direction: denoising.

Source: Meng et al. 2022 (ROME), section 2 and App. B. Book: chapter 4.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from pathpatch.activation import check_sets
from pathpatch.blocks import about, as_array, blocks
from pathpatch.cost import say
from pathpatch.effects import About, Effects, write_file
from pathpatch.errors import PathPatchError
from pathpatch.facts import FIRST, LAST
from pathpatch.forward import Run, run
from pathpatch.metrics import Metric, answer_prob
from pathpatch.models import Model
from pathpatch.nodes import LOGITS, Node, Sets, grid
from pathpatch.prompts import Prompts, Tokens
from pathpatch.spec import names

EMBED = Node("embed")
SEVERED = ("mlp_out", "attn_out")


@dataclass(frozen=True)
class Trace:
    """A metric in the clean, corrupted and restored runs: every node, draw and prompt by itself."""

    nodes: list[str]
    clean: Float[np.ndarray, " batch"]
    corrupted: Float[np.ndarray, "draw batch"]
    restored: Float[np.ndarray, "node draw batch"]
    about: About

    def total_effect(self) -> Float[np.ndarray, " batch"]:
        """Clean minus corrupted, mean over draws, in units of the metric: all there is to win."""
        return self.clean - self.corrupted.mean(0)

    def effects(self) -> Effects:
        """Mean over draws. base: corrupted; patched: restored; change: the indirect effect."""
        return Effects(self.nodes, self.corrupted.mean(0), self.restored.mean(1), self.about)

    def save(self, folder: str | Path, generator: np.random.Generator) -> None:
        """Write what `Effects.save` writes, and trace.json with every draw."""
        self.effects().save(folder, generator)
        values = {key: getattr(self, key).tolist() for key in ("clean", "corrupted", "restored")}
        data = json.dumps({"nodes": self.nodes, **values}, indent=1)
        write_file(Path(folder) / "trace.json", data.encode())


def causal_trace(
    model: Model,
    prompts: Prompts,
    nodes: Iterable[Node | str],
    *,
    noise: Float[Tensor, "draw batch pos d_model"] | None,
    severed: Sequence[str] = (),
    metric: Metric = answer_prob,
) -> Trace:
    """Restore each entry by itself, on every prompt and for every draw of the noise.

    An entry is a node, or several joined by + that are restored together (see `windows`). noise:
    added to the subject's token embeddings, and nowhere else (see `gaussian_noise`); None: the
    tokens of `prompts.corrupt` stand there instead. severed: mlp_out or attn_out, which keep their
    corrupted values, in all layers at the positions of the entry, unless restored themselves.

    Raises: PathPatchError, before any pass, for nodes that do not exist, prompts without the
    positions subject_first and subject_last, or noise of a wrong shape.
    """
    sets, change = check_sets(model, prompts.clean, nodes), _on_subject(prompts.clean, noise)
    cut = [_severed(model, severed, entry) for entry in sets]
    say(model, prompts, "causal tracing", 2 + len(change) * (1 + len(sets)))
    sizes = [len(part) for part in blocks(prompts)]
    clean, found = [], []
    total = len(change) * (1 + len(sets)) * len(prompts)
    with tqdm(total=total, unit="patch", delay=2, desc="causal tracing") as bar:
        for part, added in zip(blocks(prompts), torch.split(change, sizes, 1), strict=True):
            source = run(model, part.clean, reads=[LOGITS, EMBED, *chain(*sets)])
            clean.append(metric(source[LOGITS], part))
            embed = source if noise is not None else run(model, part.corrupt, reads=[EMBED])
            rows = []
            for draw in added:
                for logits in restored_runs(model, source, embed[EMBED] + draw, sets, cut):
                    rows.append(metric(logits, part))
                    bar.update(len(part))
            found.append(torch.stack(rows).view(len(change), -1, len(part)))
    table = as_array(torch.cat(found, -1).transpose(0, 1))  # [corrupted and entries, draw, batch]
    engine = f"causal tracing, {'replaced tokens' if noise is None else 'noise'}"
    asked = {"receivers": [], "frozen": "+".join(severed) or "nothing", "engine": engine}
    details = replace(about(model, prompts, sets, metric, **asked), direction="denoising")
    return Trace(names(sets), as_array(torch.cat(clean)), table[0], table[1:], details)


def restored_runs(
    model: Model, clean: Run, embeddings: Float[Tensor, "batch pos d_model"], sets: Sets, cut: Sets
) -> Iterator[Float[Tensor, "batch vocab"]]:
    """The logits of the corrupted run, then those of each restored run: ROME written out."""
    corrupted = {EMBED: embeddings}
    low = run(model, clean.tokens, reads=[LOGITS, *chain(*cut)], writes=corrupted)
    yield low[LOGITS]
    for entry, severed in zip(sets, cut, strict=True):
        writes = corrupted | {node: low[node] for node in severed}
        writes |= {node: clean[node] for node in entry}
        yield run(model, clean.tokens, reads=[LOGITS], writes=writes)[LOGITS]


def gaussian_noise(
    model: Model, tokens: Tokens, scale: float, generator: torch.Generator, draws: int = 10
) -> Float[Tensor, "draw batch pos d_model"]:
    """Independent normal numbers with a standard deviation of `scale`; ROME: 3 `embedding_std`."""
    shape = (draws, *tokens.ids.shape, model.cfg.d_model)
    return scale * torch.randn(shape, generator=generator, dtype=model.W_E.dtype)


def embedding_std(model: Model, texts: Iterable[str]) -> float:
    """The standard deviation of all numbers in the token embeddings of the texts.

    The paper takes a body of text, its code the subjects, each tokenised by itself.
    """
    ids = [i for text in texts for i in model.tokenizer(text)["input_ids"]]
    return model.W_E[ids].std().item()


def _severed(model: Model, kinds: Sequence[str], entry: Sequence[Node]) -> list[Node]:
    """What is cut for an entry: all layers of these kinds, at its positions."""
    if unknown := [kind for kind in kinds if kind not in SEVERED]:
        raise PathPatchError(f"cannot sever {unknown}; these can be: {', '.join(SEVERED)}")
    return [node for kind in kinds for node in grid(model, kind, {n.at: 0 for n in entry})]


def _on_subject(tokens: Tokens, noise: Tensor | None) -> Tensor:
    """The noise, zero outside the subject: from its first to its last token in each prompt."""
    if noise is None:
        return torch.zeros(1, len(tokens), 1, 1)
    first, last = (tokens.at(label)[:, None] for label in (FIRST, LAST))
    if noise.ndim != 4 or noise.shape[1:3] != tokens.ids.shape or not len(noise):
        wanted = f"[draws, {len(tokens)}, {tokens.ids.shape[1]}, d_model]"
        raise PathPatchError(f"the noise has shape {list(noise.shape)}, expected {wanted}")
    pos = torch.arange(tokens.ids.shape[1])
    return noise * ((first <= pos) & (pos <= last))[..., None]
