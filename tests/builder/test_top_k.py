"""Top values of long rows against a full sort."""

import pytest
import torch

from builder.top_k import _GROUP, top_k, top_k_of_both_signs


@pytest.fixture(params=[None, 2, 64], ids=["of a CPU", "groups of 2", "groups of 64"])
def group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups as on a CPU, of the least size and as on a GPU."""
    if request.param is not None:
        monkeypatch.setitem(_GROUP, "cpu", request.param)


@pytest.mark.parametrize("n_columns", [10, 63, 64, 65, 127, 200, 64 * 30, 64 * 30 + 11, 20011])
def test_it_is_a_full_sort(group: None, n_columns: int) -> None:
    values = torch.randn(50, n_columns, generator=torch.Generator().manual_seed(n_columns))
    expected = values.sort(dim=1, descending=True)
    top, index = top_k(values, 10)
    assert torch.equal(top, expected.values[:, :10])
    assert torch.equal(index, expected.indices[:, :10])
    top, index = top_k_of_both_signs(values, 10)
    assert torch.equal(top[:, 0], expected.values[:, :10])
    assert torch.equal(index[:, 1], expected.indices[:, -10:].flip(1))
    assert torch.equal(top[:, 1], expected.values[:, -10:].flip(1))


@pytest.mark.parametrize("n_distinct", [1, 3, 12, 300])
def test_of_equal_values_the_first_comes_first(group: None, n_distinct: int) -> None:
    generator = torch.Generator().manual_seed(n_distinct)
    values = torch.randint(n_distinct, (70, 2003), generator=generator).float()
    values[5] = torch.randn(2003, generator=generator)  # a row without equals among them
    for largest in (True, False):
        expected = values.sort(dim=1, descending=largest, stable=True)
        top, index = top_k(values, 10, largest=largest)
        assert torch.equal(top, expected.values[:, :10])
        assert torch.equal(index, expected.indices[:, :10])


def test_all_in_two_groups() -> None:
    """Most of the groups that are chosen hold none of the greatest."""
    values = torch.zeros(1, 80 * _GROUP["cpu"])
    columns = [*range(70, values.shape[1], 80), 71, 151]
    values[0, columns] = torch.arange(float(len(columns)), 0, -1)
    top, index = top_k(values, 10)
    assert len(columns) == 10
    assert top.tolist() == [list(range(10, 0, -1))]
    assert index.tolist() == [columns]


def test_infinities_are_sorted_too() -> None:
    values = torch.full((1, 130), -torch.inf)
    values[0, 129] = 1.0
    values[0, 5] = torch.inf
    top, index = top_k(values, 3)
    assert index[0, :2].tolist() == [5, 129]
    assert top[0].tolist() == [torch.inf, 1.0, -torch.inf]
