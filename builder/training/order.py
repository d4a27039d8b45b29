"""Which pairs, captions and dropped numbers a step has: functions of the seed and the step alone.

Nothing here has a state. So a training that was killed goes on with exactly what would have come,
and neither the micro-batch nor the number of GPUs changes what a step sees.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import Tensor


def generator_of(*numbers: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator whose seed is a hash of numbers and names."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def step_indices(n_images: int, batch_size: int, *, seed: int, step: int) -> list[int]:
    """Give the images of a step: all once in a random order, then all again in another."""
    found: list[int] = []
    start = step * batch_size
    while len(found) < batch_size:
        epoch, first = divmod(start + len(found), n_images)
        order = _permutation(n_images, seed, epoch)
        found += order[first : first + batch_size - len(found)].tolist()
    return found


@lru_cache(maxsize=2)
def _permutation(n_images: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n_images, generator=generator_of("order", seed, epoch))


def caption_numbers(batch_size: int, *, seed: int, step: int) -> list[int]:
    """Give a random number for each pair of a step; its remainder chooses among the captions."""
    generator = generator_of("captions", seed, step)
    numbers: list[int] = torch.randint(2**40, (batch_size,), generator=generator).tolist()
    return numbers


def drop(image: Tensor, share: float, places: list[int], *, seed: int, step: int) -> Tensor:
    """Set a random `share` of each image's numbers to 0 and scale the rest up; keeps the mean.

    `image` is (batch, n_patch, d_model); `places` are the images' places in the step.
    """
    if share == 0:
        return image
    kept = torch.empty_like(image)
    for row, place in zip(kept, places, strict=True):
        row.bernoulli_(
            1 - share, generator=generator_of("dropout", seed, step, place, device=image.device)
        )
    return image * kept / (1 - share)
