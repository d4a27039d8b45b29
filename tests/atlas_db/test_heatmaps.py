import numpy as np
import pytest
import torch

from atlas_db.heatmaps import mask, upsample


@pytest.mark.parametrize("grid", [(14, 14), (12, 12), (7, 14), (1, 1), (2, 3)])
@pytest.mark.parametrize("size_px", [1, 5, 14, 100, 224])
def test_upsample_is_torchs_interpolate(grid: tuple[int, int], size_px: int) -> None:
    heatmap = np.random.default_rng(0).normal(size=grid[0] * grid[1]).astype(np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(heatmap).reshape(1, 1, *grid),
        size=(size_px, size_px),
        mode="bilinear",
        align_corners=False,
    )
    found = upsample(heatmap, grid, size_px)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted[0, 0].numpy(), atol=1e-5)


def test_mask_keeps_the_brightest_twentieth_and_lies_over_its_patch() -> None:
    heatmap = np.zeros(196)
    heatmap[3 * 14 + 10] = 1.0
    found = mask(heatmap, (14, 14), 224)
    assert 0 < found.mean() <= 0.05
    rows, columns = np.nonzero(found)
    assert (rows.min() >= 2 * 16, rows.max() < 5 * 16) == (True, True)
    assert (columns.min() >= 9 * 16, columns.max() < 12 * 16) == (True, True)


def test_mask_of_a_flat_map_is_empty() -> None:
    assert not mask(np.ones(196), (14, 14), 224).any()


def test_percentile_sets_the_masks_size() -> None:
    heatmap = np.random.default_rng(0).normal(size=196)
    assert mask(heatmap, (14, 14), 224, percentile=50).mean() == pytest.approx(0.5, abs=1e-3)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="14 x 14 values, got 195"):
        upsample(np.zeros(195), (14, 14), 224)
    with pytest.raises(ValueError, match="size_px must be >= 1, got 0"):
        upsample(np.zeros(196), (14, 14), 0)
    with pytest.raises(ValueError, match=r"percentile must be in 0..100, got 101"):
        mask(np.zeros(196), (14, 14), 224, percentile=101)
