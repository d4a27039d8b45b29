import numpy as np
import pytest

from atlas_db.histogram import (
    QUANTILE_ERROR_AT_ZERO,
    QUANTILE_RELATIVE_ERROR,
    QUANTILES,
    bin_edges,
    bin_index,
    quantiles,
)

PROBS = (0.01, *QUANTILES)


def lower_edge(i: int) -> float:
    """The formula as `run_format` states it."""
    return 2.0 ** (i // 4 - 8) * (1 + (i % 4) / 4)


def test_bins_are_those_that_the_run_format_states() -> None:
    for i in range(1, 63):
        low, high = lower_edge(i), lower_edge(i + 1)
        for value in (low, (low + high) / 2, np.nextafter(high, 0)):
            assert bin_index(np.array([value, -value])).tolist() == [64 + i, 63 - i]
    assert bin_index(np.array([0.0, -0.0, 1e-9, 1e9])).tolist() == [64, 64, 64, 127]
    assert bin_index(np.array([-1e-9, -1e9])).tolist() == [63, 0]


def test_edges_enclose_their_bins() -> None:
    edges = bin_edges()
    assert edges.shape == (129,)
    assert np.all(np.diff(edges) > 0)
    values = np.random.default_rng(0).normal(0, 5, 1000)
    index = bin_index(values)
    assert np.all((edges[index] <= values) & (values <= edges[index + 1]))


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 30.0])
def test_quantiles_are_within_the_stated_error(scale: float) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(-0.2 * scale, scale, (20, 5000))
    histograms = np.stack([np.bincount(bin_index(row), minlength=128) for row in values])
    exact = np.quantile(values, PROBS, axis=1, method="inverted_cdf").T
    error = np.abs(quantiles(histograms, (values > 0).sum(axis=1), PROBS) - exact)
    allowed = np.maximum(QUANTILE_RELATIVE_ERROR * np.abs(exact), QUANTILE_ERROR_AT_ZERO)
    assert np.all(error <= allowed * (1 + 1e-9))


def test_a_quantile_is_in_the_bin_of_the_value_of_its_rank() -> None:
    histogram = np.zeros((1, 128), np.int64)
    histogram[0, [10, 100]] = 1
    below, above = quantiles(histogram, np.array([1]), (0.5, 0.51))[0]
    assert bin_index(np.array([below, above])).tolist() == [10, 100]


def test_a_quantile_of_a_silent_unit_is_nought() -> None:
    """Of ten values two are below 0, five 0, and three above, one of them in the bin of 0."""
    values = np.array([[-1.0, -1.0, 0.0, -0.0, 0.0, 0.0, 0.0, 1e-3, 2.0, 2.0]])
    histogram = np.bincount(bin_index(values[0]), minlength=128)[None]
    found = quantiles(histogram, np.array([3]), (0.2, 0.3, 0.7, 0.8, 0.9))[0]
    assert found[0] < 0
    assert found[1:3].tolist() == [0, 0]
    assert found[3] == QUANTILE_ERROR_AT_ZERO
    assert found[4] > 1


def test_an_empty_histogram_has_no_quantiles() -> None:
    assert np.isnan(quantiles(np.zeros((1, 128), np.int64), np.zeros(1, np.int64))).all()


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(n, 128\), got \(1, 64\)"):
        quantiles(np.zeros((1, 64), np.int64), np.zeros(1, np.int64))
