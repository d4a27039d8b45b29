"""The picture world as a COCO data set: images, captions and instances, read like any other.

A thing's category is its concept and its supercategory the concept's kind; where the scene's main
surface is seen (the water, the snow, the street) is an instance of supercategory "scene".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from atlas_db.parent_process import end_with_parent
from atlas_db.run_format import write_json
from builder.miniature.concepts import concepts, scenes
from builder.miniature.inflection import plural
from builder.miniature.scenes import Mask
from builder.miniature.world import SIZE_PX, SPLITS, Picture, draw_picture

#: A word of more categories than these is no word of any.
MAX_OWNERS = 2
_FIRST_SCENE_ID = 201
_JPEG_QUALITY = 90
_LICENCE = {
    "id": 1,
    "name": "CC0 1.0 (drawn by the project)",
    "url": "https://creativecommons.org/publicdomain/zero/1.0/",
}


def categories() -> list[dict[str, Any]]:
    """List the world's categories: the concepts, then the scenes' words."""
    rows = [
        {"id": index, "name": concept.name, "supercategory": concept.kind}
        for index, concept in enumerate(concepts().values(), start=1)
    ]
    words = list(dict.fromkeys(scene.word for scene in scenes().values()))
    return rows + [
        {"id": _FIRST_SCENE_ID + index, "name": word, "supercategory": "scene"}
        for index, word in enumerate(words)
    ]


def category_words() -> dict[str, dict[str, list[str]]]:
    """Give each category's names, and the words that belong to it; see `concepts`.

    A word that belongs to more than MAX_OWNERS categories ("standing", "leg") tells none of them
    and is left out, unless it is a name of the category. Two scenes of one word ("water") share a
    category, and so their words.
    """
    words: dict[str, tuple[set[str], set[str]]] = {}
    for concept in concepts().values():
        words[concept.name] = ({concept.name, *concept.synonyms}, set(concept.words))
    for scene in scenes().values():
        names, all_words = words.setdefault(scene.word, (set(), set()))
        names |= {scene.word, *scene.names}
        all_words |= scene.words
    owners = Counter(word for _, all_words in words.values() for word in all_words)
    own = {word for word, count in owners.items() if count <= MAX_OWNERS}
    found = {}
    for category, (names, all_words) in words.items():
        names |= set(map(plural, names))
        found[category] = {"names": sorted(names), "words": sorted(all_words & (own | names))}
    return found


def write_coco(
    folder: Path, *, split: str, n_images: int, seed: int, n_workers: int = 1, quiet: bool = True
) -> Path:
    """Draw a data set into `folder`/`split` and write its annotations beside; returns the folder.

    The words of each category, which the experiments count as its own, are written beside them.

    Annotations are written last, each whole or not at all, so a folder that has them is complete;
    calling again with the same arguments gives the same files.

    Raises:
        ValueError: The split is unknown or a number is out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if n_images < 1 or n_workers < 1:
        raise ValueError(f"n_images and n_workers must be >= 1, got {n_images} and {n_workers}")
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    draw = partial(_write_image, folder / split, split, seed)
    bar = tqdm(total=n_images, desc="drawing", unit="picture", disable=quiet)
    rows = []
    with bar:
        for row in _map(draw, n_images, n_workers):
            rows.append(row)
            bar.update()
    _write_annotations(folder, split, seed, rows)
    return folder


def _map(draw: partial[dict[str, Any]], n_images: int, n_workers: int) -> Iterator[dict[str, Any]]:
    if n_workers == 1:
        yield from map(draw, range(n_images))
        return
    with ProcessPoolExecutor(n_workers, get_context("spawn"), end_with_parent) as pool:
        yield from pool.map(draw, range(n_images), chunksize=16)


def _write_image(folder: Path, split: str, seed: int, index: int) -> dict[str, Any]:
    """Draw one picture into a file; returns what its annotations need."""
    picture = draw_picture(split, seed, index)
    image_id = index + 1
    name = f"{image_id:012d}.jpg"
    partial_path = folder / (name + ".partial")
    image = Image.fromarray(picture.pixels)
    image.save(partial_path, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    partial_path.replace(folder / name)
    regions = [(instance.concept, instance.mask) for instance in picture.instances]
    regions.append((scenes()[picture.scene].word, picture.surface))
    return {
        "image": {
            "id": image_id,
            "file_name": name,
            "width": SIZE_PX,
            "height": SIZE_PX,
            "license": _LICENCE["id"],
        },
        "captions": _sentences(picture),
        "regions": [_region(name, mask) for name, mask in regions if mask.any()],
    }


def _sentences(picture: Picture) -> list[str]:
    return [caption + "." for caption in picture.captions]


def _region(category: str, mask: Mask) -> dict[str, Any]:
    ys, xs = np.nonzero(mask)
    left, top = int(xs.min()), int(ys.min())
    return {
        "category": category,
        "segmentation": {"size": [SIZE_PX, SIZE_PX], "counts": run_lengths(mask)},
        "area": int(mask.sum()),
        "bbox": [left, top, int(xs.max()) - left + 1, int(ys.max()) - top + 1],
    }


def run_lengths(mask: Mask) -> list[int]:
    """Encode a mask as COCO's uncompressed run lengths: down the columns, zeros first."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    lengths: list[int] = np.diff(edges).tolist()
    return [0, *lengths] if flat[0] else lengths


def _write_annotations(folder: Path, split: str, seed: int, rows: list[dict[str, Any]]) -> None:
    info = {
        "description": f"The picture world of neuron-atlas, split {split}, seed {seed}",
        "version": "1",
        "contributor": "neuron-atlas",
    }
    head = {"info": info, "licenses": [_LICENCE], "images": [row["image"] for row in rows]}
    captions = [
        {"image_id": row["image"]["id"], "caption": caption}
        for row in rows
        for caption in row["captions"]
    ]
    write_json(folder / "annotations" / f"words_{split}.json", category_words())
    category_id = {row["name"]: row["id"] for row in categories()}
    regions = [
        {"image_id": row["image"]["id"], "category_id": category_id[region["category"]],
         "iscrowd": 0, **{key: region[key] for key in ("segmentation", "area", "bbox")}}
        for row in rows
        for region in row["regions"]
    ]  # fmt: skip
    for kind, entries, more in (
        ("captions", captions, {}),
        ("instances", regions, {"categories": categories()}),
    ):
        numbered = [{"id": index, **entry} for index, entry in enumerate(entries, start=1)]
        path = folder / "annotations" / f"{kind}_{split}.json"
        write_json(path, head | {"annotations": numbered} | more)
