"""Where the image tokens stand: logits and captions are those of transformers' own pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_vision_language import (
    D_MLP,
    N_LAYERS,
    SHAPES,
    VISION_LANGUAGE,
)
from whole_models import (
    detect,
    greedy_ids,
    patches_of,
)

from builder.language_model import LanguageModel
from builder.vision_language.captioner import VisionLanguageCaptioner
from builder.vision_language.families import FAMILIES


def test_the_table_and_the_tests_have_the_same_families() -> None:
    assert set(FAMILIES) == set(VISION_LANGUAGE) - {"paligemma2"}  # is a PaliGemma


def test_dimensions(folder: Path, captioner: VisionLanguageCaptioner) -> None:
    model = LanguageModel(captioner.model)
    image_px, grid = SHAPES[folder.name]
    assert (model.n_layers, model.d_mlp) == (N_LAYERS, D_MLP)
    assert captioner.config.grid == grid
    assert captioner.family.grid(captioner.model.config, image_px) == grid
    assert model.d_vocab >= len(captioner.tokenizer)


def test_the_sequence_is_the_processors(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any]
) -> None:
    ids = inputs["input_ids"][0].tolist()
    image = [captioner.model.config.image_token_id] * captioner.config.n_patch
    assert ids == captioner.prefix_ids + image + captioner.prompt_ids
    n_newlines = captioner.prompt_ids.count(captioner.model.config.image_token_id)
    assert n_newlines == (1 if captioner.family.newline else 0)


def test_logits_are_those_of_the_whole_model(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    """From pixels through our packing, sequence and positions, against transformers' forward."""
    patches = patches_of(captioner, image)
    embedded = captioner.sequence(patches)
    rules = captioner.rules
    length, device = embedded.shape[1], embedded.device
    logits = captioner.model(
        inputs_embeds=embedded,
        position_ids=rules.positions(0, length, 1, device),
        **rules.prefill_arguments(1, length, device),
    ).logits
    expected = captioner.model(**inputs).logits
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_captions_are_transformers_own(
    captioner: VisionLanguageCaptioner, inputs: dict[str, Any], image: np.ndarray
) -> None:
    ids = greedy_ids(captioner, inputs)
    assert detect(captioner, image).captions == [captioner.tokenizer.decode(ids)]


def test_the_image_matters(captioner: VisionLanguageCaptioner, image: np.ndarray) -> None:
    other = patches_of(captioner, 255 - image)
    assert (patches_of(captioner, image) - other).abs().max() > 0.1
