"""The whole pass, photographs to shards, at GPT-J's full size; against the plain way.

    python -m benchmarks.detect_gptj                  # on a GPU: full size, bfloat16
    python -m benchmarks.detect_gptj --size small     # on a CPU
    python -m benchmarks.detect_gptj --size deep --batch-size 128

The work counted for an image is one forward and one backward pass of the blocks' matrices over
patches, prompt and caption. The share is that work against what one large product reaches in the
same run. Each stage is set beside its floor (`benchmarks.floors`), with that ceiling and the
bandwidth of a copy.

Both ways read their photographs and squash them: this one in processes of its own where there are
any, the plain one in line. On a CPU seconds are the processor's, readers included: on a machine
that does other things, those of the clock say what these were.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import builder.detection
from atlas_db.run_format import N_EXEMPLARS
from benchmarks.floors import N_PROMPT, STAGES, image_floors
from benchmarks.plain_way import PlainWay
from benchmarks.random_models import (
    SIZES,
    ModelSize,
    begin_run,
    random_captioner,
    synthetic_dataset,
)
from benchmarks.report import complete, parser, report
from builder.batch_size import measured_batch_size
from builder.captioner import Captioner
from builder.coco import CocoDataset
from builder.language_model import LanguageModel
from builder.settings import BuildSettings, Execution, no_progress
from builder.shard_builder import ShardBuilder, shard_ranges
from builder.tables import ShardTables

#: `deep` has GPT-J's layers and captions, but is so narrow that what a pass costs whatever it
#: holds weighs as much on a CPU as on a GPU: there batches tell. Its pictures are of 7 x 7 patches,
#: since attention over n positions takes n / 6d of what the matrices of width d take: 1 % in GPT-J,
#: 27 % here, 104 % with 14 x 14 patches.
SIZES = {**SIZES, "deep": ModelSize(28, 32, 1, 8, 512, 2, 96, 3, 30, grid=7)}
N_IMAGES = {"full": 2000, "small": 48, "deep": 256, "tiny": 6}
N_PLAIN = {"full": 10, "small": 8, "deep": 24, "tiny": 2}
IMAGES_PER_SHARD = {"full": 1000, "small": 48, "deep": 256, "tiny": 3}


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__ or "", SIZES)
    made.add_argument("--images", type=int, help="photographs of the timed pass")
    made.add_argument("--batch-size", type=int, help="default: measured on CUDA, else 8")
    made.add_argument("--workers", type=int, default=0, help="processes that read photographs")
    arguments = complete(made.parse_args())
    size = SIZES[arguments.size]
    captioner = random_captioner(size, arguments.device, getattr(torch, arguments.dtype))
    results = measure(captioner, size, arguments)
    report("detect_gptj", arguments, results)


def measure(captioner: Captioner, size: ModelSize, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the pass, its stages, the ceiling and the plain way."""
    n_images = arguments.images or N_IMAGES[arguments.size]
    settings = BuildSettings(images_per_shard=IMAGES_PER_SHARD[arguments.size])
    execution = Execution(batch_size=arguments.batch_size, n_workers=arguments.workers)
    model = LanguageModel(captioner.model)
    shards = ShardBuilder(captioner, model, settings, execution)
    shards.batch_size = shards.batch_size or measured_batch_size(shards._probe, captioner.device)
    shards._probe(min(shards.batch_size, n_images))  # kernels are chosen on the first pass
    reset_peak(captioner.device)
    with tempfile.TemporaryDirectory() as folder:
        dataset = synthetic_dataset(Path(folder), n_images)
        run = begin_run(Path(folder), shards, dataset)
        ranges = shard_ranges(n_images, IMAGES_PER_SHARD[arguments.size])
        with stopwatch(captioner.device) as whole:
            shards.write_missing(run, dataset, ranges, no_progress)
        peak = peak_gb(captioner.device)
        plain_s = time_plain_way(captioner, dataset, N_PLAIN[arguments.size])
    images_per_s = n_images / whole.spent
    work = 4 * size.n_block_weights * (size.n_patches + N_PROMPT + size.max_new_tokens)
    ceiling = matmul_ceiling(captioner, shards.batch_size)
    bandwidth = copy_bandwidth(captioner.device)
    floors = {
        name: 1e3 * floor.seconds(ceiling, bandwidth)
        for name, floor in image_floors(size, shards.batch_size, captioner.dtype.itemsize).items()
    }
    stages = time_stages(captioner, shards.batch_size)
    return {
        "images": n_images,
        "batch size": shards.batch_size,
        "images/s": images_per_s,
        "plain way, images/s": 1 / plain_s,
        "times the plain way": images_per_s * plain_s,
        "work, TFLOP an image": work / 1e12,
        "ceiling, TFLOP/s": ceiling / 1e12,
        "bandwidth, GB/s": bandwidth / 1e9,
        "floor, ms an image": 1e3 * work / ceiling,
        "share of the ceiling": work * images_per_s / ceiling,
        "peak device memory, GB": peak,
        **{f"{name}, ms an image": stages[name] for name in floors},
        **{f"{name}, floor in ms": floors[name] for name in floors},
    }


