"""A pen that draws one object into a unit square, and what it leaves: a shaded sprite.

Coordinates are parts of the square's side, x to the right and y down. Drawing happens at twice the
final resolution; `finish` reduces it, so edges are smooth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageChops, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
_OVERSAMPLING = 2

PALETTE: dict[str, Colour] = {
    "red": (208, 42, 40),
    "orange": (240, 134, 34),
    "yellow": (246, 206, 54),
    "green": (56, 150, 62),
    "blue": (44, 96, 206),
    "purple": (134, 66, 176),
    "pink": (244, 150, 178),
    "brown": (132, 84, 44),
    "black": (44, 42, 46),
    "white": (242, 242, 238),
    "grey": (138, 140, 146),
}


def vary(rng: np.random.Generator, colour: Colour, amount: int = 18) -> Colour:
    """Shift a colour's lightness and, less, its hue at random; stays in 0..255."""
    shift = rng.integers(-amount, amount + 1) + rng.integers(-amount // 3, amount // 3 + 1, 3)
    red, green, blue = np.clip(np.asarray(colour) + shift, 0, 255).tolist()
    return red, green, blue


def darker(colour: Colour, factor: float = 0.7) -> Colour:
    """Scale a colour's lightness; a factor above 1 makes it lighter."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


class Pen:
    """Draws shapes of flat colour into a transparent square of `size_px` pixels a side."""

    def __init__(self, size_px: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.size_px = size_px
        self._scale = size_px * _OVERSAMPLING
        self._image = Image.new("RGBA", (self._scale, self._scale))
        self._draw = ImageDraw.Draw(self._image)

    def ellipse(self, centre: Point, radii: Point, colour: Colour, angle: float = 0.0) -> None:
        """Fill an ellipse, turned clockwise by `angle` degrees."""
        if angle == 0.0:
            (x, y), (rx, ry) = centre, radii
            self._draw.ellipse(self._px((x - rx, y - ry, x + rx, y + ry)), fill=colour)
            return
        turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        along, across = radii[0] * np.cos(turn), radii[1] * np.sin(turn)
        xs = centre[0] + along * cos - across * sin
        ys = centre[1] + along * sin + across * cos
        self.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        self.ellipse(centre, (radius, radius), colour)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._px([value for point in points for value in point]), fill=colour)

    def rectangle(self, box: Sequence[float], colour: Colour, radius: float = 0.0) -> None:
        """Fill a rectangle (x0, y0, x1, y1) with rounded corners."""
        corner = radius * self._scale
        self._draw.rounded_rectangle(self._px(box), radius=corner, fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line with round ends and joints."""
        thick = max(1, round(width * self._scale))
        flat = self._px([value for point in points for value in point])
        self._draw.line(flat, fill=colour, width=thick, joint="curve")
        if thick > 3:
            for x, y in (points[0], points[-1]):
                self.ellipse((x, y), (width / 2, width / 2), colour)

    def arc(
        self, box: Sequence[float], start: float, end: float, width: float, colour: Colour
    ) -> None:
        """Draw a part of an ellipse's outline, angles in degrees clockwise from three o'clock."""
        thick = max(1, round(width * self._scale))
        self._draw.arc(self._px(box), start, end, fill=colour, width=thick)

    def pie(self, box: Sequence[float], start: float, end: float, colour: Colour) -> None:
        """Fill a slice of an ellipse."""
        self._draw.pieslice(self._px(box), start, end, fill=colour)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Draw only where something is drawn already (spots on a hide, panes in a wall)."""
        below, self._image = self._image, Image.new("RGBA", self._image.size)
        self._draw = ImageDraw.Draw(self._image)
        yield
        layer = self._image
        alpha = ImageChops.multiply(layer.getchannel("A"), below.getchannel("A"))
        below.paste(layer, (0, 0), alpha)
        self._image, self._draw = below, ImageDraw.Draw(below)

    def curls(self, centre: Point, radii: Point, count: int, colour: Colour) -> None:
        """Scatter little discs over an ellipse: wool, leaves, foam."""
        for turn in np.linspace(0, 2 * np.pi, count, endpoint=False):
            x = centre[0] + radii[0] * np.cos(turn)
            y = centre[1] + radii[1] * np.sin(turn)
            self.disc((float(x), float(y)), 0.3 * min(radii), vary(self.rng, colour, 8))

    def spots(
        self, box: Sequence[float], count: int, radii: tuple[float, float], colour: Colour
    ) -> None:
        """Scatter discs of random radius inside a box, only where something is drawn."""
        with self.inside():
            for _ in range(count):
                x = float(self.rng.uniform(box[0], box[2]))
                y = float(self.rng.uniform(box[1], box[3]))
                rx, ry = (float(radius) for radius in self.rng.uniform(*radii, 2))
                self.ellipse((x, y), (rx, ry), vary(self.rng, colour, 10))

    def finish(self) -> Image.Image:
        """Shade, reduce and crop what was drawn; RGBA, at most size_px a side."""
        half = self._image.reduce(_OVERSAMPLING)
        box = half.getchannel("A").point(lambda value: 255 if value >= 128 else 0).getbbox()
        assert box is not None, "a drawing left no mark"
        pixels = np.asarray(half.crop(box)).astype(np.float32)
        height, width = pixels.shape[:2]
        light = np.linspace(1.09, 0.84, height, dtype=np.float32)[:, None]
        slope = np.linspace(-0.06, 0.06, width, dtype=np.float32)[None, :]
        grain = self.rng.normal(0, 5.0, (height, width)).astype(np.float32)
        pixels[..., :3] = pixels[..., :3] * (light + slope)[..., None] + grain[..., None]
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGBA")

    def _px(self, values: Sequence[float]) -> list[float]:
        return [value * self._scale for value in values]
