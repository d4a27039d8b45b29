"""A batch that fits, from what small passes took."""

import pytest
import torch

from builder.batch_size import (
    CPU_BATCH_SIZE,
    MAX_BATCH_SIZE,
    MEMORY_SHARE,
    fitting_batch_size,
    measured_batch_size,
)

GB = 10**9


class Device:
    """Takes `fixed` bytes and `for_each` an image, and has no more than `memory`."""

    def __init__(self, fixed: float, for_each: float, memory: float) -> None:
        self.fixed, self.for_each, self.memory = fixed * GB, for_each * GB, memory * GB
        self.sizes: list[int] = []

    def peak_bytes(self, n: int) -> int:
        self.sizes.append(n)
        peak = int(self.fixed + n * self.for_each)
        if peak > self.memory:
            raise torch.OutOfMemoryError("no room")
        return peak


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device(14, 0.6, 80), 64),  # (56 - 14) / 0.6 = 70, a multiple of 8
        (Device(14, 10, 80), 4),
        (Device(1, 0.001, 80), MAX_BATCH_SIZE),
        (Device(14, 40, 80), 1),  # one fits the device, but not three
        (Device(90, 1, 80), 1),  # nothing fits: the pass itself will say so
    ],
)
def test_the_batch_fills_its_share(device: Device, expected: int) -> None:
    assert fitting_batch_size(device.peak_bytes, int(device.memory)) == expected
    if expected > 1:
        assert device.sizes[-1] == expected  # it was tried
        assert device.fixed + expected * device.for_each <= MEMORY_SHARE * device.memory


def test_a_pass_that_takes_more_than_small_ones_foretell_is_halved() -> None:
    def peak_bytes(n: int) -> int:
        return (10 + n) * GB if n < 20 else 100 * GB

    assert fitting_batch_size(peak_bytes, 80 * GB) == 10  # 40, 20, 10


def test_no_measurement_on_a_cpu() -> None:
    def run(n: int) -> None:
        pytest.fail("a pass was run")

    assert measured_batch_size(run, torch.device("cpu")) == CPU_BATCH_SIZE


def test_on_cuda_each_pass_is_measured_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """14 GB and one for each image, of 80; cuBLAS, not PyTorch, finds no memory for the third."""
    asked: list[object] = []
    peak = 0

    def run(n: int) -> None:
        nonlocal peak
        asked.append(n)
        if n == 40:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        peak = (14 + n) * GB

    def reset(device: torch.device) -> None:
        nonlocal peak
        asked.append("reset")
        peak = 0

    cuda = {
        "mem_get_info": lambda device: (66 * GB, 80 * GB),
        "empty_cache": lambda: asked.append("empty"),
        "reset_peak_memory_stats": reset,
        "synchronize": lambda device: asked.append("wait"),
        "max_memory_allocated": lambda device: peak,
    }
    for name, stand_in in cuda.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    assert measured_batch_size(run, torch.device("cuda")) == 20
    passes = [["empty", "reset", n, *(["wait"] if n != 40 else [])] for n in (1, 3, 40, 20)]
    assert asked == [*(step for steps in passes for step in steps), "empty"]


def test_another_error_of_a_pass_is_no_lack_of_memory() -> None:
    def peak_bytes(n: int) -> int:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side assert"):
        fitting_batch_size(peak_bytes, 80 * GB)
