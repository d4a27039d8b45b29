"""Instance masks: COCO's polygons and run-length encodings, and masks as the model sees them.

Encoding needs pycocotools, which is an extra: without it masks are left out, and a warning says so.
Decoding needs nothing but numpy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from atlas_db.errors import DatasetError
from builder.geometry import View

try:
    from pycocotools import mask as coco_mask
except ImportError:  # the builder alone runs without it
    coco_mask = None

INSTALL = "pip install 'neuron-atlas[coco]'"
#: A polygon of fewer numbers is no area; pycocotools would take four numbers for a box.
_MIN_POLYGON = 6


class MaskEncoder:
    """Turn segmentations into compressed run-length counts, counting what cannot be."""

    def __init__(self) -> None:
        self._n_left_out = 0
        self._empty_ids: list[int] = []

    def encode(self, path: Path, annotation: dict[str, Any], height_px: int, width_px: int) -> str:
        """Give the compressed counts of an annotation's mask; "" where there is none.

        Raises:
            DatasetError: The segmentation is not of COCO's form, or not of the image's size; the
                message names `path`.
        """
        if coco_mask is None:
            self._n_left_out += 1
            return ""
        segmentation = annotation.get("segmentation")
        try:
            if isinstance(segmentation, list):
                counts = _polygon_counts(segmentation, height_px, width_px)
            else:
                counts = _checked_counts(segmentation, height_px, width_px)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            raise DatasetError(
                f"{path}: annotation {annotation['id']} of image {annotation['image_id']} has a "
                "segmentation that is neither a list of polygons nor run lengths of the image's "
                f"size ({height_px} rows, {width_px} columns). Correct or remove the annotation."
            ) from None
        if not counts:
            self._empty_ids.append(annotation["id"])
        return counts

    def warnings(self) -> tuple[str, ...]:
        """Say, in sentences for the user, which masks are not there."""
        warnings = []
        if self._n_left_out:
            warnings.append(
                f"pycocotools is not installed: the masks of {self._n_left_out} objects are left "
                f"out, and with them all that compares units with masks. Install: {INSTALL}"
            )
        if self._empty_ids:
            shown = ", ".join(map(str, sorted(self._empty_ids)[:5]))
            warnings.append(
                f"{len(self._empty_ids)} objects have no polygon of three points or more and are "
                f"kept without a mask: annotations {shown}."
            )
        return tuple(warnings)


def _polygon_counts(polygons: list[list[float]], height_px: int, width_px: int) -> str:
    polygons = [polygon for polygon in polygons if len(polygon) >= _MIN_POLYGON]
    if not polygons:
        return ""
    parts = coco_mask.frPyObjects(polygons, height_px, width_px)
    return coco_mask.merge(parts)["counts"].decode("ascii")


def _checked_counts(segmentation: Any, height_px: int, width_px: int) -> str:
    """Compress run lengths, after checking that they fill the image and no more.

    pycocotools reads memory that is not its own where they do not.
    """
    if list(segmentation["size"]) != [height_px, width_px]:
        raise ValueError("size")
    counts = segmentation["counts"]
    lengths = _run_lengths(counts) if isinstance(counts, str) else counts
    if min(lengths) < 0 or sum(lengths) != height_px * width_px:
        raise ValueError("counts")
    if isinstance(counts, str):
        return counts
    encoded = coco_mask.frPyObjects(segmentation, height_px, width_px)
    return encoded["counts"].decode("ascii")


def _run_lengths(counts: str) -> list[int]:
    """Read COCO's compressed run lengths.

    Each is written in characters of 5 bits, the lowest first, from 48 on, with 32 added to all but
    the last and a sign bit of 16 in the last; from the fourth on, as the difference from the
    one two before.

    Source: pycocotools, maskApi.c, rleFrString.
    """
    lengths: list[int] = []
    position = 0
    while position < len(counts):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(counts[position]) - 48 if position < len(counts) else -1
            if not 0 <= bits < 64:
                raise ValueError(f"rle_counts must be COCO's run lengths, got {counts[:40]!r}")
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            position, shift = position + 1, shift + 5
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
    return lengths


def decode_mask(rle_counts: str, height_px: int, width_px: int) -> npt.NDArray[np.bool_]:
    """Decode compressed run-length counts: bool (height_px, width_px).

    Runs go down the columns, from the top left, and the first is outside the mask.

    Raises:
        ValueError: The counts are not those of a mask of that size.
    """
    lengths = _run_lengths(rle_counts)
    if min(lengths, default=-1) < 0 or sum(lengths) != height_px * width_px:
        raise ValueError(f"rle_counts must fill {height_px} x {width_px}, got {sum(lengths)}")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width_px, height_px).T


def mask_in_view(mask: npt.NDArray[np.bool_], view: View) -> npt.NDArray[np.bool_]:
    """Show a mask of the photograph, bool (height, width), as the model sees it: (px, px).

    Each pixel of the view takes the value of the photograph's pixel under its centre.

    Raises:
        ValueError: The mask is not of the photograph's size.
    """
    wanted = (view.height_px, view.width_px)
    if mask.shape != wanted:
        raise ValueError(f"mask must have shape {wanted}, got {mask.shape}")
    centres = np.arange(view.view_px) + 0.5
    x, y = view.to_photograph(centres, centres)
    columns = np.clip(np.floor(x).astype(int), 0, view.width_px - 1)
    rows = np.clip(np.floor(y).astype(int), 0, view.height_px - 1)
    return mask[np.ix_(rows, columns)]
