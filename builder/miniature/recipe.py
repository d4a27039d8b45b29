"""The recipe of the miniature: every stage from a seed to a captioner folder.

    pictures -> tokenizer, language-model -> encoder -> adapter -> export

Each stage resumes from its checkpoint in the work folder `OUT/work`; `export` writes the captioner
into `OUT`, in half precision, with a model card. Only pictures of the split "train" are used: no
picture of "val" is drawn here, so any of them is held out.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from builder.miniature.picture_cache import PictureCache, draw_cache, load_cache
from builder.miniature.probe import patch_probe
from builder.miniature.tokenizer import train_tokenizer
from builder.miniature.train_adapter import RECIPE as ADAPTER_RECIPE
from builder.miniature.train_adapter import PictureFeatures, train_miniature_adapter
from builder.miniature.train_encoder import EncoderRecipe, Learner, encode, train_encoder
from builder.miniature.train_language_model import (
    LanguageModelRecipe,
    held_out_loss,
    train_language_model,
)
from builder.training.caption_loss import FrozenLanguage
from builder.training.recipe import TrainingRecipe
from builder.training.trainer import LOG_FILE

STAGES = ("pictures", "language-model", "encoder", "adapter", "export")
_PROBE_SEED_OFFSET = 1_000_003
_N_PROBE_SEEN = 8000
_N_LAST_LOSSES = 100


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, but for the seed."""

    n_pictures: int
    n_probe: int
    language_model: LanguageModelRecipe = field(default_factory=LanguageModelRecipe)
    encoder: EncoderRecipe = field(default_factory=EncoderRecipe)
    adapter: TrainingRecipe = ADAPTER_RECIPE


SIZES: dict[str, Recipe] = {
    "shipped": Recipe(n_pictures=24_000, n_probe=1000),
    # Seconds, to try the recipe; what it says means nothing.
    "smoke": Recipe(
        n_pictures=48,
        n_probe=16,
        language_model=LanguageModelRecipe(
            width=32, n_layers=2, n_heads=2, d_mlp=64, vocabulary_size=1024, batch=2, n_steps=6
        ),
        encoder=EncoderRecipe(
            width=32, depth=1, n_heads=2, n_codes=16, batch=8, n_contrast_steps=4, n_code_steps=4
        ),
        adapter=replace(ADAPTER_RECIPE, batch_size=4, n_steps=6),
    ),
}


@dataclass(frozen=True)
class Workshop:
    """Where and how a recipe is carried out; `say` gets a line for each stage."""

    out: Path
    recipe: Recipe
    seed: int
    device: str = "cpu"
    n_workers: int = 1
    say: Callable[[str], None] = print

    @property
    def work(self) -> Path:
        """The folder of checkpoints, logs and drawn pictures."""
        return self.out / "work"


def run_stages(shop: Workshop, stages: tuple[str, ...] = STAGES) -> None:
    """Carry out stages in their order and say how long each took.

    Raises:
        ValueError: A stage is not known.
        CaptionerError: A checkpoint in the work folder is of another recipe.
    """
    for stage in stages:
        if stage not in STAGES:
            raise ValueError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}")
    shop.work.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if stage in stages:
            clock = time.monotonic()
            found = _STAGES[stage](shop)
            shop.say(f"{stage}: {time.monotonic() - clock:.0f} s. {found}")


def load_tokenizer(shop: Workshop) -> PreTrainedTokenizerFast:
    """Read the tokenizer, or train it where there is none."""
    folder = shop.work / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        size = shop.recipe.language_model.vocabulary_size
        train_tokenizer(size, shop.seed).save_pretrained(folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def trained_encoder(shop: Workshop) -> Learner:
    """Read the encoder, training what is missing."""
    recipe = shop.recipe.encoder
    return train_encoder(_pictures(shop), shop.work, recipe, seed=shop.seed, device=shop.device)


def trained_language_model(shop: Workshop) -> Any:
    """Read the language model, training what is missing."""
    recipe = shop.recipe.language_model
    tokenizer = load_tokenizer(shop)
    return train_language_model(tokenizer, shop.work, recipe, seed=shop.seed, device=shop.device)


def probe_accuracy(shop: Workshop, learner: Learner) -> float:
    """Give the linear probe's accuracy on pictures that the encoder was not trained on."""
    folder = shop.work / "probe"
    n_probe = shop.recipe.n_probe
    seed = shop.seed + _PROBE_SEED_OFFSET
    draw_cache(folder, split="train", n_images=n_probe, seed=seed, n_workers=shop.n_workers)
    n_seen = min(_N_PROBE_SEEN, shop.recipe.n_pictures)
    parts = (load_cache(shop.work / "pictures", n_seen), load_cache(folder, n_probe))
    features = [encode(learner, torch.from_numpy(part.pixels)).cpu() for part in parts]
    labels = [torch.from_numpy(part.labels).flatten(1) for part in parts]
    return patch_probe((features[0], features[1]), (labels[0], labels[1]))


def _pictures(shop: Workshop) -> PictureCache:
    _draw(shop)
    return load_cache(shop.work / "pictures", shop.recipe.n_pictures)


def _draw(shop: Workshop) -> str:
    draw_cache(
        shop.work / "pictures",
        split="train",
        n_images=shop.recipe.n_pictures,
        seed=shop.seed + 1,
        n_workers=shop.n_workers,
    )
    return f"{shop.recipe.n_pictures} pictures"


def _language_model(shop: Workshop) -> str:
    model = trained_language_model(shop)
    loss = held_out_loss(model, load_tokenizer(shop), shop.recipe.language_model)
    return f"loss on held-out text {loss:.3f} nats a token"


def _encoder(shop: Workshop) -> str:
    learner = trained_encoder(shop)
    return f"linear probe of object patches {probe_accuracy(shop, learner):.3f}"


def _adapter(shop: Workshop) -> str:
    trained_adapter(shop)
    return f"loss {last_loss(shop):.3f} nats a token of the captions"


def trained_adapter(shop: Workshop) -> torch.nn.Linear:
    """Read the adapter, training what is missing."""
    learner = trained_encoder(shop)
    source = PictureFeatures(
        _pictures(shop), partial(encode, learner), width=shop.recipe.encoder.width
    )
    language = FrozenLanguage(trained_language_model(shop), load_tokenizer(shop))
    return train_miniature_adapter(
        source, language, _adapter_folder(shop), shop.recipe.adapter, seed=shop.seed
    )


def last_loss(shop: Workshop) -> float:
    """Average the losses of the adapter's last steps, in nats a token of the captions."""
    path = _adapter_folder(shop) / LOG_FILE
    with path.open(newline="", encoding="utf-8") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)][-_N_LAST_LOSSES:]
    return sum(losses) / len(losses)


def _adapter_folder(shop: Workshop) -> Path:
    return shop.work / "adapter"


def _export(shop: Workshop) -> str:
    from builder.miniature.export import export_captioner

    size = export_captioner(shop)
    return f"{size / 1e6:.1f} MB of weights in {shop.out}"


_STAGES: dict[str, Callable[[Workshop], str]] = {
    "pictures": _draw,
    "language-model": _language_model,
    "encoder": _encoder,
    "adapter": _adapter,
    "export": _export,
}
