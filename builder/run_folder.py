"""A run folder while it is being written: whole shards, nothing lost.

A shard's tables are written into `shards/00003.partial/`, flushed, and the folder is renamed; so
a killed build goes on from the last whole shard. A shard whose files do not have the hashes that
its `shard.json` states is made again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from atlas_db.errors import RunError
from atlas_db.run_format import (
    DATASET_SCHEMAS,
    MORE_SHARD_SCHEMAS,
    SHARD_SCHEMAS,
    WEIGHTS_SCHEMAS,
    file_sha256,
    read_manifest,
    shard_folder,
    shard_schemas,
    write_json,
    write_table,
)

_log = logging.getLogger(__name__)

#: Keys of the manifest that say what is built; a run folder holds one such thing.
IDENTITY = ("is_random", "captioner", "dataset", "settings", "model")
#: How to go on with a run folder after its disk was full.
FULL_DISK_ADVICE = (
    "Make room and give the same command again: it goes on from the last whole shard."
)


def open_manifest(run: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Start a run folder, or check that an existing one is of the same run.

    Returns:
        The manifest as it stands in the folder.

    Raises:
        RunError: The folder holds a run of another captioner, data set or settings.
    """
    if not (run / "manifest.json").exists():
        write_json(run / "manifest.json", wanted)
        return dict(wanted)
    manifest = read_manifest(run)
    wanted = json.loads(json.dumps(wanted))
    different = [
        f"{key}.{inner}"
        for key in IDENTITY
        for inner in _different_keys(manifest.get(key), wanted[key])
    ]
    if different:
        raise RunError(
            f"{run} holds another run: {', '.join(different)} differ. Give this one a folder of "
            "its own with --run, or delete that folder."
        )
    return manifest


def _different_keys(found: Any, wanted: Any) -> list[str]:
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if found == wanted else ["value"]
    keys = sorted(set(found) | set(wanted))
    return [key for key in keys if found.get(key) != wanted.get(key)]


def write_once(folder: Path, tables: Mapping[str, pa.Table], schemas: Mapping[str, Any]) -> None:
    """Write tables into `folder`, each whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table, schemas[name])


def write_shard(
    run: Path,
    index: int,
    bounds: tuple[int, int],
    tables: Mapping[str, pa.Table],
    skipped: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Write a shard whole or not at all; give its description, as `read_shard` does."""
    final = shard_folder(run, index)
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_once(partial, tables, {**SHARD_SCHEMAS, **MORE_SHARD_SCHEMAS})
    shard = {
        "index": index,
        "start": bounds[0],
        "stop": bounds[1],
        "n_images": tables["captions"].num_rows,
        "files": {f"{n}.parquet": file_sha256(partial / f"{n}.parquet") for n in tables},
        "skipped": list(skipped),
    }
    write_json(partial / "shard.json", shard)
    sync_folder(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    sync_folder(final.parent)
    return shard


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_shard(run: Path, index: int, bounds: tuple[int, int]) -> dict[str, Any] | None:
    """Read a shard's description if the shard is whole; None if it has to be made.

    Warns of one that is there and damaged.
    """
    folder = shard_folder(run, index)
    if not (folder / "shard.json").exists():
        return None
    manifest = read_manifest(run)
    with suppress(OSError, ValueError, KeyError, TypeError):
        shard: dict[str, Any] = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
        if (
            (shard["index"], shard["start"], shard["stop"]) == (index, *bounds)
            and set(shard["files"]) == {f"{name}.parquet" for name in shard_schemas(manifest)}
            and all(file_sha256(folder / n) == sha for n, sha in shard["files"].items())
        ):
            return shard
    _log.warning("%s is damaged and has to be made again.", folder)
    return None


def missing_shards(run: Path, n_shards: int) -> list[int]:
    """Give the indices of shards that are not there; those that are may still be damaged."""
    return [i for i in range(n_shards) if not (shard_folder(run, i) / "shard.json").exists()]


def finish_manifest(
    run: Path,
    ranges: Sequence[tuple[int, int]],
    known: Mapping[int, Mapping[str, Any]] | None = None,
) -> bool:
    """List the whole shards and what they skipped; say whether all are there.

    `known` are the descriptions of shards that this process has written or read: their files are
    not hashed once more.
    """
    known = known or {}
    shards = [known.get(i) or read_shard(run, i, bounds) for i, bounds in enumerate(ranges)]
    whole = [shard for shard in shards if shard is not None]
    listed = [
        {
            **{key: shard[key] for key in ("index", "start", "stop", "n_images")},
            "n_skipped": len(shard["skipped"]),
            "sha256": file_sha256(shard_folder(run, shard["index"]) / "shard.json"),
        }
        for shard in whole
    ]
    content = {
        **read_manifest(run),
        "n_images": sum(shard["n_images"] for shard in whole),
        "files": {
            f"{folder}/{name}.parquet": file_sha256(run / folder / f"{name}.parquet")
            for folder, schemas in (("dataset", DATASET_SCHEMAS), ("weights", WEIGHTS_SCHEMAS))
            for name in schemas
        },
        "shards": listed,
        "skipped": [image for shard in whole for image in shard["skipped"]],
        "is_complete": len(whole) == len(ranges),
    }
    write_json(run / "manifest.json", content)
    return len(whole) == len(ranges)
