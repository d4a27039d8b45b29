"""Which part of a photograph the model sees, and where each of its points lands.

With x and y continuous (0 at the left and top edge of the first pixel), a point of the photograph
lands in the view at

    x_view = x * scale_x - left        y_view = y * scale_y - top

and back by x = (x_view + left) / scale_x, exactly: both scales are quotients of whole numbers, the
offsets whole numbers.

- "squash": the whole photograph, resized to view_px x view_px; no offset. LiMBeR's BEiT sees this.
- "crop": the short side resized to view_px (the long side rounded down), then the middle cut out,
  as torchvision's Resize and CenterCrop do; what lies beyond is not seen. LiMBeR's CLIP sees this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Coordinate = TypeVar("Coordinate", float, npt.NDArray[np.floating])


@dataclass(frozen=True, slots=True)
class View:
    """How a photograph of width_px x height_px becomes the model's view of view_px x view_px."""

    width_px: int
    height_px: int
    view_px: int
    resized_width_px: int  # of the whole photograph, before the view is cut out
    resized_height_px: int
    left: int
    top: int

    @property
    def scale_x(self) -> float:
        """Pixels of the view per pixel of the photograph, from left to right."""
        return self.resized_width_px / self.width_px

    @property
    def scale_y(self) -> float:
        """Pixels of the view per pixel of the photograph, from top to bottom."""
        return self.resized_height_px / self.height_px

    @property
    def seen(self) -> tuple[float, float, float, float]:
        """The part of the photograph that is seen: left, top, right, bottom, in its pixels."""
        left, top = self.to_photograph(0.0, 0.0)
        right, bottom = self.to_photograph(float(self.view_px), float(self.view_px))
        return left, top, min(right, float(self.width_px)), min(bottom, float(self.height_px))

    def to_view(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Map points of the photograph into the view."""
        return x * self.scale_x - self.left, y * self.scale_y - self.top

    def to_photograph(self, x: Coordinate, y: Coordinate) -> tuple[Coordinate, Coordinate]:
        """Map points of the view into the photograph."""
        return (x + self.left) / self.scale_x, (y + self.top) / self.scale_y


def view_of(width_px: int, height_px: int, *, geometry: str, view_px: int) -> View:
    """Give the view of a photograph of a size.

    Raises:
        ValueError: `geometry` is neither "squash" nor "crop", or a size is below 1.
    """
    if min(width_px, height_px, view_px) < 1:
        raise ValueError(f"sizes must be >= 1, got {width_px} x {height_px} and {view_px}")
    if geometry == "squash":
        return View(width_px, height_px, view_px, view_px, view_px, 0, 0)
    if geometry != "crop":
        raise ValueError(f"geometry must be 'squash' or 'crop', got {geometry!r}")
    short = min(width_px, height_px)
    # Whole-number division: no rounding error can move the long side by a pixel.
    width, height = (view_px * side // short for side in (width_px, height_px))
    left, top = (round((side - view_px) / 2) for side in (width, height))
    return View(width_px, height_px, view_px, width, height, left, top)
