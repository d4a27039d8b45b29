"""Passages of text for the language model alone, and the activations of its units on them.

Passages are the human captions of the sample's images, and the paragraphs of any text files, cut
to MAX_TOKENS tokens. Each is read by itself, after the tokenizer's separator (BOS, else EOS) where
there is one: the first place of a sequence has activations of its own kind in many models, and
is never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas_db.errors import DatasetError
from builder.fused import fused_kernels
from builder.language_model import LanguageModel

MAX_TOKENS = 48
CAPTIONS = "human captions"
_PARAGRAPH = re.compile(r"\n\s*\n|\n")
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text: where it is from, its number there, its tokens (no separator)."""

    source: str
    number: int
    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PassageBatch:
    """Passages of one pass.

    Attributes:
        index: Which of all passages, (batch,).
        activations: Of one layer: (batch, MAX_TOKENS, d_mlp); the first place is the passage's
            first token. Places beyond a passage have its units' least activation there.
    """

    index: Tensor
    activations: Tensor


#: Sees (layer, batch) of every layer of every batch.
TextSink = Callable[[int, PassageBatch], None]


def read_passages(tokenizer: Any, captions: Sequence[str], files: Sequence[Path]) -> list[Passage]:
    """Cut captions and text files into passages; those without a token are left out.

    Raises:
        DatasetError: A file cannot be read as UTF-8 text.
    """
    passages = [*_cut(tokenizer, CAPTIONS, captions)]
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path} cannot be read as text: {error}. Wanted UTF-8.") from None
        passages += _cut(tokenizer, path.name, _PARAGRAPH.split(text))
    return passages


def _cut(tokenizer: Any, source: str, texts: Sequence[str]) -> Iterator[Passage]:
    for number, text in enumerate(texts):
        # With a leading space, as words stand inside a text.
        token_ids = tokenizer.encode(" " + text.strip(), add_special_tokens=False)[:MAX_TOKENS]
        if text.strip() and token_ids:
            yield Passage(source, number, text.strip(), tuple(token_ids))


@torch.no_grad()
def read_activations(
    model: LanguageModel,
    passages: Sequence[Passage],
    sink: TextSink,
    *,
    separator_id: int | None,
    progress: Callable[[int], None] = lambda n_done: None,
) -> None:
    """Run the language model over passages, those of like length together.

    Args:
        separator_id: Put before each passage and not looked at; None puts none, and then a
            passage's first token is not looked at.
        progress: Told of the passages done.
    """
    order = sorted(range(len(passages)), key=lambda i: (len(passages[i].token_ids), i))
    device = model.unembedding.device
    with fused_kernels(model.model):
        for start in range(0, len(order), _BATCH):
            index = order[start : start + _BATCH]
            _read_batch(model, [passages[i] for i in index], index, sink, separator_id, device)
            progress(start + len(index))


def _read_batch(
    model: LanguageModel,
    passages: Sequence[Passage],
    index: Sequence[int],
    sink: TextSink,
    separator_id: int | None,
    device: torch.device,
) -> None:
    before = [] if separator_id is None else [separator_id]
    rows = [[*before, *passage.token_ids] for passage in passages]
    lengths = torch.tensor([len(row) for row in rows], device=device)
    width = int(lengths.max())
    # Attention looks back only: what stands behind a passage changes nothing in it.
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    place = torch.arange(width, device=device)
    is_seen = ((place > 0) & (place < lengths[:, None]))[..., None]
    n_before = len(before)

    def see(layer: int, values: Tensor) -> None:
        a = values.view(len(rows), width, -1)
        least = a.masked_fill(~is_seen, torch.inf).amin(dim=1, keepdim=True)
        # A passage of one token that is not looked at has no activation at all.
        least = torch.where(torch.isinf(least), 0, least)
        kept = torch.where(is_seen, a, least)[:, n_before:]
        padding = least.expand(-1, MAX_TOKENS - kept.shape[1], -1)
        places = torch.cat([kept, padding], dim=1)
        sink(layer, PassageBatch(torch.tensor(index, device=device), places))

    with model.taps(activation=see):
        model.model(input_ids=ids, use_cache=False, logits_to_keep=1)
