"""What an experiment is given: the captioner, the finished run and its tables, the sample.

::

    for batch in context.batches(image_ids):           # the pictures, read and projected
        batch.image_ids, batch.patches                  # (batch, n_patch, d_model) on the device
    context.run.table("image_units", ["image_id", "uid"])
    context.sample                                      # image ids, the same for all experiments
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from torch import Tensor

from atlas_db import dictionary
from atlas_db.errors import RunError
from atlas_db.run_format import (
    ALWAYS_ON_MIN_FREQUENCY,
    ALWAYS_ON_MIN_RATIO,
    DATASET_SCHEMAS,
    SHARD_SCHEMAS,
    WEIGHTS_SCHEMAS,
    read_manifest,
    shard_folder,
    write_table,
)
from builder.captioner import Captioner
from builder.coco import CocoDataset
from builder.images import iterate_batches
from builder.language_model import LanguageModel
from builder.prefetch import prefetch
from builder.settings import Progress, no_progress


class FinishedRun:
    """A run folder of which every shard is there, as tables.

    Raises:
        RunError: It is no run folder, or it is not finished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = read_manifest(path)
        if not self.manifest.get("is_complete", True):
            raise RunError(
                f"{path} is not finished: experiments need every shard. Give the same "
                "`neuron-atlas build` again; it goes on where it stopped."
            )
        model = self.manifest["model"]
        self.n_layers = int(model["n_layers"])
        self.units_per_layer = int(model["units_per_layer"])
        self.n_units = self.n_layers * self.units_per_layer
        self.grid = (int(model["grid_rows"]), int(model["grid_columns"]))

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table of the run folder, those of the shards by rising range of images.

        Name the columns: heatmaps and thumbnails are large.
        """
        wanted = None if columns is None else list(columns)
        tables = [pq.read_table(path, columns=wanted) for path in self._files(name)]
        return pa.concat_tables(tables)

    def _files(self, name: str) -> list[Path]:
        if name in DATASET_SCHEMAS:
            return [self.path / "dataset" / f"{name}.parquet"]
        if name in WEIGHTS_SCHEMAS:
            return [self.path / "weights" / f"{name}.parquet"]
        if name not in SHARD_SCHEMAS:
            raise ValueError(f"a run folder has no table {name!r}")
        shards = sorted(self.manifest["shards"], key=lambda shard: shard["start"])
        return [shard_folder(self.path, s["index"]) / f"{name}.parquet" for s in shards]

    @cached_property
    def image_ids(self) -> npt.NDArray[np.int64]:
        """The images that were read, ascending."""
        return np.sort(self.table("captions", ["image_id"])["image_id"].to_numpy())

    @cached_property
    def targets(self) -> pa.Table:
        """The first target of each image that has one, by image_id."""
        targets = self.table("targets")
        return targets.filter(pc.equal(targets["target"], 0)).sort_by("image_id")

    @cached_property
    def top_units(self) -> pa.Table:
        """The top 100 distinct units of each image's first target: image_id, rank, uid, ..."""
        columns = ["image_id", "target", "rank", "uid", "patch", "attribution", "z", "a"]
        rows = self.table("image_units", [*columns, "gradient"])
        rows = rows.filter(pc.equal(rows["target"], 0))
        return rows.sort_by([("image_id", "ascending"), ("rank", "ascending")])

    @cached_property
    def n_images_of_unit(self) -> npt.NDArray[np.int64]:
        """By uid: the images in whose top 100 a unit is."""
        return np.bincount(self.top_units["uid"].to_numpy(), minlength=self.n_units)

    @cached_property
    def image_frequency(self) -> npt.NDArray[np.float64]:
        """By uid: the share of the images in whose top 100 a unit is."""
        return self.n_images_of_unit / max(1, len(self.image_ids))

    @cached_property
    def is_always_on(self) -> npt.NDArray[np.bool_]:
        """By uid: whether a unit is in the top 100 of images of all kinds; as the atlas says it."""
        usual = self.image_frequency.mean()
        is_frequent = self.image_frequency > ALWAYS_ON_MIN_FREQUENCY
        return is_frequent & (self.image_frequency > ALWAYS_ON_MIN_RATIO * usual)

    @cached_property
    def is_interpretable(self) -> npt.NDArray[np.bool_]:
        """By uid: whether 7 of a unit's 10 promoted tokens are words of the dictionaries."""
        rows, tokens = promoted_texts(self)
        words = [token_id for token_id, token in tokens.items() if dictionary.is_word(token)]
        is_word = pc.is_in(rows["token_id"], pa.array(words, pa.int32())).to_numpy()
        counts = np.bincount(rows["uid"].to_numpy()[is_word], minlength=self.n_units)
        return counts >= dictionary.MIN_WORDS


