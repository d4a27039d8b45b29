"""Shards as tasks of Ray: any number of GPUs and hosts, begun again where a worker dies.

::

    job = ray_job("gptj-beit", "cuda", "bfloat16", BuildSettings(), Execution(n_workers=8))
    build_with_ray(job, load_coco(Path("coco"), "train2017"), Path("run"), address="auto")

A worker loads the captioner once and gives back the tables of one shard after another; the process
that calls writes them. So the run folder has one writer and needs no shared disk; the captioner's
files and the photographs have to lie at the same paths on every host. The result is that of
`builder.build.build_run`: content hash and all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from atlas_db.errors import AtlasError, RunError
from builder.build import has_weights, weights_tables, write_dataset, write_weights
from builder.captioner import load_captioner
from builder.coco import CocoDataset
from builder.full_disk import explain_full_disk
from builder.language_model import LanguageModel
from builder.manifest import new_manifest
from builder.run_folder import (
    FULL_DISK_ADVICE,
    finish_manifest,
    open_manifest,
    read_shard,
    write_shard,
)
from builder.run_lock import lock_run
from builder.settings import BuildSettings, Execution, Progress, no_progress
from builder.shard_builder import Shard, ShardBuilder, ShardResult, Shards, ranges_of

#: How often a task is begun again after its worker died.
MAX_RETRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RayJob:
    """What a worker has to know; hashable, and the same for all tasks of a run.

    Attributes:
        captioner: Folder (absolute) or preset.
        device, dtype: As for `load_captioner`.
        n_gpus, n_cpus: What one task takes of the cluster.
    """

    captioner: str
    device: str
    dtype: str | None
    settings: BuildSettings
    execution: Execution
    n_gpus: float = 0
    n_cpus: float = 1


def ray_job(
    captioner: str, device: str, dtype: str | None, settings: BuildSettings, execution: Execution
) -> RayJob:
    """Make a job whose tasks take a GPU each, where they run on CUDA, and a CPU a process.

    Which GPU, Ray says: a task sees no other, and sees it as the first, so a number is dropped.
    """
    folder = Path(captioner).expanduser()
    device = "cuda" if device.startswith("cuda") else device
    return RayJob(
        captioner=str(folder.resolve()) if folder.is_dir() else captioner,
        device=device,
        dtype=dtype,
        settings=settings,
        execution=execution,
        n_gpus=int(device.startswith("cuda")),
        n_cpus=1 + execution.n_workers,
    )


def build_with_ray(
    job: RayJob,
    dataset: CocoDataset,
    run: Path,
    *,
    address: str | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Write a run folder, or go on with one that was stopped, on a Ray cluster.

    Args:
        job: What is built.
        dataset: Its folder has to be there on every host.
        run: Written by this process alone.
        address: Of a cluster, "auto" for the one that this host belongs to; None starts one on
            this host. Unused where the caller has joined one already (`ray.init`).
        progress: Told of progress.

    Raises:
        RunError: Ray is missing, no cluster answers, or what `build_run` raises.
        CaptionerError: A worker cannot load the captioner.
    """
    ray = _connect(address)
    dataset = replace(dataset, folder=dataset.folder.resolve())
    options = {"num_gpus": job.n_gpus, "num_cpus": job.n_cpus, "max_retries": MAX_RETRIES}
    with lock_run(run), explain_full_disk(run, FULL_DISK_ADVICE), _errors_of_tasks(ray):
        summary = replace(dataset, tables={"images": dataset.tables["images"]})
        wanted = ray.get(ray.remote(**options)(_manifest).remote(job, summary))
        ranges = ranges_of(wanted)
        open_manifest(run, wanted)
        write_dataset(run, dataset)
        if not has_weights(run):
            progress("decode units", 0, 1)
            write_weights(run, ray.get(ray.remote(**options)(_weights).remote(job)))
            progress("decode units", 1, 1)
        shards = _write_missing(ray, options, job, dataset, run, ranges, progress)
        finish_manifest(run, ranges, shards)
    return run


