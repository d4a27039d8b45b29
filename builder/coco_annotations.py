"""Read COCO's annotation files and check them, naming the file and the entry that is wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from atlas_db.errors import DatasetError

Record = dict[str, Any]
#: For each key that an entry must have, its type or types.
Wanted = Mapping[str, type | tuple[type, ...]]


def read_annotations(path: Path) -> Record:
    """Read an annotation file: an object with the lists `images` and `annotations`.

    Raises:
        DatasetError: It cannot be read, is not JSON (with line and column), or is no such object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "Fetch or write the file again."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}. Wanted a JSON file of COCO's annotations."
        ) from None
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DatasetError(
                f"{path} has no list {key!r}. Wanted COCO's layout: an object with 'images' and "
                "'annotations'."
            )
    return content


def checked(path: Path, key: str, entries: Iterable[Any], wanted: Wanted) -> list[Record]:
    """Check that every entry of a list is an object with the wanted keys of the wanted types.

    Raises:
        DatasetError: One is not.
    """
    entries = list(entries)
    for index, entry in enumerate(entries):
        for name, kind in wanted.items():
            value = entry.get(name) if isinstance(entry, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise DatasetError(
                    f"{path}: {key}[{index}] must have {name!r} as COCO has it, got "
                    f"{json.dumps(entry)[:200]}. Correct or remove the entry."
                )
    return entries


def merged_by_id(contents: Mapping[Path, Record], key: str, wanted: Wanted) -> dict[int, Record]:
    """Give the entries of a list of several files by id; where two have one, they must agree.

    Raises:
        DatasetError: An id occurs twice in one file, or two files say different things of one.
    """
    merged: dict[int, Record] = {}
    for path, content in contents.items():
        entries = checked(path, key, content.get(key) or (), wanted)
        _refuse_repeated_ids(path, key, entries)
        for entry in entries:
            known = merged.setdefault(entry["id"], entry)
            for name in wanted:
                if known[name] != entry[name]:
                    raise DatasetError(
                        f"{path}: {key!r} gives id {entry['id']} the {name} {entry[name]!r}, "
                        f"another annotation file of the same split {known[name]!r}. Use "
                        "annotation files that belong together."
                    )
    return merged


def _refuse_repeated_ids(path: Path, key: str, entries: Iterable[Record]) -> None:
    counts = Counter(entry["id"] for entry in entries)
    repeated = sorted(id_ for id_, count in counts.items() if count > 1)
    if repeated:
        raise DatasetError(
            f"{path}: {len(repeated)} ids occur more than once in {key!r}, the first "
            f"{repeated[0]}. Wanted each once; remove the others."
        )


def check_annotation_ids(path: Path, content: Record, images: Mapping[int, Record]) -> None:
    """Check that every annotation has an id of its own and is of a known image.

    Raises:
        DatasetError: One is not. An annotation of an unknown image is an error and is not left
            out: it shows that file and photographs do not belong together.
    """
    entries = checked(path, "annotations", content["annotations"], {"id": int, "image_id": int})
    strangers = sorted({entry["image_id"] for entry in entries} - set(images))
    if strangers:
        shown = ", ".join(map(str, strangers[:5])) + (", ..." if len(strangers) > 5 else "")
        raise DatasetError(
            f"{path} has annotations for {len(strangers)} images that are not in its 'images': "
            f"{shown}. Add these images to 'images', or remove their annotations."
        )
    _refuse_repeated_ids(path, "annotations", entries)
