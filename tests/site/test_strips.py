"""The strip holds each map exactly, with a gutter that repeats its border."""

import base64
import io
import re

import numpy as np
import pytest
from atlas_site.strips import grey_png, mean_heatmap, strip_pixels, strip_style
from PIL import Image

GRID = (3, 4)


def _maps(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, GRID[0] * GRID[1]).astype(np.uint8) for _ in range(n)]


def test_png_is_read_back_exactly() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 300)).astype(np.uint8)
    image = Image.open(io.BytesIO(grey_png(pixels)))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), pixels)


def test_each_tile_holds_its_map_and_a_clamped_gutter() -> None:
    maps = _maps(3)
    strip = strip_pixels(maps, GRID)
    assert strip.shape == (GRID[0] + 2, 3 * (GRID[1] + 2))
    for index, heatmap in enumerate(maps):
        tile = strip[:, index * (GRID[1] + 2) : (index + 1) * (GRID[1] + 2)]
        assert np.array_equal(tile, np.pad(heatmap.reshape(GRID), 1, mode="edge"))


def test_a_map_of_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="3 x 4 patches, got 9"):
        strip_pixels([np.zeros(9, np.uint8)], GRID)


def test_style_carries_the_strip_and_its_measures() -> None:
    style = strip_style(_maps(2), GRID)
    assert style.startswith("--n:2;--r:3;--c:4;")
    found = re.search(r"--strip:url\(data:image/png;base64,([A-Za-z0-9+/=]+)\)$", style)
    assert found is not None
    image = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert np.array_equal(np.asarray(image), strip_pixels(_maps(2), GRID))


def test_mean_is_taken_in_the_models_units() -> None:
    # Bytes 0, 255 at scale 1 and at scale 3 from -1: activations (0, 255) and (-1, 764).
    maps = [np.array([0, 255, 0], np.uint8), np.array([0, 255, 255], np.uint8)]
    mean = mean_heatmap(maps, [1.0, 3.0], [0.0, -1.0])
    # Means: -0.5, 509.5, 382: stretched to 0..255 the last is 382.5 / 510 * 255 = 191.25.
    assert mean.tolist() == [0, 255, 191]


def test_mean_of_flat_maps_is_zero() -> None:
    assert mean_heatmap([np.full(4, 9, np.uint8)], [1.0], [0.0]).tolist() == [0, 0, 0, 0]
