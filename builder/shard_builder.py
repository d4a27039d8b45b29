"""Detection over a run's shards: one stream of images for all, whole shards out.

The readers and the device never wait at a shard's end: one loader runs over all shards that are
missing, and a shard is written while the next is computed. When memory runs out the batch is
halved and the shard under way begun again, from the last whole one; what a failed pass had taken
in is gone with it, so nothing is counted twice.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from atlas_db.errors import CaptionerError
from atlas_db.run_format import N_EXEMPLARS
from builder.batch_size import measured_batch_size
from builder.captioner import Captioner
from builder.coco import CocoDataset
from builder.detection import Detector
from builder.device_memory import full_memory
from builder.devices import is_out_of_memory
from builder.images import iterate_batches
from builder.language_model import LanguageModel
from builder.prefetch import prefetch
from builder.run_folder import read_shard, write_shard
from builder.settings import BuildSettings, Execution, Progress
from builder.tables import ShardTables
from builder.targets import NOUN_RULES

_log = logging.getLogger(__name__)

#: By index: what `builder.run_folder.read_shard` gives.
Shards = dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Shard:
    """The images [start, stop) of a data set."""

    index: int
    start: int
    stop: int

    @property
    def bounds(self) -> tuple[int, int]:
        """Start and stop."""
        return self.start, self.stop

    @property
    def n_images(self) -> int:
        """Images in it, readable or not."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What detection found in a shard, and the images that it skipped."""

    shard: Shard
    tables: Mapping[str, pa.Table]
    skipped: list[dict[str, Any]]


