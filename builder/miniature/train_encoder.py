"""Train the miniature's encoder on pictures alone: no label, mask or word reaches a loss.

BEiT's architecture (timm), trained in two rounds:

1. contrast: what the patches of a segment say in one view of a picture, averaged, should be more
   like what they say in another view than like any other segment of the batch. Segments come from
   colours alone (`segments`);
2. codes: all segments of all pictures are clustered by what the first round made of them, and each
   patch learns to say the cluster of its segment, in any view.

Source: Henaff et al., DetCon (arXiv 2103.10957); Caron et al., Deep Clustering (arXiv 1807.05520);
architecture: Bao et al., BEiT (arXiv 2106.08254).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from builder.miniature.optimizers import Optimizers, Rates, warmup_cosine
from builder.miniature.picture_cache import INPUT_PX, PictureCache
from builder.miniature.segment_codes import NO_CODE, cluster
from builder.miniature.segments import N_SEGMENTS
from builder.miniature.views import View, make_view, segment_cover, to_float
from builder.training.checkpoints import load_checkpoint, save_checkpoint
from builder.training.loss_log import LossLog

#: Pixels in 0..1 become (pixels - .5) / .5, as captioner.json says.
MEAN, STD = 0.5, 0.5
#: A segment takes part where it covers this much of a patch, summed over patches.
_MIN_AREA = 0.7
_MIN_SHARE = 0.5
_PROJECTED = 128
_N_WARMUP = 100
_ENCODE_BATCH = 128
_LOG_EVERY = 20
_SAVE_EVERY = 100


@dataclass(frozen=True)
class EncoderRecipe:
    """Sizes and schedule of the encoder's training."""

    width: int = 160
    depth: int = 4
    n_heads: int = 5
    n_codes: int = 500
    batch: int = 64
    n_contrast_steps: int = 2400
    n_code_steps: int = 1200
    learning_rate: float = 1e-3
    matrix_learning_rate: float = 3e-3
    weight_decay: float = 0.05
    n_segments: int = 5
    temperature: float = 0.1
    label_smoothing: float = 0.05

    @property
    def n_steps(self) -> int:
        """Steps of both rounds."""
        return self.n_contrast_steps + self.n_code_steps

    @property
    def n_views(self) -> int:
        """Views looked at in both rounds: two a picture in the first, one in the second."""
        return self.batch * (2 * self.n_contrast_steps + self.n_code_steps)

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
    """The encoder with what only training needs: a head for each round."""

    def __init__(self, recipe: EncoderRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.encoder: Any = timm.create_model(
            "beit_base_patch16_224", num_classes=0, **recipe.architecture
        )
        self.projector = nn.Sequential(
            nn.Linear(recipe.width, 512), nn.GELU(), nn.Linear(512, _PROJECTED)
        )
        self.code_head = nn.Linear(recipe.width, recipe.n_codes)

    def features(self, pixels: Tensor) -> Tensor:
        """Encode pixels in 0..1 as (batch, patch, width)."""
        encoder = self.encoder
        x = encoder.patch_embed((pixels - MEAN) / STD)
        x = torch.cat([encoder.cls_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        for block in encoder.blocks:
            x = block(x)
        return encoder.norm(x)[:, 1:]

    def project(self, features: Tensor, shares: Tensor) -> Tensor:
        """Average features (..., patch, width) by shares (..., patch); length 1, float32."""
        shares = shares / shares.sum(-1, keepdim=True)
        pooled = torch.einsum("...p,...pd->...d", shares.to(features.dtype), features)
        return functional.normalize(self.projector(pooled).float(), dim=-1)

    def contrast_loss(self, one: View, other: View, generator: torch.Generator) -> Tensor:
        """InfoNCE between the segments of two views, up to `n_segments` of each picture."""
        covers = torch.stack([one.cover, other.cover])
        seen = covers.sum(-1).amin(0) >= _MIN_AREA
        drawn = torch.rand(seen.shape, generator=generator).to(seen.device).masked_fill(~seen, -1)
        best = drawn.topk(self.recipe.n_segments, dim=1)
        picture, place = (best.values > 0).nonzero(as_tuple=True)
        segment = best.indices[picture, place]
        features = self.features(torch.cat([one.pixels, other.pixels])).unflatten(0, (2, -1))
        projected = self.project(features[:, picture], covers[:, picture, segment])
        points = projected.flatten(0, 1)
        logits = points @ points.T / self.recipe.temperature
        logits = logits.masked_fill(torch.eye(len(points), dtype=torch.bool).to(logits.device),
                                    float("-inf"))  # fmt: skip
        partner = torch.arange(len(points), device=logits.device).roll(len(picture))
        return functional.cross_entropy(logits, partner)

    def code_loss(self, view: View, codes: Tensor) -> Tensor:
        """Cross-entropy of the code of each patch's segment; codes are (batch, N_SEGMENTS)."""
        share, segment = view.cover.max(dim=1)
        wanted = codes.gather(1, segment)
        asked = (share >= _MIN_SHARE) & (wanted != NO_CODE)
        found = self.code_head(self.features(view.pixels)[asked]).float()
        smoothing = self.recipe.label_smoothing
        return functional.cross_entropy(found, wanted[asked], label_smoothing=smoothing)


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
        RunError: The checkpoint is of another training.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    learner = Learner(recipe).to(device)
    optimizers = _optimizers(learner, recipe)
    codes = torch.full((len(cache.pixels), N_SEGMENTS), NO_CODE)
    identity = {**asdict(recipe), "seed": seed}
    state = load_checkpoint(out / "encoder.pt", identity)
    if state is not None:
        learner.load_state_dict(state["learner"])
        optimizers.load_state_dict(state["optimizers"])
        codes = state["codes"].long()
    first = 0 if state is None else int(state["step"])
    last = recipe.n_steps if stop_step is None else min(stop_step, recipe.n_steps)
    log = LossLog(out / "encoder.csv", first_step=first)
    clock = time.monotonic()
    for step in range(first, last):
        if step == recipe.n_contrast_steps:
            codes = segment_codes(learner, cache, seed=seed)
            optimizers = _optimizers(learner, recipe)
        loss = _step(learner, optimizers, (cache, codes), (seed, step))
        if step == 0 or (step + 1) % _LOG_EVERY == 0 or step + 1 == last:
            elapsed = f"{time.monotonic() - clock:.1f}"
            log.add({"step": step + 1, "elapsed_s": elapsed, "loss": f"{loss:.4f}"})
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == last:
            parts: dict[str, Any] = {"learner": learner.state_dict()}
            parts |= {
                "optimizers": optimizers.state_dict(),
                "codes": codes.short(),
                "step": step + 1,
                "identity": identity,
            }
            save_checkpoint(out / "encoder.pt", parts)
    return learner.eval()


@torch.no_grad()
def segment_codes(learner: Learner, cache: PictureCache, *, seed: int) -> Tensor:
    """Cluster the segments of all pictures; (picture, N_SEGMENTS), NO_CODE for small ones."""
    learner.eval()
    device = next(learner.parameters()).device
    codes = torch.full((len(cache.pixels), N_SEGMENTS), NO_CODE)
    projected, where = [], []
    for start in range(0, len(codes), _ENCODE_BATCH):
        part = slice(start, start + _ENCODE_BATCH)
        features = learner.features(to_float(torch.from_numpy(cache.pixels[part]).to(device)))
        cover = segment_cover(torch.from_numpy(cache.segments[part]).to(device))
        picture, segment = (cover.sum(-1) >= _MIN_AREA).nonzero(as_tuple=True)
        projected.append(learner.project(features[picture], cover[picture, segment]).cpu())
        where.append(torch.stack([picture + start, segment]).cpu())
    picture, segment = torch.cat(where, dim=1)
    generator = torch.Generator().manual_seed(seed)
    codes[picture, segment] = cluster(torch.cat(projected), learner.recipe.n_codes, generator)
    return codes


def _step(
    learner: Learner,
    optimizers: Optimizers,
    data: tuple[PictureCache, Tensor],
    at: tuple[int, int],
) -> float:
    recipe, (cache, codes), (seed, step) = learner.recipe, data, at
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    chosen = torch.randint(len(cache.pixels), (recipe.batch,), generator=generator)
    device = next(learner.parameters()).device
    pixels = to_float(torch.from_numpy(cache.pixels[chosen.numpy()]).to(device))
    segments = torch.from_numpy(cache.segments[chosen.numpy()]).to(device)
    learner.train()
    view = make_view(pixels, segments, generator)
    if step < recipe.n_contrast_steps:
        other = make_view(pixels, segments, generator)
        with torch.autocast(device.type, torch.bfloat16):
            loss = learner.contrast_loss(view, other, generator)
        round_step, n_round = step, recipe.n_contrast_steps
    else:
        with torch.autocast(device.type, torch.bfloat16):
            loss = learner.code_loss(view, codes[chosen].to(device))
        round_step, n_round = step - recipe.n_contrast_steps, recipe.n_code_steps
    optimizers.step(loss, warmup_cosine(round_step, n_round, min(_N_WARMUP, n_round // 10)))
    return loss.item()


def _optimizers(learner: Learner, recipe: EncoderRecipe) -> Optimizers:
    rates = Rates(recipe.learning_rate, recipe.matrix_learning_rate, recipe.weight_decay)
    tables = ("encoder.patch_embed", "projector", "code_head")
    return Optimizers(learner, rates, blocks="encoder.blocks.", decayed=tables)


@torch.no_grad()
def encode(learner: Learner, pixels: Tensor, *, batch: int = _ENCODE_BATCH) -> Tensor:
    """Encode pictures (n, px, px, 3) uint8 as float32 features (n, patch, width)."""
    learner.eval()
    return torch.cat([learner.features(to_float(part)) for part in pixels.split(batch)])
