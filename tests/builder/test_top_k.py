"""Top values of long rows against a full sort."""

import pytest
import torch

from builder.top_k import top_k, top_k_of_both_signs


@pytest.mark.parametrize("n_columns", [10, 63, 64, 65, 127, 200, 64 * 30, 64 * 30 + 11])
def test_it_is_a_full_sort(n_columns: int) -> None:
    values = torch.randn(50, n_columns, generator=torch.Generator().manual_seed(n_columns))
    expected = values.sort(dim=1, descending=True)
    top, index = top_k(values, 10)
    assert torch.equal(top, expected.values[:, :10])
    assert torch.equal(index, expected.indices[:, :10])
    top, index = top_k_of_both_signs(values, 10)
    assert torch.equal(top[:, 0], expected.values[:, :10])
    assert torch.equal(index[:, 1], expected.indices[:, -10:].flip(1))


def test_all_in_one_group() -> None:
    """The ten greatest lie side by side: nine of the ten groups that are sorted hold none."""
    values = torch.zeros(1, 640)
    values[0, 70:80] = torch.arange(1.0, 11.0)
    top, index = top_k(values, 10)
    assert top.tolist() == [list(range(10, 0, -1))]
    assert index.tolist() == [list(range(79, 69, -1))]


def test_infinities_are_sorted_too() -> None:
    values = torch.full((1, 130), -torch.inf)
    values[0, 129] = 1.0
    values[0, 5] = torch.inf
    top, index = top_k(values, 3)
    assert index[0, :2].tolist() == [5, 129]
    assert top[0].tolist() == [torch.inf, 1.0, -torch.inf]
