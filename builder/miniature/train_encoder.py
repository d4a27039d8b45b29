"""Train the miniature's encoder on pictures alone: no label and no word reaches a loss.

BEiT's architecture (timm), trained on two tasks at once:

- masked image modelling: predict the visual words (`visual_tokens`) of masked patches;
- dense contrast: a patch seen in two views, shifted and in other light, should be more like itself
  than like patches elsewhere in the batch, its own neighbours left out.

Source: Bao et al., BEiT (arXiv 2106.08254); Wang et al., DenseCL (arXiv 2011.09157).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from builder.miniature.checkpoints import (
    append_row,
    load_checkpoint,
    save_checkpoint,
    warmup_cosine,
)
from builder.miniature.optimizers import Optimizers, Rates
from builder.miniature.picture_cache import GRID, INPUT_PX, PictureCache
from builder.miniature.views import to_float, view_pair
from builder.miniature.visual_tokens import VisualTokens

#: Pixels in 0..1 become (pixels - .5) / .5, as captioner.json says.
MEAN, STD = 0.5, 0.5
_N_FIT = 3000
_LOG_EVERY = 20
_SAVE_EVERY = 100


@dataclass(frozen=True)
class EncoderRecipe:
    """Sizes and schedule of the encoder's training."""

    width: int = 160
    depth: int = 4
    n_heads: int = 5
    n_codes: int = 512
    batch: int = 64
    n_steps: int = 900
    learning_rate: float = 1e-3
    matrix_learning_rate: float = 3e-3
    weight_decay: float = 0.05
    mask_share: float = 0.4
    n_contrast: int = 12
    temperature: float = 0.12
    token_weight: float = 1.0
    contrast_weight: float = 1.0

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments of timm's `beit_base_patch16_224`; the last norm is part of the features."""
        return {
            "img_size": INPUT_PX,
            "embed_dim": self.width,
            "depth": self.depth,
            "num_heads": self.n_heads,
            "use_fc_norm": False,
        }


