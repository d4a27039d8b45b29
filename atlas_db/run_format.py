"""The run folder: what the builder writes and `atlas_db.ingest` reads.

Needs pyarrow alone, so that a GPU machine without DuckDB can write one::

    run/
      manifest.json               configuration, provenance, the list of shards with their hashes
      dataset/TABLE.parquet       what the data set says of the images (DATASET_SCHEMAS)
      weights/TABLE.parquet       what the weights alone say, made once (WEIGHTS_SCHEMAS)
      shards/00003/TABLE.parquet  what one fixed range of images adds (SHARD_SCHEMAS)
      shards/00003/shard.json     its range, its skipped images and the hash of each of its files

Everything is written under a name that ends in `.partial`, flushed to the disk and renamed, so a
file under its final name is whole. Per-shard tables of units (`exemplars`, `unit_stats`) are
partial: the atlas's rows are their merge, which is associative and commutative.

`uid = layer * units_per_layer + unit` everywhere. Ranks count from 1, layers, units, patches,
targets and positions from 0; patches run row by row from the top left of the grid.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas_db.errors import RunError

RUN_FORMAT = "neuron-atlas-run"
RUN_VERSION = 1

#: Exemplars and negative exemplars kept for each unit, top pairs and top distinct units kept for
#: each image and target, decoded tokens kept for each unit and sign, neighbours kept for each unit
#: and for each token.
N_EXEMPLARS = 16
N_NEGATIVE_EXEMPLARS = 8
N_ATTRIBUTIONS = 100
N_TOKENS = 10
N_NEIGHBOURS = 8

#: A unit is always on when it is in the top 100 of more than half of the images, and of at least
#: four times as many as units are on average: in a model of few units every unit is in many.
ALWAYS_ON_MIN_FREQUENCY = 0.5
ALWAYS_ON_MIN_RATIO = 4.0

#: Activation histograms: 64 bins a sign, 4 an octave, from 2**-8 to 2**8. Bin 64 + i counts
#: activations of [edge(i), edge(i + 1)), bin 63 - i their negatives; edge(i) =
#: 2**(i // 4 - 8) * (1 + (i % 4) / 4). The innermost bins reach to 0, the outermost to infinity.
HISTOGRAM_OCTAVE_MIN = -8
HISTOGRAM_BINS_PER_OCTAVE = 4
HISTOGRAM_BINS_PER_SIGN = 64
N_HISTOGRAM_BINS = 2 * HISTOGRAM_BINS_PER_SIGN


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


DATASET_SCHEMAS: Mapping[str, pa.Schema] = {
    # One row for each image of the split, skipped ones included; ascending image_id.
    "images": _schema(
        image_id=pa.int64(),
        file=pa.string(),  # relative to the data set's folder, "val2017/000000000139.jpg"
        split=pa.string(),
        width_px=pa.int32(),
        height_px=pa.int32(),
        licence_id=pa.int32(),  # -1: not stated
        source_url=pa.string(),  # where the photograph comes from (Flickr); "" if not stated
        coco_url=pa.string(),
    ),
    "human_captions": _schema(image_id=pa.int64(), caption_index=pa.int16(), caption=pa.string()),
    "categories": _schema(category_id=pa.int32(), name=pa.string(), supercategory=pa.string()),
    "instances": _schema(
        instance_id=pa.int64(),
        image_id=pa.int64(),
        category_id=pa.int32(),
        is_crowd=pa.bool_(),
        area_px=pa.float64(),
        box_x_px=pa.float32(),
        box_y_px=pa.float32(),
        box_width_px=pa.float32(),
        box_height_px=pa.float32(),
        rle_counts=pa.string(),  # COCO's compressed run-length encoding of the mask
    ),
    "licences": _schema(licence_id=pa.int32(), name=pa.string(), url=pa.string()),
}

WEIGHTS_SCHEMAS: Mapping[str, pa.Schema] = {
    "units": _schema(uid=pa.int32(), write_norm=pa.float32()),
    # sign +1: promoted tokens, by falling logit; -1: suppressed, by rising logit. `prob` is
    # softmax(sign * logits)[token].
    "unit_tokens": _schema(
        uid=pa.int32(),
        sign=pa.int8(),
        rank=pa.int8(),
        token_id=pa.int32(),
        logit=pa.float32(),
        prob=pa.float32(),
    ),
    # The token as the model writes it, leading space kept; bytes that are no UTF-8 as \xNN.
    "vocabulary": _schema(token_id=pa.int32(), token=pa.string(), is_special=pa.bool_()),
    # Nearest other units by cosine of the write vectors.
    "unit_neighbours": _schema(
        uid=pa.int32(), rank=pa.int8(), neighbour_uid=pa.int32(), cosine=pa.float32()
    ),
    # Nearest other tokens by cosine of the unembedding's rows, for every token among unit_tokens.
    "token_neighbours": _schema(
        token_id=pa.int32(), rank=pa.int8(), neighbour_id=pa.int32(), cosine=pa.float32()
    ),
}

SHARD_SCHEMAS: Mapping[str, pa.Schema] = {
    # One row for each image that was read. The thumbnail is a WebP of what the model sees
    # (same crop, larger), so that a heatmap lies over it exactly; empty with --images link.
    "captions": _schema(image_id=pa.int64(), caption=pa.string(), thumbnail=pa.binary()),
    "targets": _schema(
        image_id=pa.int64(),
        target=pa.int8(),
        token_id=pa.int32(),
        word=pa.string(),
        position=pa.int16(),  # in the caption's tokens
        char_start=pa.int32(),  # of the word in the caption
        logit=pa.float32(),
        prob=pa.float32(),
    ),
    # The top (unit, patch) pairs over all layers, by falling attribution.
    "attributions": _schema(
        image_id=pa.int64(),
        target=pa.int8(),
        rank=pa.int16(),
        uid=pa.int32(),
        patch=pa.int16(),
        attribution=pa.float32(),
        z=pa.float32(),
        a=pa.float32(),
        gradient=pa.float32(),
    ),
    # The top distinct units, each by its best patch. The heatmap is its activation map.
    "image_units": _schema(
        image_id=pa.int64(),
        target=pa.int8(),
        rank=pa.int16(),
        uid=pa.int32(),
        patch=pa.int16(),
        attribution=pa.float32(),
        z=pa.float32(),
        a=pa.float32(),
        gradient=pa.float32(),
        heatmap=pa.binary(),  # n_patch bytes for rank <= N_IMAGE_HEATMAPS, else empty
        heatmap_scale=pa.float32(),
        heatmap_zero=pa.float32(),
    ),
    # The images in which a unit is most active (greatest activation over patches; ties by
    # image_id). activation[p] = heatmap_zero + heatmap_scale * byte[p].
    "exemplars": _schema(
        uid=pa.int32(),
        rank=pa.int8(),
        image_id=pa.int64(),
        activation=pa.float32(),
        patch=pa.int16(),
        heatmap=pa.binary(),
        heatmap_scale=pa.float32(),
        heatmap_zero=pa.float32(),
    ),
    "unit_stats": _schema(
        uid=pa.int32(),
        n_patches=pa.int64(),
        n_positive=pa.int64(),
        activation_sum=pa.float64(),
        histogram=pa.list_(pa.int64(), N_HISTOGRAM_BINS),
    ),
}

#: Tables that only shards of some models have, as the manifest's `model` says: of gated MLPs
#: (`n_negative_exemplars`), the images in which a unit's activation is least, and below 0; ties by
#: image_id. Ranks start at the least, which `activation` and `patch` are.
MORE_SHARD_SCHEMAS: Mapping[str, pa.Schema] = {
    "negative_exemplars": SHARD_SCHEMAS["exemplars"],
}

#: For how many of an image's top units the activation map is kept with the image.
N_IMAGE_HEATMAPS = 5


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all (`.partial`, fsync, rename)."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_table(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write a Parquet file whole or not at all, after checking it against its schema."""
    table = table.select(schema.names).cast(schema)
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"{path.name}: column {field.name} must have no nulls")
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial, compression="zstd")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def file_sha256(path: Path) -> str:
    """Hash a file's bytes; hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shard_folder(run: Path, index: int) -> Path:
    """Name the folder of shard `index`."""
    return run / "shards" / f"{index:05d}"


def shard_schemas(manifest: Mapping[str, Any]) -> Mapping[str, pa.Schema]:
    """Give the schemas of all tables that each shard of a run has."""
    if manifest["model"].get("n_negative_exemplars", 0):
        return {**SHARD_SCHEMAS, **MORE_SHARD_SCHEMAS}
    return SHARD_SCHEMAS


def read_manifest(run: Path) -> dict[str, Any]:
    """Read a run folder's manifest.

    Raises:
        RunError: There is none, it is not JSON, or it is of another format version.
    """
    path = run / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{run} is not a run folder: it has no manifest.json. "
            "Make one with `neuron-atlas build --run DIR`."
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}. Build into a new folder.") from error
    found = (manifest.get("format"), manifest.get("version"))
    if found != (RUN_FORMAT, RUN_VERSION):
        raise RunError(
            f"{path} is of format {found[0]} {found[1]}, wanted {RUN_FORMAT} {RUN_VERSION}. "
            "Build it again with this version."
        )
    return manifest
