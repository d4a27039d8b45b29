"""A tiny model of each family in turn, and one image through its own processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_vision_language import VISION_LANGUAGE, write_tiny_captioner
from whole_models import extended

from builder.captioner import load_captioner
from builder.vision_language.captioner import VisionLanguageCaptioner, load_processor
from builder.vision_language.template import process


@pytest.fixture(scope="session", params=VISION_LANGUAGE)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model of each family in turn; its name is the family's."""
    root = tmp_path_factory.mktemp("vision-language") / request.param
    write_tiny_captioner(request.param, root)
    return root


@pytest.fixture(scope="session")
def captioner(folder: Path) -> VisionLanguageCaptioner:
    """In float64, for differences."""
    loaded = load_captioner(folder / "captioner", dtype="float64")
    assert isinstance(loaded, VisionLanguageCaptioner)
    return loaded


@pytest.fixture(scope="session")
def image(captioner: VisionLanguageCaptioner) -> np.ndarray:
    side = captioner.config.image_px
    return np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)


@pytest.fixture(scope="session")
def inputs(folder: Path, captioner: VisionLanguageCaptioner, image: np.ndarray) -> dict[str, Any]:
    """What the model's own processor makes of the image, the question and the answer's start."""
    processor = load_processor(folder / "checkpoint", captioner.family)
    config = captioner.config
    found = process(processor, Image.fromarray(image), config.prompt)
    reply = processor.tokenizer.encode(config.reply, add_special_tokens=False)
    return extended(found, reply, captioner.family.text_type)
