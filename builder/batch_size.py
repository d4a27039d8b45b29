"""How many images a pass holds: measured, not guessed.

On CUDA two small passes give the memory that a pass takes for itself and for each image; the batch
is what then fits into MEMORY_SHARE of the device, and a pass of that size has to hold before it is
taken. Elsewhere CPU_BATCH_SIZE: on a CPU larger batches are hardly faster.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from builder.devices import is_out_of_memory

#: Of the device's whole memory; the rest is for fragments and for other users of the display.
MEMORY_SHARE = 0.7
#: Beyond it passes are bound by arithmetic, and longer ones only cost memory.
MAX_BATCH_SIZE = 128
#: Sizes are multiples of this, which suits the matrix units.
MULTIPLE = 8
CPU_BATCH_SIZE = 8
_PROBES = (1, 3)


def fitting_batch_size(peak_bytes: Callable[[int], int], memory_bytes: int) -> int:
    """Find the batch that fits, from the peak memory of passes over small ones.

    Args:
        peak_bytes: Runs a pass over so many images and gives the greatest memory in use, all that
            was there before included. May run out of memory.
        memory_bytes: The device's memory.

    Returns:
        1 to MAX_BATCH_SIZE; 1 also where even that may not fit.
    """
    budget = MEMORY_SHARE * memory_bytes

    def peak(n: int) -> float:
        try:
            return peak_bytes(n)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return float("inf")

    few, more = (peak(n) for n in _PROBES)
    if more > budget:
        return 1
    for_each = max((more - few) / (_PROBES[1] - _PROBES[0]), 1.0)
    size = _round_down(int((budget - few) / for_each) + _PROBES[0])
    while size > 1 and peak(size) > budget:
        size //= 2
    return size


def _round_down(size: int) -> int:
    if size >= MULTIPLE:
        return min(size // MULTIPLE * MULTIPLE, MAX_BATCH_SIZE)
    return max(size, 1)


def measured_batch_size(run: Callable[[int], None], device: torch.device) -> int:
    """Choose a batch size for `run`, which passes over a given number of images."""
    if device.type != "cuda":
        return CPU_BATCH_SIZE

    def peak_bytes(n: int) -> int:
        gc.collect()  # of a pass that failed
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        run(n)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)

    size = fitting_batch_size(peak_bytes, torch.cuda.mem_get_info(device)[1])
    torch.cuda.empty_cache()
    return size
