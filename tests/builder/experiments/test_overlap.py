"""Overlap of heatmaps with masks drawn by hand."""

import numpy as np
import pytest
import torch

from atlas_db import heatmaps
from builder.experiments.overlap import iou, iou_bound, overlap, own_threshold, upsample


def square(size_px: int, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(size_px, size_px, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


def test_iou_of_squares_by_counting() -> None:
    # 4 x 4 at the corner, and 4 x 4 shifted by 2 and 2: 4 pixels shared of 28.
    one = square(10, slice(0, 4), slice(0, 4))
    other = square(10, slice(2, 6), slice(2, 6))
    nothing = square(10, slice(0, 0), slice(0, 0))
    found = iou(torch.stack([one, other, nothing, ~one]), one)
    assert found.tolist() == pytest.approx([1.0, 4 / 28, 0.0, 0.0])
    assert iou(nothing[None], nothing).tolist() == [0.0]


def test_upsampling_and_threshold_are_those_of_the_atlas() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 20, generator=generator)
    pixels = upsample(maps, (4, 5), 56)
    masks = pixels > own_threshold(pixels)[:, None, None]
    for values, found, mask in zip(maps, pixels, masks, strict=True):
        expected = heatmaps.upsample(values.numpy(), (4, 5), 56)
        assert np.abs(found.numpy() - expected).max() < 1e-5
        differ = mask.numpy() != heatmaps.mask(values.numpy(), (4, 5), 56)
        # Rounding may move a pixel that lies at the threshold.
        assert differ.sum() <= 2
        assert 0.04 <= mask.float().mean() <= 0.06


def test_a_heatmap_of_one_lit_patch_overlaps_the_thing_there_and_no_other() -> None:
    # A 14 x 14 grid on 112 px: patch (3, 3) is the 8 x 8 pixels from (24, 24). 5 % of 112^2 pixels
    # are 627, a disc of about 28 px across around the patch, as high as bilinear light reaches.
    maps = torch.zeros(1, 196)
    maps[0, 3 * 14 + 3] = 1.0
    there = square(112, slice(24, 32), slice(24, 32))
    elsewhere = square(112, slice(80, 88), slice(80, 88))
    threshold = torch.tensor([0.5])
    at = overlap(maps, threshold, there, (14, 14))
    # Bilinear light falls from 1 at the centre to 0 one patch further: in all, 16 x 16 pixels are
    # lit, which is below 5 % of the view; so the map's own 95th percentile is 0 and all that is
    # lit is the mask: 64 of 256 pixels are the thing's.
    assert at.own.item() == pytest.approx(64 / 256)
    # Along one axis light is (8 - |d|) / 8 at |d| = .5, 1.5, ...: product above .5.
    along = torch.tensor([1 - abs(d + 0.5) / 8 for d in range(-8, 8)])
    lit = along[:, None] * along > 0.5
    inside = lit[4:12, 4:12].sum().item()
    assert at.unit.item() == pytest.approx(inside / (64 + lit.sum().item() - inside))
    away = overlap(maps, threshold, elsewhere, (14, 14))
    assert (away.own.item(), away.unit.item()) == (0.0, 0.0)


def test_a_unit_that_is_silent_here_has_no_mask_at_its_own_threshold() -> None:
    maps = torch.linspace(0, 0.1, 196)[None]
    found = overlap(maps, torch.tensor([0.5]), square(112, slice(0, 112), slice(0, 112)), (14, 14))
    assert found.unit.item() == 0.0
    assert found.own.item() == pytest.approx(0.05, abs=0.005)


def test_the_bound_is_reached_by_a_mask_that_covers_what_it_can() -> None:
    assert iou_bound(0.05) == pytest.approx(1.0)
    assert iou_bound(0.5) == pytest.approx(0.1)
    assert iou_bound(0.01) == pytest.approx(0.2)
    assert iou_bound(0.0) == 0.0
    mask = square(100, slice(0, 5), slice(0, 100))
    for rows in (2, 5, 40):
        thing = square(100, slice(0, rows), slice(0, 100))
        assert iou(mask[None], thing).item() == pytest.approx(iou_bound(rows / 100))
