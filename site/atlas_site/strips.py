"""Heatmaps of a page as one small picture, laid over the photographs by the style sheet.

The maps lie side by side in one 8-bit greyscale PNG. Around each is a gutter of one pixel that
repeats its border, so that the browser's smoothing never mixes neighbours. `assets/atlas/atlas.css`
shows tile `--k` through `mask-image`; `heatmaps.js` reads the exact values back from it.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode an 8-bit greyscale picture: uint8, shape (height, width)."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = np.zeros((height, width + 1), np.uint8)  # the filter byte of each row: none
    rows[:, 1:] = pixels
    body = zlib.compress(rows.tobytes(), 9)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def strip_pixels(
    heatmaps: Sequence[npt.NDArray[np.uint8]], grid: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Set maps side by side with their gutters.

    Maps are uint8, shape (n_patch,); the strip is (rows + 2, n * (columns + 2)).
    """
    rows, columns = grid
    maps = np.stack([np.asarray(heatmap) for heatmap in heatmaps])
    if maps.shape[1] != rows * columns:
        raise ValueError(f"a heatmap must have {rows} x {columns} patches, got {maps.shape[1]}")
    # Indexing repeats the border faster than np.pad does.
    down = np.clip(np.arange(-1, rows + 1), 0, rows - 1)
    across = np.clip(np.arange(-1, columns + 1), 0, columns - 1)
    tiles = maps.reshape(len(maps), rows, columns)[:, down][:, :, across]
    return np.ascontiguousarray(tiles.transpose(1, 0, 2)).reshape(rows + 2, -1)


def strip_style(heatmaps: Sequence[npt.NDArray[np.uint8]], grid: tuple[int, int]) -> str:
    """Give the CSS variables that a group of tiles needs: the strip and its measures."""
    encoded = base64.b64encode(grey_png(strip_pixels(heatmaps, grid))).decode("ascii")
    rows, columns = grid
    return (
        f"--n:{len(heatmaps)};--r:{rows};--c:{columns};--strip:url(data:image/png;base64,{encoded})"
    )


def mean_heatmap(
    heatmaps: Sequence[npt.NDArray[np.uint8]],
    scales: Sequence[float],
    zeros: Sequence[float],
) -> npt.NDArray[np.uint8]:
    """Average activation maps in the model's own units and stretch the mean to 0..255."""
    maps = [
        heatmap.astype(np.float32) * np.float32(scale) + np.float32(zero)
        for heatmap, scale, zero in zip(heatmaps, scales, zeros, strict=True)
    ]
    mean = np.mean(maps, axis=0)
    low, high = float(mean.min()), float(mean.max())
    if high <= low:
        return np.zeros(mean.shape, np.uint8)
    return np.rint((mean - low) * (255 / (high - low))).astype(np.uint8)