class Watch:
    """Seconds, once the context is closed: on a CPU the processor's, else those of the clock."""

    spent = 0.0


@contextmanager
def stopwatch(device: torch.device) -> Iterator[Watch]:
    """Time what is done in the context, on the device too."""
    watch = Watch()
    clock = processor_seconds if device.type == "cpu" else time.perf_counter
    wait(device)
    began = clock()
    yield watch
    wait(device)
    watch.spent = clock() - began


def processor_seconds() -> float:
    """Give what this process and those of its children that have ended have spent."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def wait(device: torch.device) -> None:
    """Let the device catch up."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Forget the greatest use of memory so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gb(device: torch.device) -> float | str:
    """Give the greatest use of the device's memory, in 1e9 bytes."""
    if device.type != "cuda":
        return "not measured on a CPU"
    return torch.cuda.max_memory_allocated(device) / 1e9


def matmul_ceiling(captioner: Captioner, batch_size: int) -> float:
    """Time the MLP's product over a batch's positions: operations a second, best of five."""
    d_model = captioner.d_model
    x = torch.randn(batch_size * 199, d_model, device=captioner.device, dtype=captioner.dtype)
    weight = torch.randn(d_model, 4 * d_model, device=captioner.device, dtype=captioner.dtype)
    seconds = []
    for _ in range(5):
        with stopwatch(captioner.device) as watch:
            for _ in range(10):
                x @ weight
        seconds.append(watch.spent / 10)
    return 2 * x.numel() * 4 * d_model / min(seconds)


def copy_bandwidth(device: torch.device) -> float:
    """Time a copy too large for any cache: bytes read and written a second, best of five."""
    n_bytes = 2**30 if device.type == "cuda" else 2**27
    source = torch.zeros(n_bytes, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    seconds = []
    for _ in range(5):
        with stopwatch(device) as watch:
            target.copy_(source)
        seconds.append(watch.spent)
    return 2 * n_bytes / min(seconds)


def time_plain_way(captioner: Captioner, dataset: CocoDataset, n: int) -> float:
    """Give the seconds an image of the plain way, without the first, which warms it up."""
    plain = PlainWay(captioner)
    files = dataset.tables["images"]["file"].to_pylist()
    plain(0, dataset.folder / files[0])
    with stopwatch(captioner.device) as watch:
        for i in range(1, n + 1):
            plain(i, dataset.folder / files[i % len(files)])
    return watch.spent / n


def time_stages(captioner: Captioner, batch_size: int) -> dict[str, float]:
    """Give each stage's milliseconds an image, of one batch that lies on the device."""
    model = LanguageModel(captioner.model)
    settings, execution = BuildSettings(), Execution(batch_size=batch_size)
    detector = ShardBuilder(captioner, model, settings, execution).detector
    side = captioner.config.image_px
    pixels = torch.rand(batch_size, 3, side, side, device=captioner.device)
    n_patch = captioner.config.n_patch
    tables = ShardTables(
        model.n_layers, model.d_mlp, n_patch, k=N_EXEMPLARS, device=captioner.device
    )
    ids = torch.arange(batch_size, device=captioner.device)

    def ms(run: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(4):  # the first is warming up, the best is kept
            with stopwatch(captioner.device) as watch:
                run()
            seconds.append(watch.spent)
        return 1e3 * min(seconds) / batch_size

    patches = captioner.encode(pixels)
    with generation_timed(captioner.device) as generations:
        without = ms(lambda: detector(patches))
        generating = 1e3 * min(generations) / batch_size
    with_sink = ms(lambda: detector(patches, lambda i, a: tables.see_activations(i, a, ids + 0)))
    encoding = ms(lambda: captioner.encode(pixels))
    times = encoding, generating, without - generating, with_sink - without
    return dict(zip(STAGES, times, strict=True))


@contextmanager
def generation_timed(device: torch.device) -> Iterator[list[float]]:
    """Collect the seconds of every greedy generation while the context is open."""
    seconds: list[float] = []
    real = builder.detection.generate_greedily

    def timed(*arguments: Any, **options: Any) -> Any:
        with stopwatch(device) as watch:
            tokens = real(*arguments, **options)
        seconds.append(watch.spent)
        return tokens

    builder.detection.generate_greedily = timed
    try:
        yield seconds
    finally:
        builder.detection.generate_greedily = real


if __name__ == "__main__":
    main()
