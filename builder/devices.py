"""Which device a build runs on when none is named, and how much it is given at once."""

import torch
from torch import Tensor

#: Numbers worked on at once: what a CPU's cache holds, and enough to keep a GPU busy without
#: taking more than a few hundred megabytes.
_ELEMENTS_AT_ONCE = {"cpu": 2**18}
_ELEMENTS_ON_GPU = 2**26


def best_device() -> str:
    """Name the accelerator if there is one that PyTorch can use, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "cpu"


def images_at_once(values: Tensor) -> int:
    """Say how many images (or maps) of `values` (n, ...) to work on at once, at least 1."""
    limit = _ELEMENTS_AT_ONCE.get(values.device.type, _ELEMENTS_ON_GPU)
    return max(1, limit // max(1, values[:1].numel()))
