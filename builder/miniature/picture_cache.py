"""Pictures drawn once for training: small pixels, captions, and patch labels for diagnosis alone.

A cache folder holds chunks of fixed size, `00003.npz`, each with `pixels` (n, px, px, 3) uint8,
INPUT_PX a side, the pictures reduced to what the encoder sees; `labels` (n, GRID, GRID) int16, the
index of the concept that covers at least half of a patch, -1 where none does; `segments`
(n, px / 2, px / 2) uint8, found from the colours alone (`segments.py`); and `captions`, JSON.
Labels never reach a loss of the encoder: only the linear probe reads them.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from atlas_db.parent_process import end_with_parent
from builder.miniature.concepts import concepts
from builder.miniature.segments import find_segments
from builder.miniature.world import SIZE_PX, Picture, draw_picture

INPUT_PX = 112
PATCH_PX = 16
GRID = INPUT_PX // PATCH_PX
CHUNK = 500
_MIN_COVER = 0.5


@dataclass(frozen=True)
class PictureCache:
    """Pictures ready for training, as arrays (see the module) and five captions each."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int16]
    segments: npt.NDArray[np.uint8]
    captions: list[list[str]]


def draw_cache(
    folder: Path,
    *,
    split: str,
    n_images: int,
    seed: int,
    n_workers: int = 1,
    quiet: bool = True,
) -> None:
    """Draw the chunks that are missing; a chunk under its final name is whole.

    Raises:
        ValueError: A number is out of range.
    """
    if n_images < 1 or n_workers < 1:
        raise ValueError(f"n_images and n_workers must be >= 1, got {n_images} and {n_workers}")
    folder.mkdir(parents=True, exist_ok=True)
    starts = [start for start in range(0, n_images, CHUNK) if not _chunk(folder, start).exists()]
    draw = partial(_draw_chunk, folder, split, seed, n_images)
    bar = tqdm(total=len(starts), desc=f"drawing {split}", unit="chunk", disable=quiet)
    with bar:
        if n_workers == 1:
            for start in starts:
                draw(start)
                bar.update()
            return
        with ProcessPoolExecutor(n_workers, get_context("spawn"), end_with_parent) as pool:
            for _ in pool.map(draw, starts):
                bar.update()


def load_cache(folder: Path, n_images: int) -> PictureCache:
    """Read the first `n_images` pictures of a cache that `draw_cache` has drawn."""
    pixels, labels, segments, captions = [], [], [], []
    for start in range(0, n_images, CHUNK):
        with np.load(_chunk(folder, start)) as chunk:
            pixels.append(chunk["pixels"])
            labels.append(chunk["labels"])
            segments.append(chunk["segments"])
            captions += json.loads(str(chunk["captions"]))
    return PictureCache(
        np.concatenate(pixels)[:n_images],
        np.concatenate(labels)[:n_images],
        np.concatenate(segments)[:n_images],
        captions[:n_images],
    )


def reduce_pixels(pixels: npt.NDArray[np.uint8], size_px: int = INPUT_PX) -> npt.NDArray[np.uint8]:
    """Reduce a picture to the encoder's size, as the builder's loader does (squash, bilinear)."""
    image = Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(image)


def patch_labels(picture: Picture) -> npt.NDArray[np.int16]:
    """Say for each patch which concept covers at least half of it, -1 where none does."""
    index = {name: number for number, name in enumerate(concepts())}
    side = SIZE_PX // GRID
    labels = np.full((GRID, GRID), -1, np.int16)
    for instance in picture.instances:
        cover = instance.mask.reshape(GRID, side, GRID, side).mean(axis=(1, 3))
        labels[cover >= _MIN_COVER] = index[instance.concept]
    return labels


def _chunk(folder: Path, start: int) -> Path:
    return folder / f"{start // CHUNK:05d}.npz"


def _draw_chunk(folder: Path, split: str, seed: int, n_images: int, start: int) -> None:
    pictures = [
        draw_picture(split, seed, index) for index in range(start, min(start + CHUNK, n_images))
    ]
    pixels = [reduce_pixels(picture.pixels) for picture in pictures]
    path = _chunk(folder, start)
    partial_path = path.with_name(path.name + ".partial")
    with partial_path.open("wb") as file:
        np.savez(
            file,
            pixels=np.stack(pixels),
            labels=np.stack([patch_labels(picture) for picture in pictures]),
            segments=np.stack([find_segments(each) for each in pixels]),
            captions=np.array(json.dumps([picture.captions for picture in pictures])),
        )
    partial_path.replace(path)
