"""The picture world: pictures of drawn things in drawn places, with exact masks and captions.

Every picture is drawn from its own seed (seed, index), so any range of a data set can be drawn by
any worker, in any order, with the same result. Pictures are 224 x 224 and the models see them
reduced; nothing here is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from builder.miniature.captions import Group, write_captions
from builder.miniature.concepts import Concept, concepts
from builder.miniature.drawings import DRAWINGS
from builder.miniature.pen import PALETTE, Pen, vary
from builder.miniature.scenes import Background, Mask, Zone, draw_background

SIZE_PX = 224
#: The splits share no seed, whatever the user's: a held-out picture is never trained on.
SPLITS = {"train": 0, "val": 1}
_COUNT_PROB = (0.6, 0.22, 0.1, 0.05, 0.03)
_TRIES = 14
_MAX_OVERLAP = 0.22


@dataclass(frozen=True)
class Instance:
    """One thing in a picture; `mask` is where it is seen, (SIZE_PX, SIZE_PX)."""

    concept: str
    colour: str
    mask: Mask


@dataclass(frozen=True)
class Picture:
    """A drawn picture: pixels (SIZE_PX, SIZE_PX, 3) uint8, its things, surface and captions.

    `surface` is where the scene's main surface (the water, the snow, the table's top) is seen.
    """

    scene: str
    pixels: npt.NDArray[np.uint8]
    instances: tuple[Instance, ...]
    surface: Mask
    captions: tuple[str, ...]


@dataclass(frozen=True)
class _Sprite:
    concept: Concept
    colour: str
    image: npt.NDArray[np.float32]
    left: int
    top: int
    near: int
    shadow: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        height, width = self.image.shape[:2]
        return self.left, self.top, self.left + width, self.top + height


def draw_picture(split: str, seed: int, index: int, *, skip: int | None = None) -> Picture:
    """Draw picture `index` of a split's endless series.

    Args:
        skip: Leave this instance out, all else unchanged; to see where it changes the picture.

    Raises:
        ValueError: The split is unknown, or the seed or the index is negative.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be >= 0, got {seed} and {index}")
    rng = np.random.default_rng([SPLITS[split], seed, index])
    scene, cast = _cast(rng)
    background = draw_background(scene, SIZE_PX, rng)
    sprites, groups = _place(scene, cast, background, rng)
    captions = write_captions(scene, groups, rng)
    pixels, masks = _compose(background, sprites, skip)
    light = rng.uniform(0.84, 1.1) * rng.uniform(0.95, 1.05, 3)
    pixels = pixels * light.astype(np.float32)
    pixels += rng.normal(0, 2.5, pixels.shape).astype(np.float32)
    seen = np.zeros((SIZE_PX, SIZE_PX), bool)
    for mask in masks:
        seen |= mask
    found = [
        Instance(sprite.concept.name, sprite.colour, mask)
        for sprite, mask in zip(sprites, masks, strict=True)
    ]
    whole = np.clip(pixels, 0, 255).astype(np.uint8)
    return Picture(scene, whole, tuple(found), background.surface & ~seen, captions)


def _cast(rng: np.random.Generator) -> tuple[str, list[tuple[Concept, int]]]:
    """Choose a main concept, a scene where it lives, and what else is there."""
    table = list(concepts().values())
    main = table[int(rng.integers(len(table)))]
    places = list(main.habitats)
    scene = places[int(rng.integers(len(places)))]
    most = 5 if main.size < 0.5 and main.kind != "sky" else 2
    share = np.asarray(_COUNT_PROB[:most]) / sum(_COUNT_PROB[:most])
    single = main.name in ("sun", "moon", "rainbow")
    cast = [(main, 1 if single else 1 + int(rng.choice(most, p=share)))]
    others = [concept for concept in table if scene in concept.habitats and concept is not main]
    n_others = int(rng.choice(3, p=(0.4, 0.42, 0.18)))
    order = rng.permutation(len(others))[:n_others]
    cast += [(others[int(index)], 1) for index in order]
    return scene, cast


