"""Peak memory of the host and the device at 1, 2 and 4 times the images; and of one's graph.

    python -m benchmarks.memory

Each pass is a process of its own, since a process's greatest use never falls again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.detect_gptj import peak_gb, reset_peak
from benchmarks.random_models import SIZES, begin_run, random_captioner, synthetic_dataset
from benchmarks.report import complete, parser, report
from builder.attribution import Recorder
from builder.captioner import Captioner
from builder.detection import Detector
from builder.fused import fused_kernels
from builder.language_model import LanguageModel
from builder.settings import BuildSettings, Execution, no_progress
from builder.shard_builder import ShardBuilder, shard_ranges

N_IMAGES = {"full": 1000, "small": 24, "tiny": 4}


def main() -> None:
    """Measure, print, write."""
    made = parser(__doc__ or "", SIZES)
    made.add_argument("--batch-size", type=int, help="default: measured on CUDA, else 8")
    made.add_argument("--images", type=int, help="photographs at 1 times")
    made.add_argument("--times", type=int, nargs="+", default=[1, 2, 4], help="default: 1 2 4")
    arguments = complete(made.parse_args())
    base = arguments.images or N_IMAGES[arguments.size]
    results: dict[str, Any] = {}
    context = multiprocessing.get_context("spawn")
    hosts = []
    for times in arguments.times:
        with context.Pool(1) as pool:
            host, device = pool.apply(peaks, (arguments, base, times))
        hosts.append(host)
        results[f"host at {times} x {base} images, GB"] = host
        results[f"device at {times} x {base} images, GB"] = device
    first, last = arguments.times[0], arguments.times[-1]
    results[f"host at {last} times the images / at {first}"] = hosts[-1] / hosts[0]
    size = SIZES[arguments.size]
    captioner = random_captioner(size, arguments.device, getattr(torch, arguments.dtype))
    results["graph, MB an image"] = graph_bytes(captioner, 2) / 2 / 1e6
    results["of it z, MB an image"] = 1e-6 * (
        size.n_layers * size.d_mlp * 199 * captioner.dtype.itemsize
    )
    report("memory", arguments, results)


def peaks(arguments: argparse.Namespace, n_images: int, times: int) -> tuple[float, Any]:
    """Pass over the images; give the process's and the device's greatest use, in GB."""
    torch.set_num_threads(1)
    size = SIZES[arguments.size]
    captioner = random_captioner(size, arguments.device, getattr(torch, arguments.dtype))
    settings = BuildSettings(images_per_shard=n_images // 2)
    execution = Execution(batch_size=arguments.batch_size, n_workers=0)
    builder = ShardBuilder(captioner, LanguageModel(captioner.model), settings, execution)
    reset_peak(captioner.device)
    with tempfile.TemporaryDirectory() as folder:
        dataset = synthetic_dataset(Path(folder), times * n_images)
        ranges = shard_ranges(times * n_images, n_images // 2)
        builder.write_missing(
            begin_run(Path(folder), builder, dataset), dataset, ranges, no_progress
        )
    host_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return host_gb, peak_gb(captioner.device)


def graph_bytes(captioner: Captioner, batch: int) -> int:
    """Count what autograd keeps of a prefill of `batch` images, weights left out."""
    model = LanguageModel(captioner.model)
    detector = Detector(model, captioner.tokenizer, prompt_ids=captioner.prompt_ids)
    patches = torch.randn(
        batch, captioner.config.n_patch, model.d_model, device=captioner.device
    ).to(captioner.dtype)
    weights = {p.untyped_storage().data_ptr() for p in captioner.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    recorder = Recorder(model, batch, slice(0, patches.shape[1]), None)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with fused_kernels(captioner.model), hooks:
        alive = detector.prefill(patches, recorder)
    assert alive is not None
    return sum(kept.values())


if __name__ == "__main__":
    main()
