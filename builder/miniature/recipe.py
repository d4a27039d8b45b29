"""The recipe of the miniature: every stage from a seed to a captioner folder.

    pictures -> tokenizer, language-model -> encoder -> adapter -> export

Each stage resumes from its checkpoint in the work folder `OUT/work`; `export` writes the captioner
into `OUT`, in half precision, with a model card. Only pictures of the split "train" are used: no
picture of "val" is drawn here, so any of them is held out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from builder.miniature.checkpoints import load_checkpoint
from builder.miniature.picture_cache import PictureCache, draw_cache, load_cache
from builder.miniature.probe import patch_probe
from builder.miniature.tokenizer import train_tokenizer
from builder.miniature.train_adapter import (
    AdapterRecipe,
    CaptionedFeatures,
    new_adapter,
    train_adapter,
)
from builder.miniature.train_encoder import EncoderRecipe, Learner, encode, train_encoder
from builder.miniature.train_language_model import (
    LanguageModelRecipe,
    held_out_loss,
    train_language_model,
)

STAGES = ("pictures", "language-model", "encoder", "adapter", "export")
_PROBE_SEED_OFFSET = 1_000_003
_N_PROBE_SEEN = 8000


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, but for the seed."""

    n_pictures: int
    n_probe: int
    language_model: LanguageModelRecipe = field(default_factory=LanguageModelRecipe)
    encoder: EncoderRecipe = field(default_factory=EncoderRecipe)
    adapter: AdapterRecipe = field(default_factory=AdapterRecipe)


SIZES: dict[str, Recipe] = {
    "shipped": Recipe(n_pictures=24_000, n_probe=1000),
    # Seconds, to try the recipe; what it says means nothing.
    "smoke": Recipe(
        n_pictures=48,
        n_probe=16,
        language_model=LanguageModelRecipe(
            width=32, n_layers=2, n_heads=2, d_mlp=64, batch=2, n_steps=6
        ),
        encoder=EncoderRecipe(
            width=32, depth=1, n_heads=2, n_codes=16, batch=8, n_contrast_steps=4, n_code_steps=4
        ),
        adapter=AdapterRecipe(batch=4, n_steps=6),
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
    last = (shop.work / "adapter.csv").read_text(encoding="utf-8").splitlines()[-1]
    return f"loss {last.split(',')[-1]} nats a token of the captions"


def trained_adapter(shop: Workshop) -> torch.nn.Linear:
    """Read the adapter, training what is missing."""
    recipe = shop.recipe
    state = load_checkpoint(shop.work / "adapter.pt", recipe.adapter)
    if state is not None and state["step"] == recipe.adapter.n_steps:
        adapter = new_adapter(recipe.encoder.width, recipe.language_model.width, shop.seed)
        adapter.load_state_dict(state["adapter"])
        return adapter.to(shop.device)
    pictures = _pictures(shop)
    features = encode(trained_encoder(shop), torch.from_numpy(pictures.pixels)).half().cpu()
    data = CaptionedFeatures(features, pictures.captions)
    language = (trained_language_model(shop), load_tokenizer(shop))
    return train_adapter(data, language, shop.work, shop.recipe.adapter, seed=shop.seed)


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
