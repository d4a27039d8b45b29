"""How well a unit's heatmap covers a thing: masks cut from heatmaps, and their overlap with others.

A heatmap is upsampled bilinearly to the model's view and cut at a threshold:

- its own 95th percentile (Schwettmann et al. 2023, section 3.2), so that a mask is 5 % of the view
  whatever the unit does there; or
- the unit's 95th percentile over all patches of all images, as NetDissect does (Bau et al. 2017,
  with another percentile), so that a unit that is silent here has no mask here.

A mask of 5 % of the view can overlap a thing that takes the share a of it by at most
min(a, .05) / max(a, .05).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

PERCENTILE = 95.0
#: The share of the view that a mask at a map's own percentile takes.
MASK_SHARE = 1 - PERCENTILE / 100


def upsample(maps: Tensor, grid: tuple[int, int], size_px: int) -> Tensor:
    """Upsample heatmaps (n, n_patch) bilinearly to (n, size_px, size_px)."""
    if maps.shape[1] != grid[0] * grid[1]:
        raise ValueError(f"maps must have {grid[0]} x {grid[1]} patches, got {maps.shape[1]}")
    images = maps.float().view(len(maps), 1, *grid)
    size = (size_px, size_px)
    return interpolate(images, size=size, mode="bilinear", align_corners=False)[:, 0]


def own_threshold(pixels: Tensor, percentile: float = PERCENTILE) -> Tensor:
    """Give a value (n,) above which the pixels (n, height, width) beyond a percentile lie.

    The pixels above it are those above numpy's interpolated percentile.
    """
    flat = pixels.flatten(1)
    # Between two sorted values, "above the interpolated value" is "above the lower one".
    rank = math.floor(percentile / 100 * (flat.shape[1] - 1)) + 1
    return flat.kthvalue(rank, dim=1).values


def iou(masks: Tensor, target: Tensor) -> Tensor:
    """Give the intersection over union of masks (n, h, w) with a target (h, w): (n,) float32.

    0 where both are empty.
    """
    intersection = (masks & target).flatten(1).sum(dim=1)
    union = (masks | target).flatten(1).sum(dim=1)
    return intersection / union.clamp(min=1)


def iou_bound(object_share: float) -> float:
    """Give the greatest IoU that a mask of 5 % of the view can have with a thing of this share."""
    if not 0 <= object_share <= 1:
        raise ValueError(f"object_share must be in 0..1, got {object_share}")
    return min(object_share, MASK_SHARE) / max(object_share, MASK_SHARE)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Overlap of heatmaps with one target, (n,) each: at the map's own threshold, at the unit's."""

    own: Tensor
    unit: Tensor


def overlap(maps: Tensor, unit_threshold: Tensor, target: Tensor, grid: tuple[int, int]) -> Overlap:
    """Cut heatmaps and compare them with a target.

    Args:
        maps: (n, n_patch) activations, row by row from the top left.
        unit_threshold: (n,), the units' percentiles over all images.
        target: (size_px, size_px) bool.
        grid: Rows and columns of patches.
    """
    pixels = upsample(maps, grid, target.shape[0])
    own = pixels > own_threshold(pixels)[:, None, None]
    unit = pixels > unit_threshold.to(pixels)[:, None, None]
    return Overlap(own=iou(own, target), unit=iou(unit, target))
