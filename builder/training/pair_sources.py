"""Image-caption pairs of three layouts: COCO's, a folder, and webdataset's tar shards.

A folder says what its images show either in `captions.jsonl` (or `metadata.jsonl`, as Hugging
Face's imagefolder has it), one JSON object a line::

    {"file_name": "dogs/1.jpg", "caption": "two dogs on a beach"}
    {"file_name": "2.png", "captions": ["a red car", "a car in the snow"]}

or in a `.txt` file beside each image, with the image's name, a caption on each line.

Shards are as img2dataset writes them and webdataset reads them: members of a tar file that share a
name up to the first dot are one sample; its caption is `.txt`, or `caption` in `.json`.
"""

from __future__ import annotations

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from atlas_db.errors import DatasetError
from builder.coco_annotations import check_annotation_ids, checked, merged_by_id, read_annotations
from builder.training.pairs import Pairs, pairs_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
CAPTION_FILES = ("captions.jsonl", "metadata.jsonl")

Row = dict[str, Any]


def coco_pairs(folder: Path, split: str) -> Pairs:
    """Read the captions of a split in COCO's layout; ascending by image id.

    Raises:
        DatasetError: The annotation file is missing or not COCO's, or has no captions.
    """
    path = folder / "annotations" / f"captions_{split}.json"
    if not path.is_file():
        raise DatasetError(
            f"{path} is missing. Unpack COCO's annotations into {folder}, or correct --coco or "
            "--split."
        )
    content = read_annotations(path)
    images = merged_by_id({path: content}, "images", {"id": int, "file_name": str})
    check_annotation_ids(path, content, images)
    captions: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for entry in checked(path, "annotations", content["annotations"], {"caption": str}):
        if entry["caption"].strip():
            captions[entry["image_id"]].append((entry["id"], entry["caption"].strip()))
    rows = [
        _row(
            f"{split}/{images[image_id]['file_name']}",
            folder / split / images[image_id]["file_name"],
            [caption for _, caption in sorted(captions[image_id])],
        )
        for image_id in sorted(captions)
    ]
    n_without = len(images) - len(rows)
    left_out = [f"{n_without} images of {path.name} have no caption."] if n_without else []
    return pairs_of(rows, str(path), left_out)


def folder_pairs(folder: Path) -> Pairs:
    """Read a folder of images with captions, in either of its forms; by file name.

    Raises:
        DatasetError: The folder is missing, a line of its caption file is wrong, or it has no
            pair.
    """
    if not folder.is_dir():
        raise DatasetError(f"The folder {folder} does not exist. Correct --folder.")
    listed = [folder / name for name in CAPTION_FILES if (folder / name).is_file()]
    if listed:
        rows = sorted(_caption_lines(listed[0], folder), key=lambda row: row["name"])
        return pairs_of(rows, str(listed[0]), ())
    rows, n_without = [], 0
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            beside = path.with_suffix(".txt")
            captions = _lines(beside) if beside.is_file() else []
            n_without += not captions
            if captions:
                rows.append(_row(path.relative_to(folder).as_posix(), path, captions))
    left_out = [f"{n_without} images have no .txt beside them."] if n_without else []
    return pairs_of(rows, str(folder), left_out)


def shard_pairs(pattern: str) -> Pairs:
    """Index tar shards: a tar file, a folder of them, or `cc3m/{00000..00331}.tar`.

    Reads every shard's headers and captions once; images stay where they are.

    Raises:
        DatasetError: A shard is missing or no plain tar file, or there is no pair.
    """
    rows: list[Row] = []
    left_out: list[str] = []
    for path in shard_files(pattern):
        before = len(rows)
        try:
            rows += _samples(path, left_out)
        except tarfile.TarError as error:
            raise DatasetError(
                f"{path} is no plain tar file: {error}. Wanted a shard as img2dataset writes it, "
                "not compressed; fetch it again or take it out."
            ) from None
        if len(rows) == before:
            left_out.append(f"{path.name} has no image with a caption.")
    return pairs_of(rows, pattern, left_out)


