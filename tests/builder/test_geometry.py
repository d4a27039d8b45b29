"""The model's view of a photograph: exact, invertible, and the one that torchvision makes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from torchvision import transforms

from builder.geometry import view_of

SIZES = [(640, 480), (427, 640), (500, 333), (224, 224), (31, 997), (1, 1), (223, 225)]


@pytest.mark.parametrize(("geometry", "size"), list(product(["squash", "crop"], SIZES)))
def test_points_come_back(geometry: str, size: tuple[int, int]) -> None:
    view = view_of(*size, geometry=geometry, view_px=224)
    x, y = np.linspace(0, 224, 50), np.linspace(224, 0, 50)
    there = view.to_photograph(x, y)
    np.testing.assert_allclose(view.to_view(*there), (x, y), atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_the_view_lies_inside_the_photograph(size: tuple[int, int]) -> None:
    for geometry in ("squash", "crop"):
        left, top, right, bottom = view_of(*size, geometry=geometry, view_px=224).seen
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]


def test_squash_sees_all() -> None:
    view = view_of(640, 320, geometry="squash", view_px=160)
    assert view.seen == (0, 0, 640, 320)
    assert view.to_view(320.0, 80.0) == (80.0, 40.0)


def test_crop_sees_the_middle_at_one_scale() -> None:
    view = view_of(640, 320, geometry="crop", view_px=160)
    assert view.seen == (160, 0, 480, 320)
    assert view.to_view(160.0, 0.0) == (0.0, 0.0)
    assert view.scale_x == view.scale_y == 0.5


@pytest.mark.parametrize("size", [size for size in SIZES if min(size) > 1])
def test_crop_is_where_torchvision_crops(size: tuple[int, int]) -> None:
    # An image whose pixels say where they are.
    rows, columns = np.indices((size[1], size[0]), dtype=np.float32)
    place = transforms.functional.to_tensor(np.stack([rows, columns], axis=2))
    nearest = transforms.InterpolationMode.NEAREST_EXACT
    crop = transforms.Compose([transforms.Resize(64, nearest), transforms.CenterCrop(64)])
    seen_rows, seen_columns = crop(place).numpy()

    view = view_of(*size, geometry="crop", view_px=64)
    centres = np.arange(64) + 0.5
    x, y = view.to_photograph(centres, centres)

    # A point on the edge of two pixels may fall to either.
    assert np.abs(seen_columns[0] + 0.5 - x).max() <= 0.5 + 1e-3
    assert np.abs(seen_rows[:, 0] + 0.5 - y).max() <= 0.5 + 1e-3


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="geometry must be 'squash' or 'crop', got 'pad'"):
        view_of(10, 10, geometry="pad", view_px=8)
    with pytest.raises(ValueError, match="sizes must be >= 1, got 0 x 10"):
        view_of(0, 10, geometry="crop", view_px=8)
