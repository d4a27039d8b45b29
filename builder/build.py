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

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from atlas_db.errors import RunError
from atlas_db.run_format import (
    DATASET_SCHEMAS,
    N_EXEMPLARS,
    RUN_FORMAT,
    RUN_VERSION,
    WEIGHTS_SCHEMAS,
)
from builder.captioner import Captioner
from builder.coco import CocoDataset
from builder.decoding import NORMS, decode_units, token_neighbours, unit_neighbours, write_norms
from builder.detection import Detector
from builder.images import IMAGES_MODES, ImageBatch, iterate_batches
from builder.language_model import LanguageModel
from builder.run_folder import (
    explain_full_disk,
    finish_manifest,
    lock_run,
    open_manifest,
    read_shard,
    write_once,
    write_shard,
)
from builder.tables import ShardTables
from builder.targets import NOUN_RULES
from builder.vocabulary import vocabulary_table

FORMULA = "g(k, c, p) = Z_k^p * d y^c / d Z_k^p"

#: Told of progress: (stage, done, total). A stage may be told of the same state twice.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What is built; part of the run's identity.

    Attributes:
        n_targets: Words of each caption that are attributed.
        noun_rule: A key of `builder.targets.NOUN_RULES`.
        decode_norm: `none` or `final`; see `builder.decoding`.
        images: `embed` keeps a thumbnail of each photograph in the atlas, `link` keeps none.
        images_per_shard: Images in each shard.
    """

    n_targets: int = 1
    noun_rule: str = "lexicon"
    decode_norm: str = "none"
    images: str = "embed"
    images_per_shard: int = 500

    def __post_init__(self) -> None:
        for name in ("n_targets", "images_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        choices = {"noun_rule": tuple(NOUN_RULES), "decode_norm": NORMS, "images": IMAGES_MODES}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How it is built; without effect on the result beyond rounding.

    Attributes:
        batch_size: Images in one forward and backward pass.
        n_workers: Processes that read images; 0 reads them in this one.
        command: Written into the manifest.
    """

    batch_size: int = 8
    n_workers: int = 1
    command: str = ""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")
        if self.n_workers < 0:
            raise ValueError(f"n_workers must be >= 0, got {self.n_workers}")


def build_run(
    captioner: Captioner,
    dataset: CocoDataset,
    run: Path,
    settings: BuildSettings,
    *,
    execution: Execution | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Path:
    """Write a run folder, or go on with one that was stopped.

    Raises:
        RunError: The folder holds another run, is being written by another builder, or its disk
            is full; or no image at all could be read.
    """
    execution = execution or Execution()
    model = LanguageModel(captioner.model)
    with lock_run(run), explain_full_disk(run):
        wanted = _manifest(captioner, model, dataset, settings, execution)
        manifest = open_manifest(run, wanted)
        _write_dataset(run, dataset)
        _write_weights(run, captioner, model, settings, progress)
        ranges = shard_ranges(dataset.tables["images"].num_rows, settings.images_per_shard)
        builder = _ShardBuilder(captioner, model, dataset, settings, execution)
        builder.write_missing(run, ranges, progress)
        finish_manifest(run, manifest, ranges)
    return run


def shard_ranges(n_images: int, images_per_shard: int) -> list[tuple[int, int]]:
    """Cut images [0, n) into ranges of `images_per_shard`."""
    starts = range(0, n_images, images_per_shard)
    return [(start, min(start + images_per_shard, n_images)) for start in starts]


def _manifest(
    captioner: Captioner,
    model: LanguageModel,
    dataset: CocoDataset,
    settings: BuildSettings,
    execution: Execution,
) -> dict[str, Any]:
    config = captioner.config
    hashes = captioner.part_hashes()
    parts = {name: {**asdict(getattr(config, name)), "sha256": hashes[name]} for name in hashes}
    rows, columns = config.grid
    return {
        "format": RUN_FORMAT,
        "version": RUN_VERSION,
        "name": f"{config.name} on {dataset.name} {dataset.split}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": execution.command,
        "is_random": config.is_random,
        "captioner": {
            "name": config.name,
            **parts,
            "prompt": config.prompt,
            "bos": config.bos,
            "image_px": config.image_px,
            "geometry": config.geometry,
            "interpolation": config.interpolation,
            "mean": list(config.mean),
            "std": list(config.std),
            "dtype": str(captioner.dtype).removeprefix("torch."),
            "family": model.architecture.family,
            "activation_function": model.activation_function,
        },
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "n_images": dataset.tables["images"].num_rows,
            "sha256": dict(dataset.sha256),
        },
        "warnings": list(dataset.warnings),
        "settings": {
            **asdict(settings),
            "max_new_tokens": config.max_new_tokens,
            "formula": FORMULA,
        },
        "model": {
            "n_layers": model.n_layers,
            "units_per_layer": model.d_mlp,
            "d_model": model.d_model,
            "d_vocab": model.d_vocab,
            "is_gated": model.architecture.is_gated,
            "grid_rows": rows,
            "grid_columns": columns,
        },
        "versions": versions(),
        "n_images": 0,
        "is_complete": False,
        "shards": [],
        "skipped": [],
    }


