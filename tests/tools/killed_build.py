"""A build in a process of its own, for tests that kill it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from small_coco import SPLIT

from builder.build import build_run
from builder.captioner import Captioner, load_captioner
from builder.coco import load_coco
from builder.settings import BuildSettings, Execution


def run_of(
    captioner: Captioner,
    coco: Path,
    run: Path,
    *,
    batch_size: int = 4,
    per_shard: int = 5,
    part: tuple[int, int] = (1, 1),
) -> Path:
    """Build, or go on with, a run folder of two targets an image."""
    settings = BuildSettings(images_per_shard=per_shard, n_targets=2)
    execution = Execution(batch_size=batch_size, n_workers=0, part=part)
    return build_run(captioner, load_coco(coco, SPLIT), run, settings, execution=execution)


def build_in_child(
    captioner_folder: Path, coco: Path, run: Path, started: Any, per_shard: int
) -> None:
    """Build; the event is set when the captioner is loaded."""
    torch.set_num_threads(1)  # as in the tests: other thread counts round otherwise
    captioner = load_captioner(captioner_folder)
    started.set()
    run_of(captioner, coco, run, per_shard=per_shard)
