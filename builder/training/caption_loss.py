"""The loss of a batch of captions after a batch of projected images.

The language model reads `[BOS] image [prompt] caption`; what counts is the cross-entropy of the
caption's tokens and of the end-of-text token after them, and nothing else: neither the image's
positions nor the prompt nor the padding. Captions are padded on the right, behind everything that
counts, so that the causal mask needs no padding mask.

Source: Merullo et al. (arXiv 2209.15162); `build_labels` and `LimberGPTJ.forward` of its
repository, jmerullo/limber.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from atlas_db.errors import CaptionerError

_IGNORED = -100


@dataclass(frozen=True, slots=True)
class FrozenLanguage:
    """The language model that is to read the image, its tokenizer, and whether a BOS is first."""

    model: Any
    tokenizer: Any
    bos: bool = False

    @property
    def d_model(self) -> int:
        """Width of its input embeddings."""
        return self.model.get_input_embeddings().embedding_dim

    @property
    def prefix_ids(self) -> list[int]:
        """Tokens before the image."""
        return [self.tokenizer.bos_token_id] if self.bos else []

    def check_tokens(self) -> None:
        """Refuse a tokenizer that lacks a token that training needs.

        Raises:
            CaptionerError: It has no end-of-text token, or no BOS where one is wanted.
        """
        for name, is_needed in (("eos", True), ("bos", self.bos)):
            if is_needed and getattr(self.tokenizer, f"{name}_token_id") is None:
                raise CaptionerError(
                    f"The language model's tokenizer ({type(self.tokenizer).__name__}) has no "
                    f"{name.upper()} token, which every caption needs. Name one as "
                    f"'{name}_token' in its tokenizer_config.json."
                )


@dataclass(frozen=True, slots=True)
class CaptionTokens:
    """Captions as token ids.

    Attributes:
        prompt: The prompt's tokens, the same before each.
        rows: Each caption's tokens, an end-of-text token last unless it was cut.
    """

    prompt: list[int]
    rows: list[list[int]]

    @property
    def n_tokens(self) -> int:
        """Tokens that count."""
        return sum(len(row) for row in self.rows)


def caption_tokens(
    tokenizer: Any, captions: Sequence[str], *, prompt: str, max_tokens: int
) -> CaptionTokens:
    """Turn captions into tokens, as they are where they go on from the prompt.

    Prompt and caption are read as one text, a space between them, and cut after the prompt's
    tokens: so a caption has the tokens that it has in running text, in every kind of tokenizer.
    """
    before = tokenizer.encode(prompt, add_special_tokens=False) if prompt else []
    rows = []
    for caption in captions:
        text = f"{prompt} {caption}" if prompt else caption
        ids = tokenizer.encode(text, add_special_tokens=False)[len(before) :]
        rows.append([*ids, tokenizer.eos_token_id][:max_tokens])
    return CaptionTokens(before, rows)


def summed_loss(
    language: FrozenLanguage, image: Tensor, tokens: CaptionTokens, *, autocast: bool = False
) -> Tensor:
    """Give the summed cross-entropy of the captions' tokens, float32 scalar, in nats.

    `image` is (batch, n_patch, d_model), with a graph.
    """
    model = language.model
    longest = max(len(row) for row in tokens.rows)
    eos = language.tokenizer.eos_token_id
    padded = [row + [eos] * (longest - len(row)) for row in tokens.rows]
    wanted = [row + [_IGNORED] * (longest - len(row)) for row in tokens.rows]
    before = language.prefix_ids
    # The last token predicts nothing that counts.
    ids = torch.tensor([before + tokens.prompt + row[:-1] for row in padded], device=image.device)
    words = model.get_input_embeddings()(ids).to(image.dtype)
    embedded = torch.cat([words[:, : len(before)], image, words[:, len(before) :]], dim=1)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=autocast):
        logits = model(inputs_embeds=embedded, use_cache=False, logits_to_keep=longest).logits
    return functional.cross_entropy(
        logits.float().flatten(0, 1),
        torch.tensor(wanted, device=image.device).flatten(),
        ignore_index=_IGNORED,
        reduction="sum",
    )
