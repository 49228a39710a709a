"""Causal tracing: corrupt the subject's tokens, restore one state, see how much comes back.

Clean run: nothing is touched. Corrupted run: the token embeddings of the subject get noise, or
another subject stands there. Restored run: the corrupted run with a few nodes set to their clean
values. These are ROME's words. Here the clean run is that on `prompts.orig`, and what is patched is
the corrupted run (with another subject: that on `prompts.new`). Direction: denoising.

Source: Meng et al. 2022 (ROME), section 2 and App. B. Book: chapter 4.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pathpatch.errors import PathPatchError, as_list, check_number
from pathpatch.forward import Run, run
from pathpatch.nodes import LOGITS, Model, Node, Sets, device_of
from pathpatch.prompts import END, Tokens

EMBED = Node("embed")
SEVERED = ("mlp_out", "attn_out")
PAPER, CODE = (4, 5), (5, 4)  # how far a window of ROME reaches, below and above


def restored_runs(
    model: Model, clean: Run, embeddings: Float[Tensor, "batch pos d_model"], sets: Sets, cut: Sets
) -> Iterator[Float[Tensor, "batch vocab"]]:
    """The logits of the corrupted run, then those of each restored run: ROME written out."""
    corrupted = {EMBED: embeddings}
    low = run(model, clean.tokens, reads=[LOGITS, *chain(*cut)], writes=corrupted)
    yield low[LOGITS]
    for entry, severed in zip(sets, cut, strict=True):
        # What is restored comes last: two labels of one token may name it, one of them severed.
        writes = corrupted | {node: low[node] for node in severed if node not in entry}
        writes |= {node: clean[node] for node in entry}
        yield run(model, clean.tokens, reads=[LOGITS], writes=writes)[LOGITS]


def windows(
    model: Model, kind: str, positions: Iterable[str | int], reach: tuple[int, int] = PAPER
) -> list[str]:
    """Runs of neighbouring layers, restored together: one around each layer, at each position.

    reach: how many layers below and above; at both ends of the model the window is cut off. The
    paper says l-4 to l+5 (PAPER), its code does l-5 to l+4 (CODE). Source: Meng et al. 2022.
    """
    (below, above), layers, at = reach, range(model.cfg.n_layers), as_list(positions, "positions")
    for side in reach:
        check_number("the reach of a window", side, 0, whole=True)
    return [
        "+".join(
            str(Node(kind, i, at=where)) for i in layers[max(0, mid - below) : mid + above + 1]
        )
        for mid in layers
        for where in at
    ]


def gaussian_noise(
    model: Model, tokens: Tokens, scale: float, generator: torch.Generator, draws: int = 10
) -> Float[Tensor, "draw batch pos d_model"]:
    """Independent normal numbers with a standard deviation of `scale`; ROME: 3 `embedding_std`.

    They are drawn where the generator is (by default on the CPU), so that a seed gives the same
    noise on every machine, and moved to the model.
    """
    check_number("the number of draws", draws, 1, whole=True)
    check_number("the scale of the noise", scale, 0)
    shape, dtype = (draws, *tokens.ids.shape, model.cfg.d_model), model.W_E.dtype
    noise = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)
    return scale * noise.to(device_of(model))


def embedding_std(model: Model, texts: Iterable[str]) -> float:
    """The standard deviation of all numbers in the token embeddings of the texts.

    The paper takes a body of text, its code the subjects, each tokenised by itself, without BOS.
    Measured where the noise is added: some models scale the rows of their table first.
    """
    rows = [
        model.tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in as_list(texts, "texts")
    ]
    if not (rows := [torch.tensor(row, device="cpu") for row in rows if row]):
        raise PathPatchError("embedding_std needs at least one text with a token, got none")
    lengths = torch.tensor([len(row) for row in rows], device="cpu")  # [text]
    ids = pad_sequence(rows, batch_first=True)  # [text, pos]
    found = run(model, Tokens(ids, {END: lengths - 1}), reads=[EMBED])[EMBED].cpu().double()
    return found[torch.arange(ids.shape[1], device="cpu") < lengths[:, None]].std().item()
