"""Heatmaps of a page as one small picture, laid over the photographs by the style sheet.

The maps lie side by side in one 8-bit greyscale PNG. Around each is a gutter of one pixel that
repeats its border, so that the browser's smoothing never mixes neighbours. `assets/atlas/atlas.css`
shows tile `--k` through `mask-image`; `heatmaps.js` reads the exact values back from it.
"""

from __future__ import annotations

import struct
import zlib
from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_NO_FILTER = np.zeros(1, np.uint8)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_END = _chunk(b"IEND", b"")


def grey_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode an 8-bit greyscale picture: uint8, shape (height, width)."""
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # the filter byte of each row: none
    rows[:, 1:] = pixels
    return _png(rows)


def _png(rows: npt.NDArray[np.uint8]) -> bytes:
    """Encode rows of pixels that begin with their filter byte: uint8, (height, width + 1)."""
    # Maps are hardly smaller at the highest level than at this, and take longer. With a window no
    # larger than they are zlib clears and walks through 80 KB for each strip instead of 270, and
    # leaves more of the processor's cache to the rest of the page.
    window = min(max((rows.size - 1).bit_length(), 9), zlib.MAX_WBITS)
    deflate = zlib.compressobj(6, zlib.DEFLATED, window, 7)
    body = deflate.compress(rows) + deflate.flush()
    return _head(*rows.shape) + _chunk(b"IDAT", body) + _END


@lru_cache(maxsize=64)
def _head(height: int, row_bytes: int) -> bytes:
    header = struct.pack(">IIBBBBB", row_bytes - 1, height, 8, 0, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header)


@lru_cache(maxsize=64)
def _places(n: int, grid: tuple[int, int]) -> npt.NDArray[np.intp]:
    """Say for each byte of a strip's rows which of n maps' values it is: (rows + 2, width + 1).

    The values are counted from 1; place 0 is the filter byte.
    """
    rows, columns = grid
    down = np.clip(np.arange(-1, rows + 1), 0, rows - 1)
    across = np.clip(np.arange(-1, columns + 1), 0, columns - 1)
    tile = down[:, None] * columns + across
    tiles = tile[:, None, :] + np.arange(n)[:, None] * (rows * columns) + 1
    return np.pad(tiles.reshape(rows + 2, -1), ((0, 0), (1, 0)))


def _strip_rows(
    heatmaps: Sequence[npt.NDArray[np.uint8]], grid: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    rows, columns = grid
    values = np.concatenate([_NO_FILTER, *heatmaps], dtype=np.uint8)
    n_values = len(heatmaps) * rows * columns
    if len(values) != n_values + 1:
        raise ValueError(f"a heatmap must have {rows} x {columns} patches, got {len(heatmaps[0])}")
    return values.take(_places(len(heatmaps), grid))


def strip_pixels(
    heatmaps: Sequence[npt.NDArray[np.uint8]], grid: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Set maps side by side with their gutters.

    Maps are uint8, shape (n_patch,); the strip is (rows + 2, n * (columns + 2)).
    """
    return _strip_rows(heatmaps, grid)[:, 1:]


def strip_style(heatmaps: Sequence[npt.NDArray[np.uint8]], grid: tuple[int, int]) -> str:
    """Give the CSS variables that a group of tiles needs: the strip and its measures."""
    rows, columns = grid
    encoded = b2a_base64(_png(_strip_rows(heatmaps, grid)), newline=False).decode("ascii")
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
