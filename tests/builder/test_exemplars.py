"""Streaming top-k equals a full sort, however the images are cut into batches."""

import pytest
import torch
from torch import Tensor

from builder.exemplars import LayerExemplars, quantize_heatmaps

N_IMAGES, N_PATCH, N_UNITS, K = 40, 9, 7, 16


@pytest.fixture
def activations() -> Tensor:
    """Forty images; coarse values, so that equal maxima are common."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N_IMAGES, N_PATCH, N_UNITS, generator=generator).mul(4).round().div(4)


@pytest.fixture
def image_ids() -> Tensor:
    return torch.arange(N_IMAGES) * 13 + 100


def stream(activations: Tensor, image_ids: Tensor, sizes: list[int]) -> dict[str, Tensor]:
    found = LayerExemplars(N_UNITS, N_PATCH, K, "cpu")
    for part, ids in zip(activations.split(sizes), image_ids.split(sizes), strict=True):
        found.update(part, ids)
    return found.rows()


def full_sort(activations: Tensor, image_ids: Tensor, unit: int) -> list[tuple[float, int]]:
    best = activations[:, :, unit].amax(1).tolist()
    return sorted(zip(best, image_ids.tolist(), strict=True), key=lambda row: (-row[0], row[1]))


@pytest.mark.parametrize("sizes", [[40], [1] * 40, [3] * 13 + [1], [16, 24], [17, 1, 22]])
def test_streaming_is_a_full_sort(activations: Tensor, image_ids: Tensor, sizes: list[int]) -> None:
    rows = stream(activations, image_ids, sizes)
    for unit in range(N_UNITS):
        mine = rows["unit"] == unit
        assert rows["rank"][mine].tolist() == list(range(1, K + 1))
        found = zip(rows["activation"][mine].tolist(), rows["image_id"][mine].tolist(), strict=True)
        assert list(found) == full_sort(activations, image_ids, unit)[:K]


def test_order_of_images_changes_nothing(activations: Tensor, image_ids: Tensor) -> None:
    order = torch.randperm(N_IMAGES, generator=torch.Generator().manual_seed(2))
    forward = stream(activations, image_ids, [7] * 5 + [5])
    shuffled = stream(activations[order], image_ids[order], [7] * 5 + [5])
    for name, column in forward.items():
        assert torch.equal(column, shuffled[name]), name


def test_heatmaps_belong_to_their_rows(activations: Tensor, image_ids: Tensor) -> None:
    """After many replacements each row still has its own image's map, to half a step."""
    rows = stream(activations, image_ids, [3] * 13 + [1])
    position = {image: i for i, image in enumerate(image_ids.tolist())}
    for i in range(len(rows["unit"])):
        exact = activations[position[int(rows["image_id"][i])], :, rows["unit"][i]]
        read = rows["heatmap"][i] * rows["heatmap_scale"][i] + rows["heatmap_zero"][i]
        assert (read - exact).abs().max() <= rows["heatmap_scale"][i] * 0.5001
        assert int(rows["patch"][i]) == int(exact.argmax())
        assert float(rows["activation"][i]) == float(exact.max())


@pytest.mark.parametrize("sizes", [[40], [1] * 40, [17, 1, 22]])
def test_negative_exemplars_are_a_full_sort(
    activations: Tensor, image_ids: Tensor, sizes: list[int]
) -> None:
    """The least first, ties by image; where a unit is nowhere below 0 it has none."""
    activations = activations.clone()
    activations[:, :, 3] = activations[:, :, 3].abs()
    activations[5:, :, 4] = activations[5:, :, 4].abs()
    found = LayerExemplars(N_UNITS, N_PATCH, K, "cpu", sign=-1)
    for part, ids in zip(activations.split(sizes), image_ids.split(sizes), strict=True):
        found.update(part, ids)
    rows = found.rows()
    position = {image: i for i, image in enumerate(image_ids.tolist())}
    for unit in range(N_UNITS):
        least = activations[:, :, unit].amin(1).tolist()
        expected = sorted(zip(least, image_ids.tolist(), strict=True))
        mine = rows["unit"] == unit
        pairs = zip(rows["activation"][mine].tolist(), rows["image_id"][mine].tolist(), strict=True)
        assert list(pairs) == [row for row in expected if row[0] < 0][:K]
    assert not (rows["unit"] == 3).any()
    assert (rows["unit"] == 4).sum() <= 5
    for i in range(len(rows["unit"])):
        exact = activations[position[int(rows["image_id"][i])], :, rows["unit"][i]]
        read = rows["heatmap"][i] * rows["heatmap_scale"][i] + rows["heatmap_zero"][i]
        assert (read - exact).abs().max() <= rows["heatmap_scale"][i] * 0.5001
        assert int(rows["patch"][i]) == int(exact.argmin())


def test_another_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="sign must be 1 or -1, got 0"):
        LayerExemplars(N_UNITS, N_PATCH, K, "cpu", sign=0)


def test_fewer_images_than_k(activations: Tensor, image_ids: Tensor) -> None:
    rows = stream(activations[:5], image_ids[:5], [2, 3])
    assert (rows["unit"] == 0).sum() == 5
    assert rows["rank"].max() == 5


def test_k_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        LayerExemplars(N_UNITS, N_PATCH, 0, "cpu")


def test_quantization_error_is_half_a_step() -> None:
    maps = torch.randn(1000, 196, generator=torch.Generator().manual_seed(3)) * 5
    heatmap, scale, zero = quantize_heatmaps(maps)
    read = heatmap * scale[:, None] + zero[:, None]
    bound = (maps.amax(1) - maps.amin(1)) / 510
    assert ((read - maps).abs().amax(1) <= bound * 1.001).all()
    assert (heatmap.amax(1) == 255).all()
    assert (heatmap.amin(1) == 0).all()


def test_a_constant_map_is_read_back_exactly() -> None:
    heatmap, scale, zero = quantize_heatmaps(torch.full((1, 4), 2.5))
    assert (heatmap.tolist(), scale.tolist(), zero.tolist()) == ([[0, 0, 0, 0]], [0.0], [2.5])
