"""Which device a build runs on when none is named."""

import torch


def best_device() -> str:
    """Name the accelerator if there is one that PyTorch can use, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "cpu"
