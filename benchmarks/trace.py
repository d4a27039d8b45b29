"""What a build asks of a GPU at GPT-J's full size: a batch and the decoding, without data.

    python -m benchmarks.trace                                    # a batch of 56, an H100
    python -m benchmarks.trace --batch-size 104 --tflops 790 --gb-per-s 4000

Needs no GPU and no memory to speak of. The code of a build runs over tensors that have shapes and
no values: a batch from pixels to the last top 100, and the decoding of all units. Each kernel is
counted with its operations and the bytes that it reads and writes, and each tensor from its making
to its end (`benchmarks.kernel_account`). A stage takes what its kernels would at the given speeds,
one after another, or what it takes to start them if that is more; beside it stands its floor
(`benchmarks.floors`). All of it is counted, not measured.

Captions have the greatest length. As many exemplars are new as in the mean batch of a shard.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import builder.decoding
import builder.detection
from atlas_db.run_format import N_EXEMPLARS
from benchmarks.floors import STAGES, Work, image_floors
from benchmarks.kernel_account import KernelAccount
from benchmarks.random_models import SIZES, ModelSize, random_captioner
from benchmarks.report import report
from builder.captioner import Captioner
from builder.detection import Detector
from builder.language_model import LanguageModel
from builder.tables import ShardTables
from builder.targets import Target

_IMAGES_PER_SHARD = 2500
_N_LARGEST = 6


def main() -> None:
    """Count, print, write."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--size", choices=tuple(SIZES), default="full")
    made.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    made.add_argument("--batch-size", type=int, default=56)
    made.add_argument("--target-position", type=int, default=5, help="in the caption, from 0")
    made.add_argument("--tflops", type=float, default=700, help="of a large product")
    made.add_argument("--gb-per-s", type=float, default=3000, help="of the device's memory")
    made.add_argument("--start-us", type=float, default=15, help="to start a kernel from Python")
    made.add_argument("--kernels", type=int, default=0, help="show the costliest; default: none")
    made.add_argument("--output", type=Path, help="JSON file; default: benchmarks/results/")
    arguments = made.parse_args()
    arguments.device = "cpu"
    size, dtype = SIZES[arguments.size], getattr(torch, arguments.dtype)
    batch = trace_batch(size, dtype, arguments.batch_size, arguments.target_position)
    decoding = trace_decoding(size, dtype)
    show_kernels(batch, arguments)
    found = batch_figures(batch, size, arguments) | decoding_figures(decoding, arguments)
    report("trace", arguments, found)


def trace_batch(
    size: ModelSize, dtype: torch.dtype, batch_size: int, target_position: int = 0
) -> KernelAccount:
    """Run one batch over tensors without data, in the parts that a GPU would be given."""
    k = N_EXEMPLARS
    # An image is among a unit's best k of the i so far with probability k / i.
    n_new = k * (1 + math.log(_IMAGES_PER_SHARD / k))
    n_batches = math.ceil(_IMAGES_PER_SHARD / batch_size)
    account = KernelAccount(share_found=min(1.0, n_new / (n_batches * k)))
    with torch.device("meta"), _FusedAttention(), account, account.stage("before"):
        captioner = random_captioner(size, "meta", dtype)
        _run_batch(captioner, batch_size, target_position, account)
    return account


