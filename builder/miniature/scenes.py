"""The backgrounds of the picture world: what a scene looks like and where things may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from builder.miniature.pen import Colour, vary

Pixels = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Zone:
    """A part of a scene where things may be; heights count from the top, as parts of the whole.

    `low` and `high` bound where a thing's lowest point is (its centre if `hangs`); things further
    down are nearer, hence larger, by up to `depth`.
    """

    low: float
    high: float
    depth: float = 0.0
    hangs: bool = False
    casts_shadow: bool = True


@dataclass(frozen=True)
class Background:
    """A drawn scene: pixels (height, width, 3) in 0..255, its main surface, and its zones."""

    pixels: Pixels
    surface: Mask
    zones: dict[str, Zone] = field(default_factory=dict)


def draw_background(scene: str, size_px: int, rng: np.random.Generator) -> Background:
    """Draw one scene without objects; varied in colour, horizon, light and texture."""
    return _BACKGROUNDS[scene](size_px, rng)


def _gradient(size_px: int, top: Colour, bottom: Colour) -> Pixels:
    ramp = np.linspace(0, 1, size_px, dtype=np.float32)[:, None, None]
    rows = np.asarray(top, np.float32) * (1 - ramp) + np.asarray(bottom, np.float32) * ramp
    return np.broadcast_to(rows, (size_px, size_px, 3)).copy()


def _grain(pixels: Pixels, rng: np.random.Generator, amount: float, coarse: int = 1) -> None:
    """Add noise in blocks of `coarse` pixels, in place."""
    height, width = pixels.shape[:2]
    blocks = (-(-height // coarse), -(-width // coarse))
    noise = rng.normal(0, amount, blocks).astype(np.float32)
    noise = noise.repeat(coarse, 0).repeat(coarse, 1)[:height, :width]
    pixels += noise[..., None]


def _below(size_px: int, horizon: float) -> Mask:
    rows = np.arange(size_px) >= int(horizon * size_px)
    return np.broadcast_to(rows[:, None], (size_px, size_px)).copy()


def _sky(size_px: int, rng: np.random.Generator) -> Pixels:
    tops = ((84, 150, 226), (120, 176, 232), (150, 170, 196), (226, 150, 110))
    top = tops[int(rng.choice(4, p=(0.45, 0.3, 0.15, 0.1)))]
    return _gradient(size_px, vary(rng, top), vary(rng, (216, 232, 246), 10))


def _ground(
    pixels: Pixels, horizon: float, colours: tuple[Colour, Colour], rng: np.random.Generator
) -> Mask:
    """Paint the ground under the horizon, in place; returns where it is."""
    size_px = len(pixels)
    ground = _below(size_px, horizon)
    first = int(horizon * size_px)
    lower = _gradient(size_px, vary(rng, colours[0], 14), vary(rng, colours[1], 14))
    pixels[first:] = lower[: size_px - first]
    return ground


def _sea(size_px: int, rng: np.random.Generator) -> Background:
    pixels = _sky(size_px, rng)
    horizon = float(rng.uniform(0.28, 0.46))
    water = _ground(pixels, horizon, ((70, 140, 190), (18, 78, 140)), rng)
    for _ in range(46):
        y = int(rng.uniform(horizon + 0.01, 1) * size_px)
        x, length = int(rng.integers(size_px)), int(rng.integers(8, 34))
        pixels[y : y + 2, x : x + length] += float(rng.uniform(18, 44))
    zones = {
        "float": Zone(horizon + 0.14, 0.97, 0.5, casts_shadow=False),
        "sky": Zone(0.08, horizon - 0.04, hangs=True),
    }
    return Background(pixels, water, zones)


def _underwater(size_px: int, rng: np.random.Generator) -> Background:
    pixels = _gradient(size_px, vary(rng, (64, 168, 200)), vary(rng, (10, 52, 104)))
    ramp = np.linspace(0, 3.0, size_px, dtype=np.float32)[None, :, None]
    pixels += 12 * np.sin(ramp * float(rng.uniform(1.5, 4)) + float(rng.uniform(0, 6)))
    bed = int(float(rng.uniform(0.84, 0.92)) * size_px)
    pixels[bed:] = vary(rng, (150, 136, 96))
    _grain(pixels[bed:], rng, 10, 2)
    for _ in range(int(rng.integers(2, 7))):
        x, height = int(rng.integers(4, size_px - 8)), int(rng.integers(20, 60))
        for row in range(height):
            shift = int(4 * np.sin(row / 6))
            pixels[bed - row, max(0, x + shift) : x + shift + 4] = (34, 110, 62)
    for _ in range(int(rng.integers(4, 14))):
        y, x = int(rng.integers(4, bed - 8)), int(rng.integers(4, size_px - 8))
        pixels[y : y + 4, x : x + 4] = (196, 228, 240)
    surface = np.ones((size_px, size_px), bool)
    zones = {
        "swim": Zone(0.15, 0.78, hangs=True),
        "bed": Zone(0.88, 0.98, 0.1, casts_shadow=False),
    }
    return Background(pixels, surface, zones)


def _field(size_px: int, rng: np.random.Generator) -> Background:
    pixels = _sky(size_px, rng)
    horizon = float(rng.uniform(0.32, 0.5))
    if rng.random() < 0.6:
        _hills(pixels, horizon, vary(rng, (96, 140, 104)), rng)
    grass = _ground(pixels, horizon, ((128, 184, 84), (62, 130, 46)), rng)
    first = int(horizon * size_px)
    _grain(pixels[first:], rng, 9, 2)
    for _ in range(110):
        y, x = int(rng.integers(first, size_px - 5)), int(rng.integers(0, size_px - 2))
        pixels[y : y + 5, x : x + 2] -= 26
    zones = {
        "ground": Zone(horizon + 0.14, 0.97, 0.55),
        "sky": Zone(0.1, horizon - 0.06, hangs=True),
    }
    return Background(pixels, grass, zones)


def _hills(pixels: Pixels, horizon: float, colour: Colour, rng: np.random.Generator) -> None:
    size_px = len(pixels)
    xs = np.arange(size_px) / size_px
    height = 0.05 + 0.05 * np.sin(xs * float(rng.uniform(3, 9)) + float(rng.uniform(0, 6)))
    rows = np.arange(size_px)[:, None] / size_px
    pixels[rows > horizon - height[None, :]] = colour


def _snow(size_px: int, rng: np.random.Generator) -> Background:
    pixels = _gradient(size_px, vary(rng, (168, 186, 208)), vary(rng, (218, 224, 234), 8))
    horizon = float(rng.uniform(0.32, 0.48))
    _hills(pixels, horizon, vary(rng, (196, 206, 222), 10), rng)
    ground = _ground(pixels, horizon, ((222, 230, 242), (248, 250, 253)), rng)
    _grain(pixels[int(horizon * size_px) :], rng, 4, 4)
    for _ in range(int(rng.integers(30, 130))):
        y, x = rng.integers(0, size_px - 3, 2)
        pixels[y : y + 3, x : x + 3] = 255
    zones = {
        "ground": Zone(horizon + 0.14, 0.97, 0.5),
        "sky": Zone(0.1, horizon - 0.06, hangs=True),
    }
    return Background(pixels, ground, zones)


def _beach(size_px: int, rng: np.random.Generator) -> Background:
    pixels = _sky(size_px, rng)
    horizon = float(rng.uniform(0.26, 0.36))
    _ground(pixels, horizon, ((70, 160, 200), (30, 110, 170)), rng)
    shore = horizon + float(rng.uniform(0.08, 0.16))
    sand = _ground(pixels, shore, ((238, 214, 158), (216, 184, 122)), rng)
    first = int(shore * size_px)
    pixels[first - 3 : first + 1] = (240, 246, 248)
    _grain(pixels[first:], rng, 9)
    _grain(pixels[first:], rng, 4, 8)
    zones = {"ground": Zone(shore + 0.12, 0.97, 0.5), "sky": Zone(0.1, horizon - 0.02, hangs=True)}
    return Background(pixels, sand, zones)


def _street(size_px: int, rng: np.random.Generator) -> Background:
    pixels = _sky(size_px, rng)
    horizon = float(rng.uniform(0.5, 0.58))
    x = 0
    while x < size_px:
        width = int(rng.integers(28, 58))
        top = int(float(rng.uniform(0.06, 0.3)) * size_px)
        tones = ((170, 120, 96), (150, 150, 158), (190, 170, 140), (120, 128, 146))
        colour = vary(rng, tones[int(rng.integers(4))])
        pixels[top : int(horizon * size_px), x : x + width] = colour
        for row in range(top + 8, int(horizon * size_px) - 12, 18):
            for column in range(x + 5, min(x + width, size_px) - 8, 13):
                lit = rng.random() < 0.3
                pixels[row : row + 10, column : column + 7] = (
                    (250, 226, 140) if lit else (70, 84, 104)
                )
        x += width
    road = _ground(pixels, horizon, ((176, 172, 168), (190, 186, 180)), rng)
    kerb = int((horizon + 0.1) * size_px)
    pixels[kerb:] = vary(rng, (92, 92, 98), 14)
    _grain(pixels[kerb:], rng, 6, 2)
    middle = int((horizon + 0.28) * size_px)
    for column in range(int(rng.integers(0, 20)), size_px, 44):
        pixels[middle : middle + 4, column : column + 24] = (236, 232, 214)
    zones = {
        "ground": Zone(horizon + 0.07, horizon + 0.16),
        "road": Zone(horizon + 0.24, 0.97, 0.3),
    }
    return Background(pixels, road, zones)


def _night(size_px: int, rng: np.random.Generator) -> Background:
    pixels = _gradient(size_px, vary(rng, (10, 12, 40), 8), vary(rng, (42, 44, 92), 12))
    horizon = float(rng.uniform(0.62, 0.74))
    for _ in range(int(rng.integers(30, 80))):
        y, x = int(rng.integers(0, int(horizon * size_px))), int(rng.integers(0, size_px - 2))
        pixels[y : y + 2, x : x + 2] = float(rng.uniform(120, 240))
    _hills(pixels, horizon, vary(rng, (22, 26, 50), 6), rng)
    ground = _ground(pixels, horizon, ((30, 40, 46), (16, 22, 28)), rng)
    _grain(pixels[int(horizon * size_px) :], rng, 4, 2)
    zones = {
        "ground": Zone(horizon + 0.07, 0.97, 0.3, casts_shadow=False),
        "sky": Zone(0.12, horizon - 0.2, hangs=True),
    }
    return Background(pixels, ~ground, zones)


def _open_sky(size_px: int, rng: np.random.Generator) -> Background:
    pixels = _sky(size_px, rng)
    for _ in range(int(rng.integers(0, 4))):
        y, x = int(rng.integers(20, size_px - 20)), int(rng.integers(0, size_px - 60))
        pixels[y : y + int(rng.integers(3, 8)), x : x + int(rng.integers(30, 90))] += 22
    zones = {"sky": Zone(0.18, 0.82, hangs=True)}
    return Background(pixels, np.ones((size_px, size_px), bool), zones)


def _room(size_px: int, rng: np.random.Generator) -> Background:
    tones = ((226, 206, 172), (190, 208, 212), (214, 186, 186), (196, 206, 170))
    wall = vary(rng, tones[int(rng.integers(4))])
    pixels = _gradient(size_px, vary(rng, wall, 8), wall)
    if rng.random() < 0.5:
        for column in range(int(rng.integers(0, 16)), size_px, 24):
            pixels[:, column : column + 8] *= 0.94
    floor = float(rng.uniform(0.6, 0.7))
    first = int(floor * size_px)
    pixels[first:] = vary(rng, (164, 116, 74))
    pixels[first - 4 : first] = (240, 236, 228)
    for row in range(first + 10, size_px, 14):
        pixels[row : row + 2] *= 0.82
    _grain(pixels[first:], rng, 5, 2)
    if rng.random() < 0.5:
        column = int(rng.integers(10, size_px - 70))
        pixels[14:70, column : column + 56] = (240, 240, 236)
        pixels[19:65, column + 5 : column + 51] = (150, 200, 236)
        pixels[40:43, column : column + 56] = (240, 240, 236)
    zones = {"ground": Zone(floor + 0.12, 0.97, 0.3), "wall": Zone(0.2, 0.36, hangs=True)}
    return Background(pixels, np.ones((size_px, size_px), bool), zones)


def _table(size_px: int, rng: np.random.Generator) -> Background:
    tones = ((206, 196, 180), (170, 186, 190), (196, 170, 150), (150, 160, 140))
    pixels = _gradient(size_px, vary(rng, tones[int(rng.integers(4))]), vary(rng, (150, 140, 130)))
    edge = float(rng.uniform(0.26, 0.4))
    woods = ((158, 102, 58), (190, 140, 90), (116, 74, 46), (226, 222, 214))
    top = _ground(pixels, edge, (woods[int(rng.integers(3))],) * 2, rng)
    first = int(edge * size_px)
    for row in range(first + 6, size_px, int(rng.integers(12, 24))):
        pixels[row : row + 2] *= 0.88
    pixels[first : first + 3] *= 1.2
    _grain(pixels[first:], rng, 5, 2)
    return Background(pixels, top, {"top": Zone(edge + 0.2, 0.96, 0.4)})


_BACKGROUNDS: dict[str, Callable[[int, np.random.Generator], Background]] = {
    "sea": _sea,
    "underwater": _underwater,
    "field": _field,
    "snow": _snow,
    "beach": _beach,
    "street": _street,
    "night": _night,
    "sky": _open_sky,
    "room": _room,
    "table": _table,
}