def versions() -> dict[str, str]:
    """Give the versions that a result may depend on."""
    packages = ("neuron-atlas", "torch", "transformers", "timm", "pillow", "pyarrow", "numpy")
    return {name: metadata.version(name) for name in packages} | {
        "python": platform.python_version()
    }


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


class _ShardBuilder:
    """Runs detection over one shard at a time."""

    def __init__(
        self,
        captioner: Captioner,
        model: LanguageModel,
        dataset: CocoDataset,
        settings: BuildSettings,
        execution: Execution,
    ) -> None:
        self.captioner = captioner
        self.model = model
        self.dataset = dataset
        self.settings = settings
        self.execution = execution
        bos = [captioner.tokenizer.bos_token_id] if captioner.config.bos else []
        self.detector = Detector(
            model,
            captioner.tokenizer,
            prompt_ids=captioner.prompt_ids,
            prefix_ids=bos,
            max_new_tokens=captioner.config.max_new_tokens,
            n_targets=settings.n_targets,
            noun_rule=NOUN_RULES[settings.noun_rule],
        )

    def write_missing(
        self, run: Path, ranges: Sequence[tuple[int, int]], progress: Progress
    ) -> None:
        """Write every shard that is not there whole."""
        total = ranges[-1][1]
        done = 0
        missing = []
        for index, bounds in enumerate(ranges):
            if read_shard(run, index, bounds) is None:
                missing.append((index, bounds))
            else:
                done += bounds[1] - bounds[0]
        progress("detect", done, total)
        for index, bounds in missing:

            def shard_progress(n: int, done: int = done) -> None:
                progress("detect", done + n, total)

            tables, skipped = self._run_shard(bounds, shard_progress)
            write_shard(run, index, bounds, tables, skipped)
            done += bounds[1] - bounds[0]
        if not missing:
            progress("detect", total, total)

    def _run_shard(
        self, bounds: tuple[int, int], progress: Callable[[int], None]
    ) -> tuple[Mapping[str, pa.Table], list[dict[str, Any]]]:
        """Run the images [start, stop) of the data set through detection."""
        collected = ShardTables(
            self.model.n_layers,
            self.model.d_mlp,
            self.captioner.config.n_patch,
            k=N_EXEMPLARS,
            device=self.captioner.device,
        )
        skipped: list[dict[str, Any]] = []
        start, stop = bounds
        batches = iterate_batches(
            self.dataset.tables["images"].slice(start, stop - start),
            self.dataset.folder,
            self.captioner.config,
            batch_size=self.execution.batch_size,
            n_workers=self.execution.n_workers,
            images=self.settings.images,
        )
        n_seen = 0
        for batch in batches:
            skipped += [asdict(image) for image in batch.skipped]
            if batch.image_ids:
                self._run_batch(batch, collected)
            n_seen += len(batch.image_ids) + len(batch.skipped)
            progress(n_seen)
        return collected.tables(), skipped

    def _run_batch(self, batch: ImageBatch, collected: ShardTables) -> None:
        image_ids = torch.tensor(batch.image_ids, device=self.captioner.device)

        def sink(layer: int, activations: Tensor) -> None:
            collected.see_activations(layer, activations, image_ids)

        found = self.detector(self.captioner.encode(batch.pixels), sink)
        collected.add(batch.image_ids, batch.thumbnails, found)


def check_images_read(manifest: Mapping[str, Any]) -> None:
    """Refuse a run in which no image could be read.

    Raises:
        RunError: Every image was skipped.
    """
    if manifest["n_images"] == 0:
        first = manifest["skipped"][0] if manifest["skipped"] else {}
        raise RunError(
            f"none of the {len(manifest['skipped'])} images could be read; the first, "
            f"{first.get('file')}: {first.get('reason')}. Check the data set's folder."
        )
