"""Augmented views of pictures, with the patch of one view that lies on each patch of the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from builder.miniature.picture_cache import GRID, PATCH_PX

_MAX_SHIFT = 2  # patches


@dataclass(frozen=True)
class ViewPair:
    """Two views of a batch, (batch, 3, px, px) in 0..1; patch `first[i]` lies on `second[i]`.

    `clean` is the first view before its colours were changed.
    """

    one: Tensor
    other: Tensor
    clean: Tensor
    first: Tensor
    second: Tensor


def to_float(pixels: Tensor) -> Tensor:
    """Turn pixels (batch, px, px, 3) uint8 into (batch, 3, px, px) in 0..1."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def view_pair(pixels: Tensor, generator: torch.Generator) -> ViewPair:
    """Make two views of a batch in 0..1: shifted by whole patches, and in other light.

    Half of the batches are mirrored. The shift is one for the batch, so correspondence is exact.
    """
    border = _MAX_SHIFT * PATCH_PX
    padded = functional.pad(pixels, (border,) * 4, mode="reflect")
    if torch.rand((), generator=generator) < 0.5:
        padded = padded.flip(3)
    jitter = torch.randint(-PATCH_PX // 2, PATCH_PX // 2, (2,), generator=generator).tolist()
    steps = torch.randint(-_MAX_SHIFT, _MAX_SHIFT + 1, (2,), generator=generator).tolist()
    # Whole steps of a patch, those that would leave the padded picture taken back.
    steps = [
        step if 0 <= border + start + PATCH_PX * step <= 2 * border else 0
        for step, start in zip(steps, jitter, strict=True)
    ]
    top, left = border + jitter[0], border + jitter[1]
    one = _window(padded, top, left)
    other = _window(padded, top + PATCH_PX * steps[0], left + PATCH_PX * steps[1])
    first, second = _corresponding(steps[0], steps[1])
    return ViewPair(relight(one, generator), relight(other, generator), one, first, second)


def relight(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and tint of each picture, and add noise; stays in 0..1."""
    n = len(pixels)
    gain = 1 + 0.25 * (2 * torch.rand(n, 1, 1, 1, generator=generator) - 1)
    tint = 1 + 0.15 * (2 * torch.rand(n, 3, 1, 1, generator=generator) - 1)
    shift = 0.1 * (2 * torch.rand(n, 1, 1, 1, generator=generator) - 1)
    noise = 0.02 * torch.randn(pixels.shape, generator=generator)
    return (pixels * gain * tint + shift + noise).clamp(0, 1)


def _window(padded: Tensor, top: int, left: int) -> Tensor:
    side = GRID * PATCH_PX
    return padded[:, :, top : top + side, left : left + side]


def _corresponding(down: int, right: int) -> tuple[Tensor, Tensor]:
    """Pair patches of one window with those of another that starts (down, right) patches away."""
    rows = torch.arange(max(0, down), min(GRID, GRID + down))
    columns = torch.arange(max(0, right), min(GRID, GRID + right))
    first = (rows[:, None] * GRID + columns[None, :]).flatten()
    second = ((rows - down)[:, None] * GRID + (columns - right)[None, :]).flatten()
    return first, second
