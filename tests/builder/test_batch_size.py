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
