"""Checkpoints and atlases of vision-language models on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner
from small_coco import SPLIT, write_small_coco
from tiny_vision_language import (
    SHAPES,
)
from transformers import AutoModelForImageTextToText

from builder.build import build_run
from builder.captioner import load_captioner
from builder.coco import load_coco
from builder.device_memory import pass_memory
from builder.settings import BuildSettings, Execution
from builder.vision_language.captioner import VisionLanguageCaptioner
from neuron_atlas.cli import main


def test_saved_again_it_gives_the_same_logits(
    folder: Path, captioner: VisionLanguageCaptioner, inputs: dict[str, Any], tmp_path: Path
) -> None:
    captioner.model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float64)
    torch.testing.assert_close(again(**inputs).logits, captioner.model(**inputs).logits)


def test_the_memory_of_a_pass_counts_all_weights(
    folder: Path, captioner: VisionLanguageCaptioner
) -> None:
    needed = pass_memory(folder / "checkpoint", captioner.config.n_patch, 64, torch.float64)
    n_weights = sum(parameter.numel() for parameter in captioner.model.parameters())
    assert needed.weights == 8 * n_weights
    assert needed.image > 0
    assert needed.exemplars > 0


def test_an_atlas_is_built(folder: Path, tmp_path: Path) -> None:
    """Through the command that writes captioner.json, to a whole run folder."""
    image_px = SHAPES[folder.name][0]
    result = CliRunner().invoke(
        main,
        [
            *("captioner", "vision-language", str(folder / "checkpoint"), str(tmp_path / "new")),
            *("--image-px", str(image_px), "--dtype", "float32"),
        ],
    )
    assert result.exit_code == 0, result.output
    captioner = load_captioner(tmp_path / "new")
    assert captioner.config.grid == SHAPES[folder.name][1]
    run = build_run(
        captioner,
        load_coco(write_small_coco(tmp_path / "coco", 3), SPLIT),
        tmp_path / "run",
        BuildSettings(images_per_shard=2, noun_rule="lexicon"),
        execution=Execution(batch_size=2, n_workers=0),
    )
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["is_complete"]
    assert manifest["model"]["is_gated"]
    assert manifest["captioner"].get("reply", "") == captioner.family.reply
    assert manifest["captioner"]["encoder"]["source"].startswith("vlm:model.")
