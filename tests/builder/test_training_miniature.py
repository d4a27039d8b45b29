"""The miniature's own language model and encoder, joined anew by `train-adapter`'s trainer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from builder.captioner import Captioner, load_captioner
from builder.miniature import train_adapter as miniature
from builder.miniature.coco_writer import write_coco
from builder.training.caption_loss import FrozenLanguage
from builder.training.features import EncodedPairs, FeaturesInMemory
from builder.training.pair_sources import coco_pairs
from builder.training.trainer import new_adapter, train_adapter
from builder.training.validation import Validation

#: Nats a caption token above the shipped adapter's loss, on pictures that neither has seen.
BAND = 0.15
N_TRAIN, N_HELD_OUT, CHUNK = 800, 100, 25
#: The miniature's own, shorter and in float32.
RECIPE = replace(miniature.RECIPE, n_steps=250, batch_size=16, autocast=False)


def features_of(captioner: Captioner, folder: Path, split: str) -> FeaturesInMemory:
    pairs = coco_pairs(folder, split)
    source = EncodedPairs(
        pairs, captioner.encoder, captioner.config, width=captioner.adapter.in_features
    )
    plan = [range(i, min(i + CHUNK, len(pairs))) for i in range(0, len(pairs), CHUNK)]
    features = torch.cat([batch.features for batch in source.batches(plan)])
    return FeaturesInMemory(features, [pairs.captions(i) for i in range(len(pairs))])


@pytest.mark.slow
def test_it_reaches_the_shipped_adapters_loss(tmp_path: Path) -> None:
    """From 800 pictures, where the shipped one has seen thousands."""
    write_coco(tmp_path / "train", split="train", n_images=N_TRAIN, seed=11)
    write_coco(tmp_path / "val", split="val", n_images=N_HELD_OUT, seed=11)
    captioner = load_captioner("miniature", dtype="float32")
    language = FrozenLanguage(captioner.model, captioner.tokenizer)
    held_out = features_of(captioner, tmp_path / "val", "val")
    validate = Validation(
        source=held_out,
        language=language,
        recipe=RECIPE,
        out=tmp_path,
        prompt=miniature.PROMPT,
        batch=CHUNK,
    )
    shipped = validate(captioner.adapter, 0)
    untrained = validate(new_adapter(captioner.adapter.in_features, language.d_model, 0), 0)
    train = features_of(captioner, tmp_path / "train", "train")
    trained = validate(
        train_adapter(train, language, tmp_path / "out", RECIPE, seed=0), RECIPE.n_steps
    )
    print(f"untrained {untrained:.3f}, trained {trained:.3f}, shipped {shipped:.3f} nats a token")
    assert untrained > shipped + 3 * BAND
    assert trained < shipped + BAND
