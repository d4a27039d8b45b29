"""From a grid of activations to the pixels over them: bilinear maps and 95th-percentile masks.

The paper's figures upsample the 14 x 14 grid bilinearly to the image and cut the mask at the
map's own 95th percentile (Schwettmann et al. 2023, section 3.2). The sampling is that of
`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`: pixel i looks at the
grid's place (i + 0.5) * n / size - 0.5, clamped to the grid.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt


def upsample(
    heatmap: npt.ArrayLike, grid: tuple[int, int], size_px: int
) -> npt.NDArray[np.float32]:
    """Upsample a heatmap bilinearly.

    Args:
        heatmap: One value a patch, row by row from the top left, shape (rows * columns,).
        grid: Rows and columns of patches.
        size_px: Height and width of the result.

    Returns:
        float32, shape (size_px, size_px), in the heatmap's own units.
    """
    values = np.asarray(heatmap, np.float32)
    rows, columns = grid
    if values.size != rows * columns:
        raise ValueError(f"heatmap must have {rows} x {columns} values, got {values.size}")
    if size_px < 1:
        raise ValueError(f"size_px must be >= 1, got {size_px}")
    down, across = _weights(rows, size_px), _weights(columns, size_px)
    return np.asarray(down @ values.reshape(grid) @ across.T, np.float32)


@lru_cache(maxsize=32)
def _weights(n: int, size_px: int) -> npt.NDArray[np.float32]:
    """Give the weight of each of n grid places in each of size_px pixels, (size_px, n)."""
    place = (np.arange(size_px) + 0.5) * n / size_px - 0.5
    # Below the first centre torch clamps the place; beyond the last, the neighbour's index.
    place = np.maximum(place, 0)
    low = np.floor(place).astype(int)
    part = place - low
    weights = np.zeros((size_px, n))
    pixels = np.arange(size_px)
    np.add.at(weights, (pixels, np.minimum(low, n - 1)), 1 - part)
    np.add.at(weights, (pixels, np.minimum(low + 1, n - 1)), part)
    return weights.astype(np.float32)


def mask(
    heatmap: npt.ArrayLike, grid: tuple[int, int], size_px: int, percentile: float = 95.0
) -> npt.NDArray[np.bool_]:
    """Cut an upsampled heatmap at its own percentile: True where it is above.

    Returns:
        bool, shape (size_px, size_px); all False for a heatmap of one value.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must be in 0..100, got {percentile}")
    pixels = upsample(heatmap, grid, size_px)
    return pixels > np.percentile(pixels, percentile)
