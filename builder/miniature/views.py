"""Augmented views of pictures: another crop, size, turn, mirror and light, segments moved along."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from builder.miniature.picture_cache import GRID
from builder.miniature.segments import N_SEGMENTS

#: Samples of the segments in a patch, along each side.
_PER_PATCH = 4
_SIDES = (0.5, 1.05)
_LOG_ASPECT = 0.12
_TURN_RAD = 0.12
_HUE_RAD = 0.5
_SATURATION = 0.4
_CONTRAST = 0.3
_BRIGHTNESS = 0.15
_TINT = 0.12
_GREY_PROB = 0.15
_NOISE = 0.02
#: From RGB to a lightness and two colour axes in which a turn changes the hue.
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@dataclass(frozen=True)
class View:
    """A view of a batch: pixels (batch, 3, px, px) in 0..1 and what its patches show.

    `cover` (batch, N_SEGMENTS, GRID ** 2) is the part of each patch that a segment covers.
    """

    pixels: Tensor
    cover: Tensor


def to_float(pixels: Tensor) -> Tensor:
    """Turn pixels (batch, px, px, 3) uint8 into (batch, 3, px, px) in 0..1."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def make_view(pixels: Tensor, segments: Tensor, generator: torch.Generator) -> View:
    """Make a view of pictures in 0..1 and their segments (batch, side, side), each its own way."""
    n, device = len(pixels), pixels.device
    place = _placement(n, generator).to(device)
    moved = _sample(pixels, place, pixels.shape[-1], mode="bilinear")
    turned = _sample(segments[:, None].float(), place, GRID * _PER_PATCH, mode="nearest")
    return View(relight(moved, generator), segment_cover(turned[:, 0]))


def segment_cover(segments: Tensor) -> Tensor:
    """Give the part of each patch that each segment covers, from numbers (batch, side, side).

    `side` is a multiple of GRID; gives (batch, N_SEGMENTS, GRID ** 2), summing to 1 over segments.
    """
    numbers = torch.arange(N_SEGMENTS, device=segments.device).view(1, -1, 1, 1)
    layers = (segments[:, None] == numbers).float()
    return functional.avg_pool2d(layers, segments.shape[-1] // GRID).flatten(2)


def relight(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Change hue, saturation, contrast, lightness and tint of each picture; stays in 0..1.

    One in seven or so turns grey, and all get noise.
    """
    n = len(pixels)
    hue = _uniform((n,), -_HUE_RAD, _HUE_RAD, generator)
    saturation = _uniform((n,), 1 - _SATURATION, 1 + _SATURATION, generator)
    saturation = saturation * (torch.rand(n, generator=generator) >= _GREY_PROB)
    turn = torch.zeros(n, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * hue.cos()
    turn[:, 2, 1] = saturation * hue.sin()
    turn[:, 1, 2] = -turn[:, 2, 1]
    yiq = torch.tensor(_YIQ)
    contrast = _uniform((n, 1, 1), 1 - _CONTRAST, 1 + _CONTRAST, generator)
    tint = _uniform((n, 3, 1), 1 - _TINT, 1 + _TINT, generator)
    mix = torch.linalg.inv(yiq) @ turn @ yiq * contrast * tint
    lift = _uniform((n, 1, 1), -_BRIGHTNESS, _BRIGHTNESS, generator) + 0.5 * (1 - contrast)
    noise = _NOISE * torch.randn(pixels.shape, generator=generator)
    mixed = torch.bmm(mix.to(pixels.device), pixels.flatten(2)) + lift.to(pixels.device)
    return (mixed.view_as(pixels) + noise.to(pixels.device)).clamp(0, 1)


def _placement(n: int, generator: torch.Generator) -> Tensor:
    """Draw affine maps (n, 2, 3) from a view's coordinates to the picture's, both in -1..1."""
    side = _uniform((n,), math.log(_SIDES[0]), math.log(_SIDES[1]), generator).exp()
    aspect = _uniform((n,), -_LOG_ASPECT, _LOG_ASPECT, generator).exp()
    wide, high = side * aspect, side / aspect
    turn = _uniform((n,), -_TURN_RAD, _TURN_RAD, generator)
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    room = (1 - side).clamp(min=0)
    place = torch.empty(n, 2, 3)
    place[:, 0, 0], place[:, 0, 1] = wide * turn.cos() * mirror, -high * turn.sin()
    place[:, 1, 0], place[:, 1, 1] = wide * turn.sin() * mirror, high * turn.cos()
    place[:, :, 2] = _uniform((n, 2), -1, 1, generator) * room[:, None]
    return place


def _sample(maps: Tensor, place: Tensor, side: int, *, mode: str) -> Tensor:
    shape = [len(maps), maps.shape[1], side, side]
    grid = functional.affine_grid(place, shape, align_corners=False)
    return functional.grid_sample(
        maps, grid, mode=mode, padding_mode="reflection", align_corners=False
    )


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