def _place(
    scene: str,
    cast: list[tuple[Concept, int]],
    background: Background,
    rng: np.random.Generator,
) -> tuple[list[_Sprite], tuple[Group, ...]]:
    """Draw each thing and find it a place where it hides little of the others."""
    sprites: list[_Sprite] = []
    groups = []
    for concept, wanted in cast:
        zone = background.zones[concept.habitats[scene]]
        crowd = 1.0 if wanted < 3 and len(cast) < 3 else 0.82
        scale = crowd * float(rng.uniform(0.78, 1.25))
        colour = str(rng.choice(concept.colours))
        one_colour = rng.random() < 0.75
        mine: list[_Sprite] = []
        for _ in range(wanted):
            name = colour if one_colour else str(rng.choice(concept.colours))
            sprite = _try_places(concept, name, scale, zone, (sprites + mine, rng))
            if sprite is not None:
                mine.append(sprite)
        if mine:
            names = {sprite.colour for sprite in mine}
            told = names.pop() if len(names) == 1 else ""
            groups.append(Group(concept, len(mine), told, scale / crowd))
            sprites += mine
    sprites.sort(key=lambda sprite: sprite.near)
    return sprites, tuple(groups)


def _try_places(
    concept: Concept,
    colour: str,
    scale: float,
    zone: Zone,
    crowd: tuple[list[_Sprite], np.random.Generator],
) -> _Sprite | None:
    others, rng = crowd
    for attempt in range(_TRIES):
        height = float(rng.uniform(min(zone.low, zone.high), zone.high))
        reach = (height - zone.low) / max(zone.high - zone.low, 1e-6)
        near = 1 + zone.depth * (reach - 0.5)
        size_px = max(28, round(concept.size * scale * near * SIZE_PX * (1 - 0.02 * attempt)))
        sprite = _sprite(concept, colour, min(size_px, int(SIZE_PX * 0.9)), (zone, height, rng))
        if all(_overlap(sprite.box, other.box) < _MAX_OVERLAP for other in others):
            return sprite
    return None


def _sprite(
    concept: Concept, colour: str, size_px: int, place: tuple[Zone, float, np.random.Generator]
) -> _Sprite:
    zone, height, rng = place
    pen = Pen(size_px, rng)
    DRAWINGS[concept.name](pen, vary(rng, PALETTE[colour]))
    image = pen.finish()
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turn = float(rng.uniform(-5, 5)) if not zone.hangs else float(rng.uniform(-9, 9))
    image = image.rotate(turn, Image.Resampling.BILINEAR, expand=True)
    tall = image.height
    left = int(rng.integers(-image.width // 12, max(1, SIZE_PX - image.width * 11 // 12)))
    top = int(height * SIZE_PX) - (tall // 2 if zone.hangs else tall)
    top = min(max(top, 0), max(0, SIZE_PX - tall))
    pixels = np.array(image, np.float32)
    # Hard edges: a mask is then exactly where a thing changes the picture.
    pixels[..., 3] = pixels[..., 3] >= 128
    near = -1 if zone.hangs else top + tall
    return _Sprite(concept, colour, pixels, left, top, near, zone.casts_shadow and not zone.hangs)


def _overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """Give the shared area of two boxes as a part of the smaller one."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / min(areas)


def _compose(
    background: Background, sprites: list[_Sprite], skip: int | None
) -> tuple[npt.NDArray[np.float32], list[Mask]]:
    """Paint shadows, then things from far to near; a nearer thing takes from masks behind it."""
    pixels = background.pixels.copy()
    for sprite in sprites:
        if sprite.shadow:
            _paint_shadow(pixels, sprite.box)
    masks: list[Mask] = []
    for index, sprite in enumerate(sprites):
        mask = np.zeros((SIZE_PX, SIZE_PX), bool)
        if index != skip:
            rows, columns, part = _visible_part(sprite)
            mask[rows, columns] = part[..., 3] > 0
            pixels[mask] = part[part[..., 3] > 0, :3]
        for behind in masks:
            behind &= ~mask
        masks.append(mask)
    return pixels, masks


def _visible_part(sprite: _Sprite) -> tuple[slice, slice, npt.NDArray[np.float32]]:
    left, top, right, bottom = sprite.box
    rows = slice(max(top, 0), min(bottom, SIZE_PX))
    columns = slice(max(left, 0), min(right, SIZE_PX))
    part = sprite.image[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return rows, columns, part


def _paint_shadow(pixels: npt.NDArray[np.float32], box: tuple[int, int, int, int]) -> None:
    left, _, right, bottom = box
    wide, flat = (right - left) / 2, max(4.0, (right - left) / 12)
    rows = slice(max(0, int(bottom - 2 - flat)), min(SIZE_PX, int(bottom + flat)))
    ys = np.arange(rows.start, rows.stop)[:, None]
    xs = np.arange(SIZE_PX)[None, :]
    far = ((xs - (left + right) / 2) / wide) ** 2 + ((ys - bottom + 2) / flat) ** 2
    pixels[rows][far < 1] *= 0.78