class _FusedAttention(TorchFunctionMode):
    """Lets tensors without data attend by one kernel, which PyTorch grants to devices alone."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.nn.functional.scaled_dot_product_attention:
            kwargs.pop("enable_gqa", None)
            attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            return attend(*args, **kwargs)[0]
        return func(*args, **kwargs)


class _TargetsGiven(Detector):
    """Reads no captions, for there is nothing to be read."""

    target_position = 0

    def _read(self, tokens: Tensor) -> tuple[list[str], list[list[Target]]]:
        target = Target(word="", char_start=0, position=self.target_position)
        return [""] * len(tokens), [[target]] * len(tokens)


def _run_batch(
    captioner: Captioner, batch_size: int, target_position: int, account: KernelAccount
) -> None:
    """Do what a build does with one batch."""
    encode, generate, passes, exemplars = STAGES
    config, model = captioner.config, LanguageModel(captioner.model)
    detector = _TargetsGiven(
        model,
        captioner.tokenizer,
        prompt_ids=captioner.prompt_ids,
        max_new_tokens=config.max_new_tokens,
    )
    detector.target_position = min(target_position, config.max_new_tokens - 1)
    tables = ShardTables(
        model.n_layers, model.d_mlp, config.n_patch, k=N_EXEMPLARS, device=captioner.device
    )
    ids = torch.arange(batch_size)
    pixels = torch.empty(batch_size, 3, config.image_px, config.image_px)

    def sink(layer: int, activations: Tensor) -> None:
        with account.stage(exemplars):
            tables.see_activations(layer, activations, ids)

    def in_stage(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with account.stage(name):
                return function(*args, **kwargs)

        return call

    patches = in_stage(encode, captioner.encode)(pixels)
    generated = in_stage(generate, builder.detection.generate_greedily)
    with patch.object(builder.detection, "generate_greedily", generated):
        in_stage(passes, detector)(patches, sink)


def trace_decoding(size: ModelSize, dtype: torch.dtype) -> KernelAccount:
    """Decode all units over tensors without data, by a GPU's products.

    As of nearly all units: no two logits are equal, and none lie too far apart for one exponential.
    """
    account = KernelAccount(share_found=0.0)
    with (
        torch.device("meta"),
        account,
        patch.object(
            builder.decoding, "float32_product", partial(torch.mm, out_dtype=torch.float32)
        ),
        patch.object(builder.decoding, "_token_table"),
    ):
        model = LanguageModel(random_captioner(size, "meta", dtype).model)
        with account.stage("decode"):
            for _ in builder.decoding.decode_units(model, size.d_vocab):
                pass
    return account


def batch_figures(
    account: KernelAccount, size: ModelSize, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Say what each stage asks for and would take, and what memory is full of at most."""
    n = arguments.batch_size
    found: dict[str, Any] = {"batch size": n}
    total_ms = floor_ms = 0.0
    for name, floor in image_floors(size, n, getattr(torch, arguments.dtype).itemsize).items():
        kernels = account.stages[name]
        device_ms = sum(_ms(kernel, arguments) for kernel in kernels) / n
        start_ms = 1e-3 * arguments.start_us * len(kernels) / n
        stage_floor_ms = _ms(floor, arguments)
        total_ms += max(device_ms, start_ms)
        floor_ms += stage_floor_ms
        found |= {
            f"{name}: kernels": len(kernels),
            f"{name}: TFLOP an image": sum(kernel.operations for kernel in kernels) / n / 1e12,
            f"{name}: GB an image": sum(kernel.n_bytes for kernel in kernels) / n / 1e9,
            f"{name}: ms an image": device_ms,
            f"{name}: ms an image to start": start_ms,
            f"{name}: floor, ms an image": stage_floor_ms,
        }
    largest = sorted(account.of_peak.items(), key=lambda item: -item[1])[:_N_LARGEST]
    return found | {
        "ms an image": total_ms,
        "floor, ms an image": floor_ms,
        "images/s": 1e3 / total_ms,
        "floor's images/s": 1e3 / floor_ms,
        "peak device memory, GB": account.peak_bytes / 1e9,
        **{f"of it {stage}: {kernel}, GB": n_bytes / 1e9 for (stage, kernel), n_bytes in largest},
    }


def decoding_figures(account: KernelAccount, arguments: argparse.Namespace) -> dict[str, Any]:
    """Set the decoding of all units beside its own products, which write all logits."""
    kernels = account.stages["decode"]
    products = [kernel for kernel in kernels if kernel.operations]
    decode_s, bare_s = (
        1e-3 * sum(_ms(kernel, arguments) for kernel in some) for some in (kernels, products)
    )
    return {
        "decode: kernels": len(kernels),
        "decode: TFLOP": sum(kernel.operations for kernel in kernels) / 1e12,
        "decode: GB": sum(kernel.n_bytes for kernel in kernels) / 1e9,
        "decode: s": decode_s,
        "decode: s of the bare product": bare_s,
        "decode: times the bare product": decode_s / bare_s,
    }


def show_kernels(account: KernelAccount, arguments: argparse.Namespace) -> None:
    """Print the kernels that would take longest, all calls of a stage together."""
    taken: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    for stage in STAGES:
        for kernel in account.stages[stage]:
            taken[stage, kernel.name] += _ms(kernel, arguments) / arguments.batch_size
            calls[stage, kernel.name] += 1
    for (stage, name), ms in taken.most_common(arguments.kernels):
        print(f"{ms:8.3f} ms an image  {calls[stage, name]:6} calls  {stage}: {name}")


def _ms(work: Work, arguments: argparse.Namespace) -> float:
    """Give the time on the device that was asked for."""
    return 1e3 * work.seconds(1e12 * arguments.tflops, 1e9 * arguments.gb_per_s)


if __name__ == "__main__":
    main()
