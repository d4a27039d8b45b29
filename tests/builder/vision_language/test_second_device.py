"""A vision-language model on a device that is not the CPU: nothing is mixed, all is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from second_device import DeviceTensor, move, second_device
from whole_models import detect

from builder.captioner import load_captioner
from builder.vision_language.captioner import VisionLanguageCaptioner


def test_the_pass_there_is_the_pass_here(
    folder: Path, captioner: VisionLanguageCaptioner, image: np.ndarray
) -> None:
    """Encoder, template, positions, detection."""
    here = detect(captioner, image)
    there = load_captioner(folder / "captioner", dtype="float64")
    assert isinstance(there, VisionLanguageCaptioner)
    move(there.model)
    template = there.template
    if template.newline is not None:
        template = replace(template, newline=DeviceTensor(template.newline))
    with second_device() as device:
        found = detect(replace(there, device=device, template=template), image)
    assert found.captions == here.captions
    for ours, theirs in zip(found.results, here.results, strict=True):
        assert ours.targets == theirs.targets
        assert torch.equal(ours.pairs.uid, theirs.pairs.uid)
        torch.testing.assert_close(ours.pairs.attribution, theirs.pairs.attribution)
