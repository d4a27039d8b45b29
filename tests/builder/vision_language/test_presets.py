"""Presets of public checkpoints have the table's grid."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.captioner_config import read_config, write_config
from builder.presets import preset_config
from builder.vision_language.families import FAMILIES
from builder.vision_language.presets import VISION_LANGUAGE_PRESETS

#: What the published configurations say of the encoder.
PUBLISHED: dict[str, Any] = {
    "llava-1.5-7b": {"vision_config": {"patch_size": 14}},
    "llava-onevision-7b": {"vision_config": {"patch_size": 14}},
    "qwen2.5-vl-7b": {"vision_config": {"patch_size": 14, "spatial_merge_size": 2}},
    "gemma-3-4b": {"mm_tokens_per_image": 256},
    "smolvlm-256m": {"vision_config": {"patch_size": 16}, "scale_factor": 4},
    "smolvlm2-256m": {"vision_config": {"patch_size": 16}, "scale_factor": 4},
    "paligemma-2-3b": {"vision_config": {"patch_size": 14}},
    "paligemma-3b": {"vision_config": {"patch_size": 14}},
}


@pytest.mark.parametrize("name", VISION_LANGUAGE_PRESETS)
def test_presets_are_read_back_and_have_the_tables_grid(name: str, tmp_path: Path) -> None:
    config = preset_config(name)
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config
    family = next(
        f
        for f in FAMILIES.values()
        if config.encoder.source == f"vlm:{f.encoder}"
        and config.prompt == f.prompt
        and config.image_px == f.image_px
    )
    published = json.loads(
        json.dumps(PUBLISHED[name]), object_hook=lambda entries: SimpleNamespace(**entries)
    )
    assert family.grid(published, config.image_px) == config.grid