def ranges_of(manifest: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Cut a run's images into the ranges of its shards."""
    return shard_ranges(manifest["dataset"]["n_images"], manifest["settings"]["images_per_shard"])


def shard_ranges(n_images: int, images_per_shard: int) -> list[tuple[int, int]]:
    """Cut images [0, n) into ranges of `images_per_shard`."""
    starts = range(0, n_images, images_per_shard)
    return [(start, min(start + images_per_shard, n_images)) for start in starts]


class ShardBuilder:
    """Runs a data set through detection, shard by shard."""

    def __init__(
        self,
        captioner: Captioner,
        model: LanguageModel,
        settings: BuildSettings,
        execution: Execution,
    ) -> None:
        self.captioner = captioner
        self.model = model
        self.settings = settings
        self.execution = execution
        self.batch_size = execution.batch_size
        self.detector = Detector(
            model,
            captioner.tokenizer,
            prompt_ids=captioner.prompt_ids,
            prefix_ids=captioner.prefix_ids,
            max_new_tokens=captioner.config.max_new_tokens,
            n_targets=settings.n_targets,
            noun_rule=NOUN_RULES[settings.noun_rule],
            rules=captioner.rules,
        )

    def write_missing(
        self,
        run: Path,
        dataset: CocoDataset,
        ranges: Sequence[tuple[int, int]],
        progress: Progress,
    ) -> Shards:
        """Write every shard of its part that is not there whole; give the part's descriptions."""
        part, n_parts = self.execution.part
        shards = [Shard(i, *bounds) for i, bounds in enumerate(ranges)][part - 1 :: n_parts]
        total = sum(shard.n_images for shard in shards)
        found = {shard.index: read_shard(run, shard.index, shard.bounds) for shard in shards}
        whole = {index: shard for index, shard in found.items() if shard is not None}
        missing = [shard for shard in shards if shard.index not in whole]
        before = total - sum(shard.n_images for shard in missing)
        progress("detect", before, total)

        def collect(written: Future[dict[str, Any]]) -> None:
            shard = written.result()
            whole[shard["index"]] = shard

        with ThreadPoolExecutor(1, thread_name_prefix="write shard") as writer:
            pending: Future[dict[str, Any]] | None = None
            done = self.detect(dataset, missing, lambda n: progress("detect", before + n, total))
            for result in done:
                if pending is not None:
                    collect(pending)
                shard = result.shard
                arguments = (run, shard.index, shard.bounds, result.tables, result.skipped)
                pending = writer.submit(write_shard, *arguments)
            if pending is not None:
                collect(pending)
        return whole

    def detect(
        self, dataset: CocoDataset, shards: Sequence[Shard], progress: Callable[[int], None]
    ) -> Iterator[ShardResult]:
        """Run shards, ascending, through detection; halve the batch when memory runs out.

        Args:
            dataset: Only its folder and its images are used.
            shards: Which of the images.
            progress: Told of how many of their images are done.

        Raises:
            CaptionerError: The memory does not hold one image.
        """
        remaining = list(shards)
        n_done = 0

        def reached(n: int) -> None:
            progress(n_done + n)

        while remaining:
            try:
                for result in self._detect_once(dataset, remaining, reached):
                    remaining = remaining[1:]
                    yield result
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    what = "the pass over one image"
                    raise CaptionerError(full_memory(self.captioner, what)) from error
            else:
                return
            self._halve_batch()
            n_done = sum(shard.n_images for shard in shards) - sum(s.n_images for s in remaining)

    def _detect_once(
        self, dataset: CocoDataset, shards: Sequence[Shard], progress: Callable[[int], None]
    ) -> Iterator[ShardResult]:
        """Run shards through detection with one loader for all."""
        if self.batch_size is None:
            self.batch_size = measured_batch_size(self._probe, self.captioner.device)
        images = dataset.tables["images"]
        ends = list(accumulate(shard.n_images for shard in shards))
        batches = prefetch(
            iterate_batches(
                pa.concat_tables([images.slice(s.start, s.n_images) for s in shards]),
                dataset.folder,
                self.captioner.config,
                batch_size=self.batch_size,
                n_workers=self.execution.n_workers,
                images=self.settings.images,
                boundaries=ends,
            ),
            self.captioner.device,
        )
        n_seen = 0
        with closing(batches):  # type: ignore[type-var]
            for shard, end in zip(shards, ends, strict=True):
                collected = self._new_tables()
                skipped: list[dict[str, Any]] = []
                while n_seen < end:
                    batch = next(batches)
                    skipped += [asdict(image) for image in batch.skipped]
                    if batch.image_ids:
                        self._run_batch(batch.image_ids, batch.pixels, batch.thumbnails, collected)
                    n_seen += len(batch.image_ids) + len(batch.skipped)
                    progress(n_seen)
                tables = collected.tables()
                del collected  # else the next shard's would stand beside it on the device
                yield ShardResult(shard, tables, skipped)

    def _new_tables(self) -> ShardTables:
        return ShardTables(
            self.model.n_layers,
            self.model.d_mlp,
            self.captioner.config.n_patch,
            k=N_EXEMPLARS,
            n_negative=self.model.architecture.n_negative_exemplars,
            device=self.captioner.device,
        )

    def _run_batch(
        self,
        image_ids: Sequence[int],
        pixels: Tensor,
        thumbnails: Sequence[bytes],
        collected: ShardTables,
    ) -> None:
        ids = torch.tensor(image_ids, device=self.captioner.device)

        def sink(layer: int, activations: Tensor) -> None:
            collected.see_activations(layer, activations, ids)

        found = self.detector(self.captioner.encode(pixels), sink)
        collected.add(image_ids, thumbnails, found)

    def _probe(self, n: int) -> None:
        """Pass once over `n` images of noise, and forget them."""
        side = self.captioner.config.image_px
        pixels = torch.rand(n, 3, side, side, device=self.captioner.device)
        self._run_batch(range(n), pixels, [b""] * n, self._new_tables())

    def _halve_batch(self) -> None:
        assert self.batch_size is not None
        self.batch_size = self.batch_size // 2
        _log.warning(
            "Memory ran out: the shard under way begins again, in batches of %d.", self.batch_size
        )
        gc.collect()
        if self.captioner.device.type == "cuda":
            torch.cuda.empty_cache()
