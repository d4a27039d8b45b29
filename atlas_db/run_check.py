"""Is a run folder whole? Asked before a byte of it goes into an atlas."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atlas_db.errors import RunError
from atlas_db.experiment_format import (
    EXPERIMENT_FILE,
    EXPERIMENT_SCHEMAS,
    FIGURE_SCHEMA,
    FIGURES,
    read_experiment,
    run_state,
)
from atlas_db.run_format import (
    DATASET_SCHEMAS,
    WEIGHTS_SCHEMAS,
    file_sha256,
    read_manifest,
    shard_folder,
    shard_schemas,
)

_MANIFEST_KEYS = (
    "name", "created", "command", "is_random", "captioner", "dataset", "settings", "model",
    "versions", "shards",
)  # fmt: skip
_MODEL_KEYS = ("n_layers", "units_per_layer", "grid_rows", "grid_columns")


@dataclass(frozen=True)
class ExperimentEntry:
    """A whole experiment of a run: its folder, and what its `experiment.json` says."""

    folder: Path
    content: Mapping[str, Any]


@dataclass(frozen=True)
class CheckedRun:
    """A run folder whose shards cover the data set and have the bytes that they should."""

    path: Path
    manifest: Mapping[str, Any]
    shards: tuple[Path, ...]  # by rising range
    skipped: tuple[Mapping[str, Any], ...]
    experiments: tuple[ExperimentEntry, ...]  # by name

    @property
    def units_per_layer(self) -> int:
        return int(self.manifest["model"]["units_per_layer"])

    @property
    def n_layers(self) -> int:
        return int(self.manifest["model"]["n_layers"])

    @property
    def n_units(self) -> int:
        return self.n_layers * self.units_per_layer

    @property
    def n_patch(self) -> int:
        model = self.manifest["model"]
        return int(model["grid_rows"]) * int(model["grid_columns"])

    def files(self, table: str) -> list[Path]:
        """List the Parquet files of a table, those of the shards by rising range."""
        if table in DATASET_SCHEMAS:
            return [self.path / "dataset" / f"{table}.parquet"]
        if table in WEIGHTS_SCHEMAS:
            return [self.path / "weights" / f"{table}.parquet"]
        if table in EXPERIMENT_SCHEMAS:
            file = f"{table}.parquet"
            return [e.folder / file for e in self.experiments if file in e.content["files"]]
        return [shard / f"{table}.parquet" for shard in self.shards]


def sql_paths(paths: Sequence[Path]) -> str:
    """Quote paths for `read_parquet`, which reads each as a pattern."""
    quoted = []
    for path in paths:
        plain = "".join(f"[{c}]" if c in "[*?" else c for c in str(path.resolve()))
        quoted.append("'" + plain.replace("'", "''") + "'")
    return ", ".join(quoted)


def check_run(run: Path) -> Generator[tuple[int, int], None, CheckedRun]:
    """Check a run folder, yielding (shards checked, shards); the value returned is a CheckedRun.

    Use it as `checked = yield from check_run(run)`, or through `checked_run`.

    Raises:
        RunError: A file is missing, damaged or of another form, or images are missing.
    """
    manifest = read_manifest(run)
    _check_manifest(run, manifest)
    for name, sha256 in manifest.get("files", {}).items():
        _check_hash(run / name, sha256, "Delete it and run the same build again.")
    for folder, schemas in (("dataset", DATASET_SCHEMAS), ("weights", WEIGHTS_SCHEMAS)):
        for name, schema in schemas.items():
            _check_table(run / folder / f"{name}.parquet", schema)
    entries = sorted(manifest["shards"], key=lambda entry: entry["start"])
    n_images = pq.read_metadata(run / "dataset/images.parquet").num_rows
    _check_coverage(run, entries, n_images)
    skipped: list[Mapping[str, Any]] = []
    for done, entry in enumerate(entries):
        yield done, len(entries)
        skipped += _check_shard(run, entry, shard_schemas(manifest))
    folders = tuple(shard_folder(run, entry["index"]) for entry in entries)
    return CheckedRun(run, manifest, folders, tuple(skipped), _check_experiments(run, manifest))


def checked_run(run: Path) -> CheckedRun:
    """Check a run folder; see `check_run`."""
    steps = check_run(run)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def _check_manifest(run: Path, manifest: Mapping[str, Any]) -> None:
    missing = [key for key in _MANIFEST_KEYS if key not in manifest]
    missing += [f"model.{key}" for key in _MODEL_KEYS if key not in manifest.get("model", {})]
    missing += [] if "formula" in manifest.get("settings", {}) else ["settings.formula"]
    if missing:
        raise RunError(
            f"{run / 'manifest.json'} lacks {', '.join(missing)}. "
            "It was not finished or was edited; build into a new folder."
        )


def _check_coverage(run: Path, entries: list[Mapping[str, Any]], n_images: int) -> None:
    reached = 0
    for entry in entries:
        if entry["start"] != reached:
            break
        reached = entry["stop"]
    if reached != n_images or (entries and entries[-1]["stop"] != n_images):
        written = len(list(run.glob("shards/*/shard.json")))
        if written and not entries:
            raise RunError(
                f"{run} is not finished: {written} of its shards are written, others are missing. "
                "Run the same build again, or the parts of it that have not ended (--shard i/n); "
                "it goes on where it stopped."
            )
        done = sum(entry["stop"] - entry["start"] for entry in entries)
        raise RunError(
            f"{run} is not finished: its shards cover {done} of {n_images} images, the first gap "
            f"at image {reached}. Run the same build again; it goes on where it stopped."
        )


def _check_shard(
    run: Path, entry: Mapping[str, Any], schemas: Mapping[str, pa.Schema]
) -> list[Mapping[str, Any]]:
    folder = shard_folder(run, entry["index"])
    again = "Run the same build again; it redoes only this shard."
    _check_hash(folder / "shard.json", entry["sha256"], again)
    shard = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
    if (shard["start"], shard["stop"]) != (entry["start"], entry["stop"]):
        raise RunError(
            f"{folder / 'shard.json'} covers images {shard['start']} to {shard['stop']}, the "
            f"manifest says {entry['start']} to {entry['stop']}. {again}"
        )
    for name, schema in schemas.items():
        file = f"{name}.parquet"
        if file not in shard["files"]:
            raise RunError(f"{folder / 'shard.json'} does not list {file}. {again}")
        _check_hash(folder / file, shard["files"][file], again)
        _check_table(folder / file, schema)
    return list(shard["skipped"])


def _check_experiments(run: Path, manifest: Mapping[str, Any]) -> tuple[ExperimentEntry, ...]:
    """Check the experiments that are whole; unfinished ones are no part of the run yet."""
    entries = []
    for path in sorted(run.glob(f"experiments/*/{EXPERIMENT_FILE}")):
        folder = path.parent
        if folder.suffix in (".partial", ".chunks"):
            continue
        content = read_experiment(folder)
        assert content is not None
        if content["run_state"] != run_state(manifest):
            raise RunError(
                f"{folder} was made from other shards than those of {run}. Give `neuron-atlas "
                f"report {run}` again, or delete the folder."
            )
        schemas = {FIGURES: FIGURE_SCHEMA, **EXPERIMENT_SCHEMAS}
        for name in content["files"]:
            _check_table(folder / name, schemas[name.removesuffix(".parquet")])
        entries.append(ExperimentEntry(folder, content))
    return tuple(entries)


def _check_hash(path: Path, sha256: str, advice: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}. {advice}") from None
    if found != sha256:
        raise RunError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., wanted {sha256[:12]}.... {advice}"
        )


def _check_table(path: Path, schema: pa.Schema) -> None:
    advice = "Delete it and run the same build again."
    try:
        found = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read: {error}. {advice}") from None
    for field in schema:
        index = found.get_field_index(field.name)
        if index < 0 or found.field(index).type != field.type:
            what = "is missing" if index < 0 else f"is {found.field(index).type}"
            raise RunError(f"{path}: column {field.name} {what}, wanted {field.type}. {advice}")