def _connect(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise RunError(
            "Ray is not installed. Install it with `pip install 'neuron-atlas[ray]'`, or share the "
            "shards out with `neuron-atlas build --shard i/n`."
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RunError(
                f"no Ray cluster answers at {address!r}: {error}. Start one with `ray start "
                "--head` and join it on every host with `ray start --address HEAD:6379`."
            ) from error
    return ray


class _errors_of_tasks:  # noqa: N801
    """Turn an error of the project that a task raised into itself, without Ray's traceback."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, self.ray.exceptions.WorkerCrashedError):
            raise RunError(
                f"a worker died {MAX_RETRIES + 1} times over the same shard, as the system does to "
                "processes that take too much memory. What is done is kept. Lower --batch-size "
                "and --workers, and give the same command again."
            ) from error
        if isinstance(error, self.ray.exceptions.RayTaskError) and isinstance(
            error.cause, AtlasError
        ):
            raise error.cause from None


def _write_missing(
    ray: Any,
    options: dict[str, Any],
    job: RayJob,
    dataset: CocoDataset,
    run: Path,
    ranges: Sequence[tuple[int, int]],
    progress: Progress,
) -> Shards:
    """Have every missing shard made, and write them as they come in."""
    found = {i: read_shard(run, i, bounds) for i, bounds in enumerate(ranges)}
    whole = {i: shard for i, shard in found.items() if shard is not None}
    total = ranges[-1][1]
    n_done = sum(ranges[i][1] - ranges[i][0] for i in whole)
    progress("detect", n_done, total)
    task = ray.remote(**options)(_detect)
    waiting = deque(Shard(i, *bounds) for i, bounds in enumerate(ranges) if found[i] is None)
    for result in _run_tasks(ray, job, task, dataset, waiting, _n_slots(ray, job)):
        bounds = ranges[result.shard.index]
        whole[result.shard.index] = write_shard(
            run, result.shard.index, bounds, result.tables, result.skipped
        )
        n_done += bounds[1] - bounds[0]
        progress("detect", n_done, total)
    return whole


def _run_tasks(
    ray: Any, job: RayJob, task: Any, dataset: CocoDataset, waiting: deque[Shard], n_slots: int
) -> Iterator[ShardResult]:
    """Keep two tasks a worker under way, so that few results wait to be written."""
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < 2 * n_slots:
            shard = waiting.popleft()
            rows = dataset.tables["images"].slice(shard.start, shard.n_images)
            part = replace(dataset, tables={"images": _copied(rows)})
            running.append(task.remote(job, part, shard))
        (done, *_), running = ray.wait(running, num_returns=1)
        yield ray.get(done)


def _copied(rows: pa.Table) -> pa.Table:
    """Copy a slice, so that no more than it is sent."""
    return rows.take(list(range(rows.num_rows)))


def _n_slots(ray: Any, job: RayJob) -> int:
    """Say how many tasks run at once; a cluster may grow later."""
    has = ray.cluster_resources()
    gpus = has.get("GPU", 0) / job.n_gpus if job.n_gpus else float("inf")
    return max(1, int(min(gpus, has.get("CPU", 1) / job.n_cpus)))


@lru_cache(maxsize=1)
def _builder(job: RayJob) -> ShardBuilder:
    """Load the captioner, once in a worker's life."""
    captioner = load_captioner(job.captioner, device=job.device, dtype=job.dtype)
    return ShardBuilder(captioner, LanguageModel(captioner.model), job.settings, job.execution)


def _manifest(job: RayJob, dataset: CocoDataset) -> dict[str, Any]:
    builder = _builder(job)
    return new_manifest(builder.captioner, builder.model, dataset, job.settings, job.execution)


def _weights(job: RayJob) -> dict[str, pa.Table]:
    builder = _builder(job)
    return weights_tables(builder.captioner, builder.model, job.settings, no_progress)


def _detect(job: RayJob, dataset: CocoDataset, shard: Shard) -> ShardResult:
    """Run one shard, whose images alone are in `dataset`, through detection."""
    own = replace(shard, start=0, stop=shard.n_images)
    (result,) = _builder(job).detect(dataset, [own], lambda n: None)
    return result