class Learner(nn.Module):
    """The encoder with what only training needs: mask token, two heads, the fixed codes."""

    def __init__(self, recipe: EncoderRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.encoder: Any = timm.create_model(
            "beit_base_patch16_224", num_classes=0, **recipe.architecture
        )
        self.mask_token = nn.Parameter(0.02 * torch.randn(recipe.width))
        self.token_head = nn.Linear(recipe.width, recipe.n_codes)
        self.contrast_head = nn.Sequential(
            nn.Linear(recipe.width, 2 * recipe.width), nn.GELU(), nn.Linear(2 * recipe.width, 128)
        )
        self.codes = VisualTokens(recipe.n_codes)

    def features(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode pixels in 0..1 as (batch, patch, width); patches under the mask are hidden."""
        encoder = self.encoder
        x = encoder.patch_embed((pixels - MEAN) / STD)
        if mask is not None:
            x = torch.where(mask.unsqueeze(-1), self.mask_token.to(x.dtype), x)
        x = torch.cat([encoder.cls_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        for block in encoder.blocks:
            x = block(x)
        return encoder.norm(x)[:, 1:]

    def losses(self, pixels: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the two losses of a batch of pictures in 0..1."""
        pair = view_pair(pixels, generator)
        codes = self.codes(pair.clean)
        mask = torch.rand(codes.shape, generator=generator) < self.recipe.mask_share
        one = self.features(pair.one, mask)
        with torch.no_grad():
            other = self.features(pair.other)
        found = self.token_head(one[mask]).float()
        chosen = torch.randperm(len(pair.first), generator=generator)[: self.recipe.n_contrast]
        return {
            "tokens": functional.cross_entropy(found, codes[mask]),
            "contrast": self._contrast(one, other, pair.first[chosen], pair.second[chosen]),
        }

    def _contrast(self, one: Tensor, other: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """InfoNCE over all chosen patches of the batch; neighbours in a picture are left out."""
        n = len(first)
        left = functional.normalize(self.contrast_head(one[:, first]).float(), dim=-1).flatten(0, 1)
        right = functional.normalize(self.contrast_head(other[:, second]).float(), dim=-1)
        logits = left @ right.flatten(0, 1).T / self.recipe.temperature
        rows, columns = first // GRID, first % GRID
        near = torch.maximum(
            (rows[:, None] - rows[None, :]).abs(), (columns[:, None] - columns[None, :]).abs()
        )
        near = (near <= 1) & ~torch.eye(n, dtype=torch.bool)
        same = torch.block_diag(*[near] * len(one))
        logits = logits.masked_fill(same, float("-inf"))
        return functional.cross_entropy(logits, torch.arange(len(logits)))


def train_encoder(
    cache: PictureCache,
    out: Path,
    recipe: EncoderRecipe,
    *,
    seed: int,
    device: str = "cpu",
    stop_step: int | None = None,
) -> Learner:
    """Train to `recipe.n_steps` (or pause at `stop_step`), resuming from the checkpoint in `out`.

    Writes `encoder.pt` and `encoder.csv`. Every step draws from its own seed, so a resumed run
    ends in the same weights as an uninterrupted one.

    Raises:
        CaptionerError: The checkpoint is of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    learner = Learner(recipe).to(device)
    optimizers = _optimizers(learner, recipe)
    state = load_checkpoint(out / "encoder.pt", recipe)
    if state is None:
        generator = torch.Generator().manual_seed(seed)
        sample = to_float(torch.from_numpy(cache.pixels[:_N_FIT]))
        learner.codes.cpu().fit(sample, n_rounds=12, generator=generator)
        learner.to(device)
    else:
        learner.load_state_dict(state["learner"])
        optimizers.load_state_dict(state["optimizers"])
    first = 0 if state is None else int(state["step"])
    last = recipe.n_steps if stop_step is None else min(stop_step, recipe.n_steps)
    clock = time.monotonic()
    for step in range(first, last):
        losses = _step(learner, optimizers, cache, (seed, step))
        if step == 0 or (step + 1) % _LOG_EVERY == 0 or step + 1 == last:
            row = {"step": step + 1, "elapsed_s": round(time.monotonic() - clock, 1), **losses}
            append_row(out / "encoder.csv", row)
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == last:
            _save(out / "encoder.pt", learner, optimizers, step + 1)
    return learner.eval()


def _step(
    learner: Learner, optimizers: Optimizers, cache: PictureCache, at: tuple[int, int]
) -> dict[str, float]:
    recipe, (seed, step) = learner.recipe, at
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    chosen = torch.randint(len(cache.pixels), (recipe.batch,), generator=generator)
    device = learner.mask_token.device
    pixels = to_float(torch.from_numpy(cache.pixels[chosen.numpy()]).to(device))
    factor = warmup_cosine(step, recipe.n_steps, min(200, recipe.n_steps // 10))
    learner.train()
    with torch.autocast(device.type, torch.bfloat16):
        losses = learner.losses(pixels, generator)
    total = recipe.token_weight * losses["tokens"] + recipe.contrast_weight * losses["contrast"]
    optimizers.step(total, factor)
    return {name: round(loss.item(), 4) for name, loss in losses.items()}


def _optimizers(learner: Learner, recipe: EncoderRecipe) -> Optimizers:
    rates = Rates(recipe.learning_rate, recipe.matrix_learning_rate, recipe.weight_decay)
    tables = ("encoder.patch_embed", "token_head", "contrast_head")
    return Optimizers(learner, rates, blocks="encoder.blocks.", decayed=tables)


def _save(path: Path, learner: Learner, optimizers: Optimizers, step: int) -> None:
    state = {"learner": learner.state_dict(), "optimizers": optimizers.state_dict(), "step": step}
    save_checkpoint(path, state | {"recipe": repr(learner.recipe)})


@torch.no_grad()
def encode(learner: Learner, pixels: Tensor, *, batch: int = 128) -> Tensor:
    """Encode pictures (n, px, px, 3) uint8 as float32 features (n, patch, width)."""
    learner.eval()
    return torch.cat([learner.features(to_float(part)) for part in pixels.split(batch)])
