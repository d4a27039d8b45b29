"""Running statistics against all values at once."""

import pytest
import torch

from atlas_db.run_format import HISTOGRAM_BINS_PER_SIGN, N_HISTOGRAM_BINS
from builder.statistics import (
    LayerStatistics,
    bins_of_slots,
    count_slots,
    histogram_bins,
    no_slots,
)


def edge(i: int) -> float:
    """The layout that `atlas_db.run_format` states."""
    return 2.0 ** (i // 4 - 8) * (1 + (i % 4) / 4)


@pytest.mark.parametrize("i", [1, 2, 3, 4, 17, 32, 50, 63])
def test_bins_begin_at_their_edges(i: int) -> None:
    at = torch.tensor(edge(i))
    below = torch.nextafter(at, torch.tensor(0.0))
    assert histogram_bins(torch.stack([at, below])).tolist() == [64 + i, 64 + i - 1]
    assert histogram_bins(torch.stack([-at, -below])).tolist() == [63 - i, 63 - i + 1]


def test_outer_and_inner_bins_reach_on() -> None:
    values = torch.tensor([0.0, 1e-30, -1e-30, 1e30, -1e30, edge(0) / 2])
    assert histogram_bins(values).tolist() == [64, 64, 63, N_HISTOGRAM_BINS - 1, 0, 64]


def test_every_bfloat16_is_in_the_bin_of_its_float32() -> None:
    """All but NaN, both zeros among them; from half as many bits."""
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    values = values[~values.isnan()]
    bins = histogram_bins(values)
    assert bins.dtype == torch.int16
    assert bins.tolist() == histogram_bins(values.float()).tolist()
    assert bins[values == 0].tolist() == [64, 64]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_slots_make_the_same_bins(dtype: torch.dtype) -> None:
    """Of every bfloat16 but NaN, in two parts, in a unit of its own; 0 is what is hardly more."""
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    values = values[~values.isnan()].to(dtype)
    others = torch.randn(len(values), generator=torch.Generator().manual_seed(0)).to(dtype)
    whole = torch.stack([others, values], dim=1)
    slots = no_slots(2, whole.device)
    for part in whole.split(40_000):
        count_slots(part, slots)
    bins, n_positive = bins_of_slots(slots)
    rounded = torch.where(whole.abs() < 2.0**-128, 0, whole)
    for unit in range(2):
        expected = histogram_bins(rounded[:, unit]).long().bincount(minlength=N_HISTOGRAM_BINS)
        assert torch.equal(bins[unit], expected)
    assert torch.equal(n_positive, (rounded > 0).sum(0))


def test_bfloat16_is_counted_and_summed_as_it_is() -> None:
    values = torch.randn(3, 196, 40, generator=torch.Generator().manual_seed(1)).bfloat16()
    narrow, wide = LayerStatistics(40, "cpu"), LayerStatistics(40, "cpu")
    narrow.update(values)
    wide.update(values.double())
    for name, column in narrow.rows().items():
        torch.testing.assert_close(column, wide.rows()[name], atol=1e-4, rtol=0)
    assert torch.equal(narrow.n_positive, (values > 0).sum((0, 1)))


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 7]])
def test_batches_add_up_exactly(sizes: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(12, 9, 5, generator=generator, dtype=torch.float64)
    statistics = LayerStatistics(5, "cpu")
    for part in values.split(sizes):
        statistics.update(part)
    rows = statistics.rows()
    assert rows["n_patches"].tolist() == [108] * 5
    assert rows["n_positive"].tolist() == (values > 0).sum((0, 1)).tolist()
    # One rounding to 2**-20 for each image.
    torch.testing.assert_close(
        rows["activation_sum"], values.sum((0, 1)), atol=12 * 2.0**-21, rtol=0
    )
    whole = LayerStatistics(5, "cpu")
    whole.update(values)
    assert torch.equal(rows["activation_sum"], whole.rows()["activation_sum"])
    assert torch.equal(rows["histogram"], whole.rows()["histogram"])


def test_histogram_counts_each_unit_by_itself() -> None:
    values = torch.tensor([[[0.3, -2.0], [0.3, 5.0]]])
    statistics = LayerStatistics(2, "cpu")
    statistics.update(values)
    histogram = statistics.rows()["histogram"]
    assert histogram.sum(1).tolist() == [2, 2]
    assert histogram[0, histogram_bins(torch.tensor(0.3))] == 2
    assert histogram[1, histogram_bins(torch.tensor(-2.0))] == 1
    assert int(histogram_bins(torch.tensor(-2.0))) < HISTOGRAM_BINS_PER_SIGN
