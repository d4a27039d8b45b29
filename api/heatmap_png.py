"""A heatmap as a PNG: alone, over the photograph, or as the paper's mask.

The map is upsampled bilinearly (`atlas_db.heatmaps.upsample`). Its colours run from its own least
to its own greatest activation, so two maps' colours do not compare; their numbers are in the JSON.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from atlas_db.heatmaps import mask, upsample

Style = Literal["heat", "overlay", "mask"]
Pixels = npt.NDArray[np.uint8]

#: Black, purple, orange, pale yellow: lightness (CIE L*) rises evenly from 0 to 98, so equal steps
#: of activation look equal, in grey print too. Nine points of matplotlib's "inferno" (CC0).
_STOPS = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (85, 15, 109),
        (136, 34, 106),
        (187, 55, 84),
        (227, 89, 51),
        (249, 142, 9),
        (249, 203, 53),
        (252, 255, 164),
    ],
    dtype=np.float64,
)
#: Opacity of the overlay where the map is greatest, and brightness outside of a mask.
_OVERLAY_OPACITY = 0.85
_OUTSIDE_BRIGHTNESS = 0.25
#: Of zlib: higher saves next to nothing and takes twice the time.
_COMPRESS_LEVEL = 4


_N_COLOURS = 256


@cache
def palette() -> Pixels:
    """Give the colours of strengths 0, 1/255 ... 1: red, green, blue, shape (256, 3)."""
    places = np.linspace(0.0, 1.0, len(_STOPS))
    wanted = np.linspace(0.0, 1.0, _N_COLOURS)
    channels = [np.interp(wanted, places, _STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def levels(strength: npt.NDArray[np.float32]) -> Pixels:
    """Give the place in the palette of strengths of 0..1, of the same shape."""
    return (strength * (_N_COLOURS - 1)).round().astype(np.uint8)


def strengths(
    activations: npt.NDArray[np.float32], grid: tuple[int, int], size_px: int
) -> npt.NDArray[np.float32]:
    """Upsample a map of (n_patch,) to (size_px, size_px), its range stretched to 0..1.

    A map that is the same everywhere has no greatest place: it gives zeros.
    """
    low, high = float(activations.min()), float(activations.max())
    if not high > low:
        return np.zeros((size_px, size_px), dtype=np.float32)
    return upsample((activations - low) / (high - low), grid, size_px).clip(0.0, 1.0)


def render(
    activations: npt.NDArray[np.float32],
    grid: tuple[int, int],
    *,
    style: Style,
    size_px: int,
    photograph: bytes | None = None,
) -> bytes:
    """Draw a heatmap.

    Args:
        activations: (n_patch,), in the model's units, row by row.
        grid: Rows and columns.
        style: "heat" is the map alone, "overlay" lies over the photograph, more opaque where it is
            greater, "mask" darkens the photograph outside of the map's highest 5 %.
        size_px: Pixels a side of the PNG.
        photograph: What the model saw, in any format that Pillow reads; for all but "heat".

    Returns:
        The bytes of a PNG: of a palette for "heat", in 8-bit RGB for the others.

    Raises:
        ValueError: The style needs a photograph and there is none.
    """
    if style == "heat":
        indices = Image.fromarray(levels(strengths(activations, grid, size_px)))
        indices.putpalette(palette().tobytes())
        return _png(indices)
    if photograph is None:
        raise ValueError(f"style {style} needs the photograph")
    picture = _pixels(photograph, size_px)
    if style == "mask":
        inside = mask(activations, grid, size_px)
        return _png(_image(np.where(inside[..., None], picture, picture * _OUTSIDE_BRIGHTNESS)))
    strength = strengths(activations, grid, size_px)
    opacity = _OVERLAY_OPACITY * strength[..., None]
    return _png(_image(picture + (palette()[levels(strength)] - picture) * opacity))


def _pixels(photograph: bytes, size_px: int) -> npt.NDArray[np.float32]:
    with Image.open(io.BytesIO(photograph)) as image:
        resized = image.convert("RGB").resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.float32)


def _image(pixels: npt.NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(pixels.round().astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_COMPRESS_LEVEL)
    return file.getvalue()
