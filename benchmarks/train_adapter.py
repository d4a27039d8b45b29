"""Training an adapter, features in memory, against the language model's own two passes.

    python -m benchmarks.train_adapter                  # on a GPU: GPT-J's full size, bfloat16
    python -m benchmarks.train_adapter --size small     # on a CPU

The floor is what the frozen language model costs on vectors of the same shape: one forward pass and
the backward pass to its inputs. The share is that time against the time of a whole step: drawing
and tokenizing captions, projecting, dropout, loss, optimizer and log come on top. The encoder's
pass is timed on its own: with cached features it is made once for each image.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.detect_gptj import peak_gb, reset_peak, stopwatch
from benchmarks.random_models import SIZES, random_captioner
from benchmarks.report import complete, parser, report
from builder.captioner import Captioner
from builder.fused import fused_kernels
from builder.training.caption_loss import FrozenLanguage, caption_tokens, summed_loss
from builder.training.features import FeaturesInMemory
from builder.training.recipe import TrainingRecipe
from builder.training.trainer import TrainingRun, train_adapter

N_IMAGES = 64
N_STEPS = {"full": 12, "small": 8, "tiny": 2}
BATCH = {"full": 256, "small": 8, "tiny": 4}
MICRO_BATCH = {"full": 32, "small": 8, "tiny": 2}
#: Twelve words are CC3M's usual length.
CAPTION = " ".join(["ba be bi bo"] * 3)


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__ or "", SIZES)
    made.add_argument("--micro-batch", type=int, help="pairs in one pass")
    arguments = complete(made.parse_args())
    size = SIZES[arguments.size]
    captioner = random_captioner(size, arguments.device, getattr(torch, arguments.dtype))
    report("train_adapter", arguments, measure(captioner, arguments))


def measure(captioner: Captioner, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the training, the floor and the encoder."""
    n_steps, batch = N_STEPS[arguments.size], BATCH[arguments.size]
    micro_batch = arguments.micro_batch or MICRO_BATCH[arguments.size]
    language = FrozenLanguage(captioner.model, captioner.tokenizer)
    n_patch, width = captioner.config.n_patch, captioner.adapter.in_features
    source = FeaturesInMemory(torch.randn(N_IMAGES, n_patch, width).half(), [[CAPTION]] * N_IMAGES)
    recipe = TrainingRecipe(n_steps=n_steps, batch_size=batch, n_warmup=1)
    run = TrainingRun(micro_batch=micro_batch, save_every=10**9)
    reset_peak(captioner.device)
    with tempfile.TemporaryDirectory() as folder:
        warm = TrainingRecipe(n_steps=1, batch_size=micro_batch)
        train_adapter(source, language, Path(folder) / "warm", warm, seed=0)
        floors = floor_seconds(captioner, language, micro_batch)
        with stopwatch(captioner.device) as whole:
            train_adapter(source, language, Path(folder) / "timed", recipe, seed=0, run=run)
    n_pairs = n_steps * batch
    # Before and after: other work on the machine then slows both alike.
    floors += floor_seconds(captioner, language, micro_batch)
    floor = sum(floors) / len(floors) / micro_batch
    return {
        "steps": n_steps,
        "pairs a step": batch,
        "micro-batch": micro_batch,
        "positions a pair": n_patch + len(captioner.tokenizer.encode(CAPTION)),
        "pairs/s": n_pairs / whole.spent,
        "floor, pairs/s": 1 / floor,
        "share of the floor": n_pairs * floor / whole.spent,
        "encoder, images/s": encoder_images_s(captioner, micro_batch),
        "peak device memory, GB": peak_gb(captioner.device),
    }


def floor_seconds(captioner: Captioner, language: FrozenLanguage, n: int) -> list[float]:
    """Time forward and backward of the language model on `n` pairs, four times."""
    tokens = caption_tokens(language.tokenizer, [CAPTION] * n, prompt="", max_tokens=128)
    shape = (n, captioner.config.n_patch, language.d_model)
    image = torch.randn(shape, device=captioner.device, dtype=captioner.dtype).requires_grad_()
    seconds = []
    with fused_kernels(language.model):
        for _ in range(4):
            with stopwatch(captioner.device) as watch:
                summed_loss(language, image, tokens).backward()
            seconds.append(watch.spent)
    return seconds


def encoder_images_s(captioner: Captioner, n: int) -> float:
    """Time the encoder alone."""
    side = captioner.config.image_px
    pixels = torch.rand(n, 3, side, side, device=captioner.device, dtype=captioner.dtype)
    with torch.no_grad(), stopwatch(captioner.device) as watch:
        captioner.encoder(pixels)
    return n / watch.spent


if __name__ == "__main__":
    main()
