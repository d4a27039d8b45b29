"""A small data set in COCO's layout, drawn for tests: circles and squares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SPLIT = "val2017"
SIDE_PX = 72
CATEGORIES = [
    {"id": 1, "name": "circle", "supercategory": "shape"},
    {"id": 2, "name": "square", "supercategory": "shape"},
]


def write_small_coco(folder: Path, n_images: int, seed: int = 0, *, first_id: int = 10) -> Path:
    """Draw `n_images` pictures of one shape each, with captions and masks.

    Their ids are `first_id` and every tenth after it.
    """
    random = np.random.default_rng(seed)
    (folder / SPLIT).mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, captions, instances = [], [], []
    for i in range(n_images):
        image_id, category = first_id + 10 * i, 1 + i % 2
        file = f"{image_id:012d}.jpg"
        box = _draw(folder / SPLIT / file, category, random)
        x, y, side = box
        images.append(
            {"id": image_id, "file_name": file, "width": SIDE_PX, "height": SIDE_PX, "license": 1}
        )
        name = CATEGORIES[category - 1]["name"]
        captions.append({"id": i, "image_id": image_id, "caption": f"A {name} on a plain ground."})
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        instances.append(
            {
                "id": i,
                "image_id": image_id,
                "category_id": category,
                "iscrowd": 0,
                "area": side * side,
                "bbox": [x, y, side, side],
                "segmentation": [corners],
            }
        )
    common = {"images": images, "licenses": [{"id": 1, "name": "CC0", "url": "cc0"}]}
    _write(folder, "captions", {**common, "annotations": captions})
    _write(folder, "instances", {**common, "annotations": instances, "categories": CATEGORIES})
    return folder


def _draw(path: Path, category: int, random: np.random.Generator) -> tuple[int, int, int]:
    ground, ink = random.integers(0, 256, (2, 3))
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), tuple(map(int, ground)))
    x, y, side = (int(n) for n in random.integers(4, 32, 3))
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if category == 1 else draw.rectangle
    shape((x, y, x + side, y + side), fill=tuple(map(int, ink)))
    image.save(path, quality=90)
    return x, y, side


def _write(folder: Path, kind: str, content: object) -> None:
    path = folder / "annotations" / f"{kind}_{SPLIT}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
