"""Views of pictures: corresponding patches show the same place."""

import torch
from torch.nn import functional

from builder.miniature.picture_cache import GRID, INPUT_PX, PATCH_PX
from builder.miniature.views import relight, view_pair


def _means(pixels: torch.Tensor) -> torch.Tensor:
    """Average each patch: (picture, patch, colour)."""
    return functional.avg_pool2d(pixels, PATCH_PX).flatten(2).transpose(1, 2)


def test_corresponding_patches_show_the_same_place() -> None:
    pixels = torch.rand(16, 3, INPUT_PX, INPUT_PX, generator=torch.Generator().manual_seed(0))
    pixels = functional.interpolate(functional.avg_pool2d(pixels, 8), scale_factor=8)
    shifts = set()
    for seed in range(12):
        pair = view_pair(pixels, torch.Generator().manual_seed(seed))
        shifts.add(int((pair.first - pair.second)[0]))
        one, other = (
            (view - view.mean(1, keepdim=True)) / view.std(1, keepdim=True)
            for view in (_means(pair.clean), _means(pair.other))
        )
        alike = functional.cosine_similarity(one[:, pair.first], other[:, pair.second], dim=2)
        assert alike.mean() > 0.9
        assert len(pair.first) >= (GRID - 2) ** 2
    assert len(shifts) > 4


def test_light_stays_in_range() -> None:
    pixels = torch.rand(3, 3, 8, 8)
    lit = relight(pixels, torch.Generator().manual_seed(1))
    assert lit.min() >= 0
    assert lit.max() <= 1
    assert not torch.equal(lit, pixels)
