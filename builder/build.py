"""The whole pass: a captioner and a data set in, a run folder out, resumable.

::

    captioner = load_captioner("tiny")
    dataset = load_coco(Path("coco"), "val2017")
    build_run(captioner, dataset, Path("run"), BuildSettings())

What the weights alone say (decoded tokens, neighbours) is computed once; then the images go
through detection shard by shard. The same inputs give the same tables, wherever the build was
stopped and whoever made the shards: with `Execution.part` several builds share those of one run
folder out. Another cut into shards gives batches of other sizes, and below float64 these may
change the last bits of an attribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch

from atlas_db.run_format import DATASET_SCHEMAS, WEIGHTS_SCHEMAS
from builder.captioner import Captioner
from builder.coco import CocoDataset
from builder.decoding import decode_units, token_neighbours, unit_neighbours, write_norms
from builder.device_memory import explain_full_memory
from builder.full_disk import explain_full_disk
from builder.language_model import LanguageModel
from builder.manifest import new_manifest
from builder.run_folder import (
    FULL_DISK_ADVICE,
    finish_manifest,
    missing_shards,
    open_manifest,
    write_once,
)
from builder.run_lock import lock_common, lock_part, lock_run
from builder.settings import BuildSettings, Execution, Progress, no_progress
from builder.shard_builder import ShardBuilder, ranges_of
from builder.vocabulary import vocabulary_table


def build_run(
    captioner: Captioner,
    dataset: CocoDataset,
    run: Path,
    settings: BuildSettings,
    *,
    execution: Execution | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Write a run folder, or go on with one that was stopped.

    Raises:
        RunError: The folder holds another run, is being written by another builder, or its disk
            is full; or no image at all could be read.
    """
    execution = execution or Execution()
    model = LanguageModel(captioner.model)
    is_part = execution.part != (1, 1)
    lock = lock_part(run, *execution.part) if is_part else lock_run(run)
    with lock, explain_full_disk(run, FULL_DISK_ADVICE):
        wanted = new_manifest(captioner, model, dataset, settings, execution)
        ranges = ranges_of(wanted)
        with lock_common(run):
            open_manifest(run, wanted)
            write_dataset(run, dataset)
            if not has_weights(run):
                write_weights(run, weights_tables(captioner, model, settings, progress))
        builder = ShardBuilder(captioner, model, settings, execution)
        shards = builder.write_missing(run, dataset, ranges, progress)
        with lock_common(run):
            if not is_part or not missing_shards(run, len(ranges)):
                finish_manifest(run, ranges, shards)
    return run


def write_dataset(run: Path, dataset: CocoDataset) -> None:
    """Write what the data set says, unless an earlier build has."""
    folder = run / "dataset"
    tables = {n: t for n, t in dataset.tables.items() if not (folder / f"{n}.parquet").exists()}
    write_once(folder, tables, DATASET_SCHEMAS)


def has_weights(run: Path) -> bool:
    """Say whether what the weights say has been written."""
    return all((run / "weights" / f"{name}.parquet").exists() for name in WEIGHTS_SCHEMAS)


def write_weights(run: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write what the weights say."""
    write_once(run / "weights", tables, WEIGHTS_SCHEMAS)


def weights_tables(
    captioner: Captioner, model: LanguageModel, settings: BuildSettings, progress: Progress
) -> dict[str, pa.Table]:
    """Decode the units and find neighbours: the tables of WEIGHTS_SCHEMAS.

    Raises:
        CaptionerError: The memory does not hold it.
    """
    with explain_full_memory(captioner, "the decoding of units"):
        return _weights_tables(captioner, model, settings, progress)


def _weights_tables(
    captioner: Captioner, model: LanguageModel, settings: BuildSettings, progress: Progress
) -> dict[str, pa.Table]:
    n_tokens = len(captioner.tokenizer)
    decoded = []
    for layer, table in enumerate(decode_units(model, n_tokens, norm=settings.decode_norm)):
        decoded.append(table)
        progress("decode units", layer + 1, model.n_layers)
    unit_tokens = pa.concat_tables(decoded)
    token_ids = torch.tensor(pc.unique(unit_tokens["token_id"]).sort().to_numpy())
    return {
        "units": pa.table({"uid": range(model.n_units), "write_norm": write_norms(model).numpy()}),
        "unit_tokens": unit_tokens,
        "vocabulary": vocabulary_table(captioner.tokenizer),
        "unit_neighbours": unit_neighbours(model),
        "token_neighbours": token_neighbours(model, token_ids, n_tokens),
    }
