"""Views of pictures: segments move with the pixels that they cover."""

import numpy as np
import torch
from torch.nn import functional

from builder.miniature.picture_cache import GRID, INPUT_PX, PATCH_PX
from builder.miniature.segments import N_SEGMENTS, STRIDE_PX, find_segments
from builder.miniature.views import make_view, relight, segment_cover

SIDE = INPUT_PX // STRIDE_PX


def _quadrants() -> tuple[torch.Tensor, torch.Tensor]:
    """Make pictures of four quadrants, each a segment, of the lightnesses 0, .3, .6 and .9."""
    half = torch.arange(SIDE) >= SIDE // 2
    numbers = 2 * half[:, None].long() + half[None, :].long()
    light = functional.interpolate(numbers[None, None].float(), scale_factor=STRIDE_PX) * 0.3
    return light.expand(24, 3, -1, -1), numbers.expand(24, -1, -1)


def test_segments_lie_where_their_pixels_lie() -> None:
    pixels, segments = _quadrants()
    view = make_view(pixels, segments, torch.Generator().manual_seed(0))
    assert torch.allclose(view.cover.sum(1), torch.ones(24, GRID * GRID))
    shown = functional.avg_pool2d(view.pixels.mean(1, keepdim=True), PATCH_PX).flatten(1)
    lightness = (view.cover * torch.arange(N_SEGMENTS).view(1, -1, 1)).sum(1)
    for one, other in zip(shown, lightness, strict=True):
        alike = torch.corrcoef(torch.stack([one, other]))[0, 1]
        assert alike > 0.95
    whole = view.cover.amax(1) == 1
    assert whole.float().mean() > 0.5
    # Views differ from one another in place, not only in light.
    assert len({tuple(row.tolist()) for row in view.cover[:, 0]}) > 20


def test_the_cover_of_a_patch_is_counted() -> None:
    segments = torch.zeros(1, 4 * GRID, 4 * GRID)
    segments[0, 0, :3] = 2
    cover = segment_cover(segments)
    assert cover.shape == (1, N_SEGMENTS, GRID * GRID)
    assert cover[0, 2, 0] == 3 / 16
    assert cover[0, 0, 0] == 13 / 16
    assert cover[0, 2].sum() == 3 / 16


def test_light_stays_in_range_and_greys_some() -> None:
    pixels = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    lit = relight(pixels, torch.Generator().manual_seed(1))
    assert lit.min() >= 0
    assert lit.max() <= 1
    spread = lit.std(dim=1).mean(dim=(1, 2))
    grey = (spread < 0.35 * pixels.std(dim=1).mean()).float().mean()
    assert 0.05 < grey < 0.3


def test_segments_follow_colours_and_come_by_size() -> None:
    picture = np.full((INPUT_PX, INPUT_PX, 3), (90, 160, 230), np.uint8)
    picture[70:] = (60, 150, 60)
    picture[40:90, 30:60] = (200, 40, 40)
    found = find_segments(picture)
    assert found.shape == (SIDE, SIDE)
    sky, grass, thing = found[2, 2], found[SIDE - 4, 2], found[30, 22]
    assert len({int(sky), int(grass), int(thing)}) == 3
    for number, part in ((sky, found[:17]), (grass, found[48:]), (thing, found[24:41, 19:26])):
        assert (part == number).all()
    assert (sky, grass) == (0, 1)
    assert found.max() < N_SEGMENTS
