"""Intervals that cover, tests that agree with worked-out numbers, areas and ranks by hand."""

import numpy as np
import pytest
from scipy import stats

from builder.experiments.intervals import (
    auc,
    difference_estimate,
    entropy,
    false_discovery_q,
    kolmogorov_smirnov,
    mean_estimate,
    paired_p,
    permutation_p,
    rank_correlation,
    ratio_estimate,
    share_estimate,
)

N_TRIALS = 200


def test_the_interval_of_a_mean_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(N_TRIALS):
        found = mean_estimate(rng.exponential(size=60), seed=trial)
        covered += found.low <= 1.0 <= found.high
    # 95 % of 200, give or take three standard deviations (1.5 % each).
    assert 0.90 <= covered / N_TRIALS <= 0.99


def test_the_interval_of_a_ratio_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for trial in range(N_TRIALS):
        base = rng.uniform(1, 2, size=60)
        found = ratio_estimate(3 * base + rng.normal(size=60), base, seed=trial)
        covered += found.low <= 3.0 <= found.high
    assert 0.90 <= covered / N_TRIALS <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert mean_estimate(values, seed=1) == mean_estimate(values, seed=1)
    assert mean_estimate(values, seed=1) != mean_estimate(values, seed=2)


def test_estimates_of_nothing_of_one_and_of_equal_values() -> None:
    assert np.isnan(mean_estimate([]).value)
    assert mean_estimate([2.0]).high == 2.0
    assert (mean_estimate([3.0] * 9).low, mean_estimate([3.0] * 9).n) == (3.0, 9)
    with pytest.raises(ValueError, match="finite"):
        mean_estimate([1.0, np.nan])


def test_differences_are_taken_in_pairs() -> None:
    found = difference_estimate([1.0, 10.0, 100.0], [0.0, 9.0, 99.0])
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="one length"):
        difference_estimate([1.0], [1.0, 2.0])


def test_a_ratio_to_nothing_is_infinite() -> None:
    assert ratio_estimate([1.0, 1.0], [0.0, 0.0]).value == np.inf
    assert np.isnan(ratio_estimate([0.0, 0.0], [0.0, 0.0]).value)


def test_wilson_interval_of_8_in_10() -> None:
    # (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.959964, p = .8, n = 10.
    found = share_estimate([True] * 8 + [False] * 2)
    assert (found.low, found.high) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_permutation_p_counts_the_observed_as_one_of_the_permutations() -> None:
    permuted = np.arange(99.0)
    assert permutation_p(1000.0, permuted) == 0.01
    assert permutation_p(49.5, permuted) == pytest.approx((1 + 49) / 100)


def test_paired_p_against_all_sign_changes() -> None:
    # Eight differences, all of one sign: of 2^8 assignments, one is as great.
    first = np.arange(1.0, 9.0)
    assert paired_p(first, np.zeros(8)) == pytest.approx(1 / 256, abs=2e-4)
    assert np.isnan(paired_p([1.0], [0.0]))


@pytest.mark.parametrize("sizes", [(40, 50), (300, 400)])
def test_kolmogorov_smirnov_against_scipy_and_the_definition(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=sizes[0]), rng.normal(0.4, size=sizes[1])
    places = np.concatenate([one, other])
    by_hand = max(abs((one <= x).mean() - (other <= x).mean()) for x in places)
    found = kolmogorov_smirnov(one, other)
    assert found.distance == pytest.approx(by_hand)
    assert found.p == pytest.approx(stats.ks_2samp(one, other).pvalue, rel=0.05)


def test_kolmogorov_smirnov_of_samples_that_differ_by_rounding() -> None:
    one = np.array([0.5, 0.5, 0.5, 0.5, 0.5])
    found = kolmogorov_smirnov(one, one)
    assert (found.distance, found.p) == (0, 1)
    # Scores of five images of which one differs in the last bit: scipy cannot be exact there.
    found = kolmogorov_smirnov([1, 1, 1, 1, 2.0], [1, 1, 1, 1, np.nextafter(2, 3)])
    assert found.distance == pytest.approx(0.2)
    assert 0.9 < found.p <= 1


def test_auc_by_counting_pairs() -> None:
    values = np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    is_positive = np.array([True, False, True, False])
    # First column: pairs (3,1) (3,2) (2,1) won, (2,2) tied. Second: all tied.
    assert auc(values, is_positive) == pytest.approx([3.5 / 4, 0.5])
    assert np.isnan(auc(values, [True] * 4)).all()


def test_rank_correlation_of_columns() -> None:
    first = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 1.0], [3.0, 3.0, 1.0], [4.0, 9.0, 1.0]])
    second = np.array([[10.0, 9.0, 1.0], [20.0, 8.0, 2.0], [25.0, 7.0, 3.0], [99.0, 1.0, 4.0]])
    found = rank_correlation(first, second)
    assert found[:2] == pytest.approx([1.0, -1.0])
    assert np.isnan(found[2])
    rng = np.random.default_rng(1)
    x, y = rng.integers(5, size=(2, 30))
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_entropy_in_nats() -> None:
    rows = [[1.0, 1.0, 1.0, 1.0], [5.0, 0.0, 0.0, 0.0], [2.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    found = entropy(rows)
    assert found[:3] == pytest.approx([2 * np.log(2), 0.0, 1.5 * np.log(2)])
    assert np.isnan(found[3])
    with pytest.raises(ValueError, match=">= 0"):
        entropy([1.0, -1.0])


def test_false_discovery_by_hand() -> None:
    # Sorted p_i * m / i: .01*3/1, .02*3/2, .9*3/3; running minimum from the right.
    found = false_discovery_q([0.02, 0.9, np.nan, 0.01])
    assert found[[0, 1, 3]] == pytest.approx([0.03, 0.9, 0.03])
    assert np.isnan(found[2])
