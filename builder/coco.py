"""Read a data set in COCO's layout into the run folder's data set tables.

    FOLDER/annotations/captions_SPLIT.json     human captions, licences
    FOLDER/annotations/instances_SPLIT.json    polygons and crowd regions, categories
    FOLDER/SPLIT/*.jpg

One of the two annotation files may be missing. What is wrong in them is an error and not a warning:
a mask on the wrong photograph would not be seen again. A photograph that is missing or broken is
found later, by the reader of images, and skipped there by name.

Masks are kept as COCO's compressed run-length encoding, in pixels of the annotations' width and
height; polygons are turned into it by pycocotools, so that areas are those that COCO computes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from atlas_db.errors import DatasetError
from atlas_db.run_format import DATASET_SCHEMAS, file_sha256
from builder.coco_annotations import (
    Record,
    Wanted,
    check_annotation_ids,
    checked,
    merged_by_id,
    read_annotations,
)
from builder.masks import MaskEncoder

_IMAGE_KEYS = {"id": int, "file_name": str, "width": int, "height": int}
_LICENCE_KEYS = {"id": int, "name": str, "url": str}
_CATEGORY_KEYS = {"id": int, "name": str, "supercategory": str}
_INSTANCE_KEYS: Wanted = {"category_id": int, "area": (int, float), "bbox": list}


@dataclass(frozen=True, slots=True)
class CocoDataset:
    """The chosen images of a split and what the annotations say of them."""

    name: str
    folder: Path
    split: str
    tables: Mapping[str, pa.Table]  # the names and schemas of DATASET_SCHEMAS
    sha256: Mapping[str, str]  # annotation file, relative to the folder: its hash
    warnings: tuple[str, ...]  # what is not there, in sentences for the user

    @property
    def images(self) -> pa.Table:
        """The images, by ascending image_id."""
        return self.tables["images"]


def load_coco(
    folder: str | Path, split: str, *, start: int = 0, limit: int | None = None
) -> CocoDataset:
    """Read the annotations of a split; keep `limit` images from the `start`-th by image_id.

    Raises:
        DatasetError: The folder or both annotation files are missing, a file is not JSON or not
            COCO's layout, an image id occurs twice, an annotation names an image or a category
            that is not there, or no image is left. The message names the file.
        ValueError: `start` < 0 or `limit` < 1.
    """
    if start < 0 or (limit is not None and limit < 1):
        raise ValueError(f"start must be >= 0 and limit >= 1, got {start} and {limit}")
    folder = Path(folder)
    paths = _annotation_paths(folder, split)
    contents = {path: read_annotations(path) for path in paths.values() if path is not None}
    images = merged_by_id(contents, "images", _IMAGE_KEYS)
    licences = merged_by_id(contents, "licenses", _LICENCE_KEYS)
    categories = merged_by_id(contents, "categories", _CATEGORY_KEYS)
    for path, content in contents.items():
        check_annotation_ids(path, content, images)
    chosen = _choose(images, folder, start, limit)
    masks = MaskEncoder()
    rows = {
        "images": _image_rows(chosen, licences, split),
        "human_captions": _caption_rows(paths["captions"], contents, chosen),
        "categories": _renamed(
            categories, category_id="id", name="name", supercategory="supercategory"
        ),
        "instances": _instance_rows(paths["instances"], contents, chosen, set(categories), masks),
        "licences": _renamed(licences, licence_id="id", name="name", url="url"),
    }
    return CocoDataset(
        name=folder.resolve().name,
        folder=folder,
        split=split,
        tables={
            name: pa.Table.from_pylist(rows[name], schema=schema)
            for name, schema in DATASET_SCHEMAS.items()
        },
        sha256={path.relative_to(folder).as_posix(): file_sha256(path) for path in contents},
        # Relative names: the warnings are part of the run's identity, the folder's place is not.
        warnings=tuple(
            f"annotations/{kind}_{split}.json is missing: there are no {what}."
            for kind, what in (("captions", "human captions"), ("instances", "objects and masks"))
            if paths[kind] is None
        )
        + masks.warnings(),
    )


def _annotation_paths(folder: Path, split: str) -> dict[str, Path | None]:
    if not folder.is_dir():
        raise DatasetError(f"The data set's folder {folder} does not exist. Correct --coco.")
    if not split or PurePosixPath(split).name != split:
        raise DatasetError(f"The split must be a name such as 'val2017', got {split!r}.")
    if not (folder / split).is_dir():
        raise DatasetError(
            f"The folder {folder / split} is missing. Wanted the photographs of split {split!r} "
            f"there; correct --split or unpack {split}.zip of COCO into {folder}."
        )
    wanted = {
        kind: folder / "annotations" / f"{kind}_{split}.json" for kind in ("captions", "instances")
    }
    if not any(path.is_file() for path in wanted.values()):
        raise DatasetError(
            f"There is neither {wanted['captions']} nor {wanted['instances']}. Unpack COCO's "
            f"annotations into {folder}, or correct --coco or --split."
        )
    return {kind: path if path.is_file() else None for kind, path in wanted.items()}


def _choose(
    images: Mapping[int, Record], folder: Path, start: int, limit: int | None
) -> dict[int, Record]:
    for image in images.values():
        name = PurePosixPath(image["file_name"])
        if name.is_absolute() or ".." in name.parts or image["width"] < 1 or image["height"] < 1:
            raise DatasetError(
                f"The annotations in {folder} give image {image['id']} the file "
                f"{image['file_name']!r} of {image['width']} x {image['height']} pixels. Wanted a "
                "path inside the split's folder and a size of at least 1 x 1."
            )
    stop = None if limit is None else start + limit
    chosen = {id_: images[id_] for id_ in sorted(images)[start:stop]}
    if not chosen:
        raise DatasetError(
            f"No image is left of the {len(images)} that the annotations in {folder} name, from "
            f"number {start} on. Lower the start, or check the annotation files."
        )
    return chosen


def _renamed(entries: Mapping[int, Record], **columns: str) -> list[Record]:
    """Give entries by ascending id as rows; `columns` maps a column to COCO's key."""
    return [
        {column: entries[id_][key] for column, key in columns.items()} for id_ in sorted(entries)
    ]


