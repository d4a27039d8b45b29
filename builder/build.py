"""The whole pass: a captioner and a data set in, a run folder out, resumable.

::

    captioner = load_captioner("tiny")
    dataset = load_coco(Path("coco"), "val2017")
    build_run(captioner, dataset, Path("run"), BuildSettings())

What the weights alone say (decoded tokens, neighbours) is computed once; then the images go
through detection shard by shard. The same inputs give the same tables, wherever the build was
stopped and however it was cut into shards.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch

from atlas_db.run_format import DATASET_SCHEMAS, WEIGHTS_SCHEMAS
from builder.captioner import Captioner
from builder.coco import CocoDataset
from builder.decoding import decode_units, token_neighbours, unit_neighbours, write_norms
from builder.language_model import LanguageModel
from builder.manifest import new_manifest
from builder.run_folder import (
    explain_full_disk,
    finish_manifest,
    lock_run,
    open_manifest,
    write_once,
)
from builder.settings import BuildSettings, Execution, Progress, no_progress
from builder.shard_builder import ShardBuilder, shard_ranges
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
    with lock_run(run), explain_full_disk(run):
        wanted = new_manifest(captioner, model, dataset, settings, execution)
        manifest = open_manifest(run, wanted)
        _write_dataset(run, dataset)
        _write_weights(run, captioner, model, settings, progress)
        ranges = shard_ranges(dataset.tables["images"].num_rows, settings.images_per_shard)
        builder = ShardBuilder(captioner, model, dataset, settings, execution)
        shards = builder.write_missing(run, ranges, progress)
        finish_manifest(run, manifest, ranges, shards)
    return run


def _write_dataset(run: Path, dataset: CocoDataset) -> None:
    folder = run / "dataset"
    tables = {n: t for n, t in dataset.tables.items() if not (folder / f"{n}.parquet").exists()}
    write_once(folder, tables, DATASET_SCHEMAS)


def _write_weights(
    run: Path,
    captioner: Captioner,
    model: LanguageModel,
    settings: BuildSettings,
    progress: Progress,
) -> None:
    """Decode the units and find neighbours, unless an earlier build has."""
    folder = run / "weights"
    if all((folder / f"{name}.parquet").exists() for name in WEIGHTS_SCHEMAS):
        return
    n_tokens = len(captioner.tokenizer)
    decoded = []
    for layer, table in enumerate(decode_units(model, n_tokens, norm=settings.decode_norm)):
        decoded.append(table)
        progress("decode units", layer + 1, model.n_layers)
    unit_tokens = pa.concat_tables(decoded)
    token_ids = torch.tensor(pc.unique(unit_tokens["token_id"]).sort().to_numpy())
    tables = {
        "units": pa.table({"uid": range(model.n_units), "write_norm": write_norms(model).numpy()}),
        "unit_tokens": unit_tokens,
        "vocabulary": vocabulary_table(captioner.tokenizer),
        "unit_neighbours": unit_neighbours(model),
        "token_neighbours": token_neighbours(model, token_ids, n_tokens),
    }
    write_once(folder, tables, WEIGHTS_SCHEMAS)
