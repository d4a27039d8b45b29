"""What an adapter is worth on pairs that it is not trained on: the loss, and captions to read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from builder.generation import cut_at_end, generate_greedily, prefill
from builder.training.caption_loss import FrozenLanguage, caption_tokens, summed_loss
from builder.training.features import FeatureSource
from builder.training.recipe import TrainingRecipe
from builder.training.trainer import project

CAPTIONS_FILE = "captions.jsonl"


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Measures an adapter; called by the trainer with (adapter, step).

    Attributes:
        source: The held-out images; of each the first caption counts.
        language, recipe: As in training, but without dropout.
        out: Folder of `captions.jsonl`, which gets a line for each of the first `n_captions`
            images and each step: step, image, caption, and what a person wrote.
        prompt: Text after the image when a caption is written.
        batch: Images in one pass.
    """

    source: FeatureSource
    language: FrozenLanguage
    recipe: TrainingRecipe
    out: Path
    prompt: str
    n_captions: int = 8
    max_new_tokens: int = 30
    batch: int = 8

    @torch.no_grad()
    def __call__(self, adapter: nn.Linear, step: int) -> float:
        """Write captions; give the mean loss of the held-out captions' tokens, in nats."""
        total, n_tokens = 0.0, 0
        for indices, image in self._projected(adapter, len(self.source)):
            tokens = caption_tokens(
                self.language.tokenizer,
                [self.source.captions(index)[0] for index in indices],
                prompt=self.recipe.prompt,
                max_tokens=self.recipe.max_caption_tokens,
            )
            loss = summed_loss(self.language, image, tokens, autocast=self.recipe.autocast)
            total += loss.item()
            n_tokens += tokens.n_tokens
        self._write_captions(adapter, step)
        return total / max(1, n_tokens)

    def _projected(self, adapter: nn.Linear, n: int) -> Iterator[tuple[list[int], Tensor]]:
        """Give indices of images that could be read, and their projections."""
        plan = [list(range(i, min(i + self.batch, n))) for i in range(0, n, self.batch)]
        weight = adapter.weight
        for indices, found in zip(plan, self.source.batches(plan), strict=True):
            if found.positions:
                features = found.features.to(weight.device, weight.dtype)
                image = project(adapter, features, self.language).to(self.language.model.dtype)
                yield [indices[i] for i in found.positions], image

    def _write_captions(self, adapter: nn.Linear, step: int) -> None:
        n = min(self.n_captions, len(self.source))
        with (self.out / CAPTIONS_FILE).open("a", encoding="utf-8") as file:
            for indices, image in self._projected(adapter, n):
                captions = greedy_captions(
                    self.language, image, prompt=self.prompt, max_new_tokens=self.max_new_tokens
                )
                for index, caption in zip(indices, captions, strict=True):
                    line = {
                        "step": step,
                        "image": self.source.name(index),
                        "caption": caption,
                        "human": self.source.captions(index)[0],
                    }
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")


@torch.no_grad()
def greedy_captions(
    language: FrozenLanguage, image: Tensor, *, prompt: str, max_new_tokens: int
) -> list[str]:
    """Write the likeliest caption, token by token, of each projected image (batch, n, d_model)."""
    model, tokenizer = language.model, language.tokenizer
    before = language.prefix_ids
    ids = torch.tensor(
        before + tokenizer.encode(prompt, add_special_tokens=False), device=image.device
    )
    words = model.get_input_embeddings()(ids).to(image.dtype).expand(len(image), -1, -1)
    embedded = torch.cat([words[:, : len(before)], image, words[:, len(before) :]], dim=1)
    first_logits, cache = prefill(model, embedded, room=max_new_tokens - 1)
    rows = generate_greedily(model, first_logits, cache, max_new_tokens=max_new_tokens)
    return [
        tokenizer.decode(cut_at_end(model, row), skip_special_tokens=True).strip()
        for row in rows.tolist()
    ]