def _image_rows(
    chosen: Mapping[int, Record], licences: Mapping[int, Record], split: str
) -> list[Record]:
    stated = {id_: image.get("license") for id_, image in chosen.items()}
    return [
        {
            "image_id": id_,
            "file": f"{split}/{image['file_name']}",
            "split": split,
            "width_px": image["width"],
            "height_px": image["height"],
            "licence_id": stated[id_] if stated[id_] in list(licences) else -1,
            "source_url": str(image.get("flickr_url") or ""),
            "coco_url": str(image.get("coco_url") or ""),
        }
        for id_, image in chosen.items()
    ]


def _caption_rows(
    path: Path | None, contents: Mapping[Path, Record], chosen: Mapping[int, Record]
) -> list[Record]:
    """Number each image's captions by annotation id; white space around a caption is dropped."""
    captions: dict[int, list[tuple[int, str]]] = defaultdict(list)
    if path is not None:
        entries = checked(path, "annotations", contents[path]["annotations"], {"caption": str})
        for entry in entries:
            captions[entry["image_id"]].append((entry["id"], entry["caption"].strip()))
    return [
        {"image_id": image_id, "caption_index": index, "caption": caption}
        for image_id in chosen
        for index, (_, caption) in enumerate(sorted(captions[image_id]))
    ]


def _instance_rows(
    path: Path | None,
    contents: Mapping[Path, Record],
    chosen: Mapping[int, Record],
    category_ids: set[int],
    masks: MaskEncoder,
) -> list[Record]:
    if path is None:
        return []
    rows = []
    for entry in checked(path, "annotations", contents[path]["annotations"], _INSTANCE_KEYS):
        _check_instance(path, entry, category_ids)
        if (image := chosen.get(entry["image_id"])) is None:
            continue
        x, y, width, height = map(float, entry["bbox"])
        rows.append(
            {
                "instance_id": entry["id"],
                "image_id": entry["image_id"],
                "category_id": entry["category_id"],
                "is_crowd": bool(entry.get("iscrowd", 0)),
                "area_px": float(entry["area"]),
                "box_x_px": x,
                "box_y_px": y,
                "box_width_px": width,
                "box_height_px": height,
                "rle_counts": masks.encode(path, entry, image["height"], image["width"]),
            }
        )
    return sorted(rows, key=lambda row: (row["image_id"], row["instance_id"]))


def _check_instance(path: Path, entry: Record, category_ids: set[int]) -> None:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and math.isfinite(value)

    is_box = len(entry["bbox"]) == 4 and all(map(is_number, entry["bbox"]))
    if entry["category_id"] not in category_ids or not is_box or not is_number(entry["area"]):
        raise DatasetError(
            f"{path}: annotation {entry['id']} has category {entry['category_id']}, area "
            f"{entry['area']} and bbox {entry['bbox']}. Wanted a category of 'categories', a "
            "number and four numbers. Correct or remove it."
        )
