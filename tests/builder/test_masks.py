"""Masks: decoded as pycocotools decodes them, and shown as the model sees the photograph."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from builder.geometry import view_of
from builder.masks import decode_mask, mask_in_view


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_decoding_undoes_pycocotools_encoding(density: float) -> None:
    rng = np.random.default_rng(7)
    # Wide enough for runs of more than 2**15 pixels, which take four characters each.
    mask = rng.random((311, 173)) < density
    counts = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode()
    np.testing.assert_array_equal(decode_mask(counts, 311, 173), mask)


def test_counts_of_another_size_are_refused() -> None:
    counts = coco_mask.encode(np.ones((4, 4), np.uint8, order="F"))["counts"].decode()
    with pytest.raises(ValueError, match="must fill 4 x 5, got 16"):
        decode_mask(counts, 4, 5)


@pytest.mark.parametrize("counts", ["", "é", "P", "0 1"])
def test_counts_that_are_none_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="rle_counts must"):
        decode_mask(counts, 4, 5)


def test_a_mask_is_squashed_with_its_photograph() -> None:
    mask = np.zeros((20, 40), bool)
    mask[10:15, 8:24] = True
    seen = mask_in_view(mask, view_of(40, 20, geometry="squash", view_px=20))
    expected = np.zeros((20, 20), bool)
    expected[10:15, 4:12] = True
    np.testing.assert_array_equal(seen, expected)


def test_a_mask_is_cropped_with_its_photograph() -> None:
    mask = np.zeros((20, 40), bool)
    mask[:, :11] = True  # the view begins at column 10
    seen = mask_in_view(mask, view_of(40, 20, geometry="crop", view_px=20))
    assert seen[:, 0].all()
    assert not seen[:, 1:].any()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(20, 40\), got \(40, 20\)"):
        mask_in_view(np.ones((40, 20), bool), view_of(40, 20, geometry="crop", view_px=8))
