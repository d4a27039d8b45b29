"""The miniature's one linear layer: the public trainer, with the miniature's recipe and its start.

The language model reads [patches] "A picture of" and must say the caption. The adapter starts with
outputs of the scale of token embeddings.

Source: Merullo et al., LiMBeR (arXiv 2209.15162).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from builder.miniature.picture_cache import PictureCache
from builder.training.caption_loss import FrozenLanguage
from builder.training.features import FeatureBatch
from builder.training.recipe import TrainingRecipe
from builder.training.trainer import TrainingRun, train_adapter

PROMPT = "A picture of"
RECIPE = TrainingRecipe(
    n_steps=1000,
    batch_size=64,
    learning_rate=3e-3,
    n_warmup=20,
    warmup="linear",
    decay="cosine",
    beta_2=0.999,
    clip_norm=0.0,
    dropout=0.0,
    prompt=PROMPT,
    autocast=True,
)


class PictureFeatures:
    """Frozen features and captions of drawn pictures, a `FeatureSource`.

    All are encoded when the first is asked for: a training that is finished asks for none.

    Args:
        pictures: Pixels and captions.
        encode: Turns pixels (picture, px, px, 3) uint8 into features (picture, patch, width).
        width: Of a feature.
    """

    def __init__(
        self, pictures: PictureCache, encode: Callable[[Tensor], Tensor], *, width: int
    ) -> None:
        self.width = width
        self._pictures = pictures
        self._encode = encode

    def __len__(self) -> int:
        return len(self._pictures.captions)

    @cached_property
    def features(self) -> Tensor:
        """Give all features in half precision (picture, patch, width), on the host."""
        return self._encode(torch.from_numpy(self._pictures.pixels)).half().cpu()

    def captions(self, index: int) -> list[str]:
        """Give a picture's captions, each a sentence with its full stop."""
        return [f"{caption}." for caption in self._pictures.captions[index]]

    def name(self, index: int) -> str:
        """Give what messages call a picture."""
        return f"picture {index}"

    def batches(self, plan: Iterable[Sequence[int]]) -> Iterator[FeatureBatch]:
        """Give the features of each list of indices, in order."""
        for indices in plan:
            yield FeatureBatch(self.features[list(indices)], list(range(len(indices))), [])


def start_adapter(d_in: int, d_out: int, seed: int) -> nn.Linear:
    """Make an untrained adapter that turns features of unit scale into vectors of unit scale."""
    adapter = nn.Linear(d_in, d_out)
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(adapter.weight, std=d_in**-0.5, generator=generator)
    nn.init.zeros_(adapter.bias)
    return adapter


def train_miniature_adapter(
    source: PictureFeatures,
    language: FrozenLanguage,
    out: Path,
    recipe: TrainingRecipe,
    *,
    seed: int,
    run: TrainingRun | None = None,
) -> nn.Linear:
    """Train to `recipe.n_steps` (or pause at `run.stop_step`), going on from `out`'s checkpoint.

    Raises:
        RunError: The checkpoint is of another training.
    """
    start = start_adapter(source.width, language.d_model, seed)
    return train_adapter(source, language, out, recipe, seed=seed, start=start, run=run)