def promoted_texts(run: FinishedRun) -> tuple[pa.Table, dict[int, str]]:
    """Give the units' promoted tokens as rows of uid and token_id, and those tokens' texts.

    A unit's rows are together, the most probable token first.
    """
    rows = run.table("unit_tokens", ["uid", "sign", "token_id"])
    rows = rows.filter(pc.equal(rows["sign"], 1)).select(["uid", "token_id"])
    vocabulary = run.table("vocabulary", ["token_id", "token"])
    used = vocabulary.filter(pc.is_in(vocabulary["token_id"], pc.unique(rows["token_id"])))
    return rows, dict(zip(*(column.to_pylist() for column in used.columns), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What the experiments' results rest on beside the run.

    Attributes:
        n_images: Images of the sample; fewer where fewer have a target.
        seed: Of the sample, of random units, of resampling.
    """

    n_images: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise ValueError(f"n_images must be >= 1, got {self.n_images}")


@dataclass(frozen=True, slots=True)
class PatchBatch:
    """A batch of pictures as the language model reads them."""

    image_ids: npt.NDArray[np.int64]
    patches: Tensor  # (batch, n_patch, d_model), on the captioner's device


class Chunks:
    """Parts of an unfinished experiment, each kept as a table as soon as it is made.

    Args:
        folder: Where they lie; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, name: str, make: Callable[[], pa.Table]) -> pa.Table:
        """Give the table `name`, which an earlier run of this experiment or `make` has made."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            table = make()
            write_table(path, table, table.schema)
        return pq.read_table(path)


@dataclass(frozen=True, kw_only=True)
class ExperimentContext:
    """What every experiment gets.

    Attributes:
        captioner, model: Loaded, on one device; the same as the run's by their hashes.
        dataset: Its tables are those of the run; its folder has the photographs.
        run: The finished run.
        settings: Sample size and seed.
        batch_size, n_workers: Images in one pass, processes that read images.
        progress: Told of (stage, done, total).
        chunks: Keeps parts of what takes long.
        score_models: Folder of models for BERTScore and CLIPScore; None: none at hand.
        texts: Text files to read beside the human captions.
        words: A word list, category to words; None: the data set's own, else categories' names.
    """

    captioner: Captioner
    model: LanguageModel
    dataset: CocoDataset
    run: FinishedRun
    settings: ReportSettings = field(default_factory=ReportSettings)
    batch_size: int = 8
    n_workers: int = 1
    progress: Progress = no_progress
    chunks: Chunks = field(default_factory=lambda: Chunks(None))
    score_models: Path | None = None
    texts: tuple[Path, ...] = ()
    words: Path | None = None

    @property
    def device(self) -> Any:
        """The captioner's device."""
        return self.captioner.device

    def random(self, *keys: int) -> np.random.Generator:
        """Give a generator that rests on the seed and `keys` alone (an image id, a draw)."""
        return np.random.default_rng([self.settings.seed, *keys])

    @cached_property
    def sample(self) -> npt.NDArray[np.int64]:
        """The images that the experiments look at: those with a target, drawn once, ascending."""
        with_target = self.run.targets["image_id"].to_numpy()
        n = min(self.settings.n_images, len(with_target))
        return np.sort(self.random().choice(with_target, n, replace=False))

    def batches(self, image_ids: Sequence[int] | npt.NDArray[np.int64]) -> Iterator[PatchBatch]:
        """Read and encode images, in the order of their ids, in batches.

        Raises:
            RunError: A photograph that the build read cannot be read now.
        """
        images = self.dataset.images
        wanted = pa.array(np.asarray(image_ids, dtype=np.int64))
        rows = images.filter(pc.is_in(images["image_id"], wanted))
        batches = prefetch(
            iterate_batches(
                rows,
                self.dataset.folder,
                self.captioner.config,
                batch_size=self.batch_size,
                n_workers=self.n_workers,
                images="link",
            ),
            self.captioner.device,
        )
        with closing(batches):  # type: ignore[type-var]
            for batch in batches:
                for image in batch.skipped:
                    raise RunError(
                        f"{self.dataset.folder / image.file} could be read when the run was built "
                        f"and cannot be read now: {image.reason}. Correct --coco, or fetch the "
                        "photograph again."
                    )
                ids = np.array(batch.image_ids, dtype=np.int64)
                yield PatchBatch(ids, self.captioner.encode(batch.pixels))