def shard_files(pattern: str) -> list[Path]:
    """List the tar files that a pattern names.

    Raises:
        DatasetError: One of them, or the folder, is missing.
    """
    if Path(pattern).is_dir():
        files = sorted(Path(pattern).glob("*.tar"))
    else:
        files = [Path(name) for name in _expand(pattern)]
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        what = f"{missing[0]} is missing" if missing else f"{pattern} holds no *.tar"
        raise DatasetError(
            f"{what}. Wanted a tar file, a folder of them, or a pattern such as "
            "'cc3m/{00000..00331}.tar'; correct --shards."
        )
    return files


def _expand(pattern: str) -> Iterator[str]:
    """Expand one `{first..last}` of digits, as a shell does; keeps leading zeros."""
    head, brace, rest = pattern.partition("{")
    bounds, closing, tail = rest.partition("}")
    first, dots, last = bounds.partition("..")
    if not (brace and closing and dots and first.isdigit() and last.isdigit()):
        yield pattern
        return
    for number in range(int(first), int(last) + 1):
        yield from _expand(f"{head}{number:0{len(first)}d}{tail}")


def _row(name: str, file: Path, captions: list[str]) -> Row:
    return {"name": name, "file": str(file), "offset": -1, "n_bytes": -1, "captions": captions}


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8: {error}. Save it as UTF-8.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _caption_lines(path: Path, folder: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise DatasetError(
                f"{path}, entry {number} is not JSON: {error.msg}. Wanted one object a line."
            ) from None
        captions = _captions_of(entry)
        name = entry.get("file_name") if isinstance(entry, dict) else None
        is_inside = isinstance(name, str) and name and ".." not in PurePosixPath(name).parts
        if not is_inside or PurePosixPath(str(name)).is_absolute() or not captions:
            raise DatasetError(
                f"{path}, entry {number} must have 'file_name', a path inside {folder}, and "
                f"'caption', 'text' or 'captions', got {line[:200]}. Correct or remove it."
            )
        yield _row(str(name), folder / str(name), captions)


def _captions_of(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return []
    found = entry.get("captions") or [entry.get("caption") or entry.get("text")]
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        return []
    return [text.strip() for text in found if text.strip()]


def _samples(path: Path, left_out: list[str]) -> Iterator[Row]:
    """Give the samples of a shard, in its order; members of a sample stand together."""
    with tarfile.open(path, "r:") as archive:
        sample: dict[str, tarfile.TarInfo] = {}
        current = ""
        for member in _whole_members(archive, path, left_out):
            folder, _, base = member.name.rpartition("/")
            stem, _, suffix = base.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            if key != current:
                yield from _sample_row(archive, path, current, sample)
                current, sample = key, {}
            sample[f".{suffix.lower()}"] = member
        yield from _sample_row(archive, path, current, sample)


def _whole_members(
    archive: tarfile.TarFile, path: Path, left_out: list[str]
) -> Iterator[tarfile.TarInfo]:
    size = path.stat().st_size
    while True:
        try:
            member = archive.next()
        except tarfile.ReadError:
            member = None
            left_out.append(f"{path.name} is cut off: what comes after is left out.")
        if member is None:
            return
        if member.offset_data + member.size > size:
            left_out.append(f"{path.name} is cut off: what comes after is left out.")
            return
        if member.isfile():
            yield member


def _sample_row(
    archive: tarfile.TarFile, path: Path, key: str, sample: dict[str, tarfile.TarInfo]
) -> Iterator[Row]:
    image = next((sample[s] for s in IMAGE_SUFFIXES if s in sample), None)
    captions = _sample_captions(archive, sample)
    if image is not None and captions:
        yield {
            "name": f"{path.name}:{key}",
            "file": str(path),
            "offset": image.offset_data,
            "n_bytes": image.size,
            "captions": captions,
        }


def _sample_captions(archive: tarfile.TarFile, sample: dict[str, tarfile.TarInfo]) -> list[str]:
    def content(suffix: str) -> str:
        file = archive.extractfile(sample[suffix])
        return "" if file is None else file.read().decode("utf-8", errors="replace")

    if ".txt" in sample:
        return [line.strip() for line in content(".txt").splitlines() if line.strip()]
    if ".json" in sample:
        try:
            return _captions_of(json.loads(content(".json")))
        except json.JSONDecodeError:
            return []
    return []
