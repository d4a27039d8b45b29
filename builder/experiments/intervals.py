"""Intervals, tests and rank statistics of the experiments, all on arrays, all from stated seeds.

The unit of resampling is the image: what is measured of several units of one image is averaged
over them first, so that units which share an image are not counted as independent.

Sources: Efron 1987 (bias-corrected and accelerated bootstrap); Wilson 1927 (interval of a share);
Phipson and Smyth 2010 (a permutation p-value is never 0); Mann and Whitney 1947 (the area under
the ROC curve is U / (n_positive * n_negative)); Benjamini and Hochberg 1995.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95
N_RESAMPLES = 2000
#: Numbers that a resampling step may hold at once.
_ELEMENTS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval and the number of images (or pairs) behind it.

    `value`, `low` and `high` are nan where `n` is 0; the interval of a single value is that value.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}], n = {self.n}"


def mean_estimate(values: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """Give the mean of values (n,) with its bootstrap interval.

    Raises:
        ValueError: The values are not one row of finite numbers.
    """
    values = _finite_row(values)
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean = float(values.mean())
    if np.ptp(values) == 0:
        # No resample differs; the acceleration of the bootstrap would be 0 / 0.
        return Estimate(mean, mean, mean, len(values))
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=N_RESAMPLES,
        batch=max(1, _ELEMENTS_AT_ONCE // len(values)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high), len(values))


def difference_estimate(first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """Give the mean of paired differences, first - second, with its bootstrap interval."""
    one, other = _pairs(first, second)
    return mean_estimate(one - other, seed=seed)


def ratio_estimate(first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """Give mean(first) / mean(second) of paired values with its percentile bootstrap interval.

    Infinite where the second mean is 0 and the first is not; nan where both are 0.
    """
    one, other = _pairs(first, second)
    n = len(one)
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    rng = np.random.default_rng(seed)
    tops, bottoms = [], []
    step = max(1, _ELEMENTS_AT_ONCE // n)
    for start in range(0, N_RESAMPLES, step):
        index = rng.integers(n, size=(min(step, N_RESAMPLES - start), n))
        tops.append(one[index].mean(axis=1))
        bottoms.append(other[index].mean(axis=1))
    top, bottom = np.concatenate(tops), np.concatenate(bottoms)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = top / bottom
        value = float(np.divide(one.mean(), other.mean()))
    known = ratios[~np.isnan(ratios)]
    if len(known) == 0:
        return Estimate(value, np.nan, np.nan, n)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail], method="inverted_cdf")
    return Estimate(value, float(low), float(high), n)


def share_estimate(is_so: npt.ArrayLike) -> Estimate:
    """Give the share of true values (n,) with Wilson's interval."""
    row = np.asarray(is_so, bool)
    if row.ndim != 1:
        raise ValueError(f"is_so must have shape (n,), got {row.shape}")
    if len(row) == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    test = stats.binomtest(int(row.sum()), len(row))
    found = test.proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(float(row.mean()), float(found.low), float(found.high), len(row))


def permutation_p(observed: npt.ArrayLike, permuted: npt.ArrayLike) -> Array:
    """Give the one-sided p-values of observed (...,) against permuted (n, ...): great is rare.

    p = (1 + number of permuted values >= observed) / (1 + n); for "small is rare", negate both.
    """
    values, chance = np.asarray(observed, float), np.asarray(permuted, float)
    if chance.shape[1:] != values.shape:
        raise ValueError(f"permuted must be (n, *{values.shape}), got {chance.shape}")
    p: Array = (1 + (chance >= values).sum(axis=0)) / (1 + len(chance))
    return p


def paired_p(first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0) -> float:
    """Test whether the first of each pair is greater: permutation of signs, one-sided.

    nan for fewer than two pairs.
    """
    one, other = _pairs(first, second)
    if len(one) < 2:
        return float("nan")
    found = stats.permutation_test(
        (one, other),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=N_RESAMPLES,
        batch=max(1, _ELEMENTS_AT_ONCE // (2 * len(one))),
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


@dataclass(frozen=True, slots=True)
class KolmogorovSmirnov:
    """The greatest distance of two empirical distributions, and its two-sided p-value."""

    distance: float
    p: float


def kolmogorov_smirnov(first: npt.ArrayLike, second: npt.ArrayLike) -> KolmogorovSmirnov:
    """Compare two samples by the two-sample Kolmogorov-Smirnov test; nan where one is empty."""
    one, other = _finite_row(first), _finite_row(second)
    if not len(one) or not len(other):
        return KolmogorovSmirnov(float("nan"), float("nan"))
    # The exact p-value of large samples with ties overflows and warns; the limit is exact enough.
    method = "exact" if max(len(one), len(other)) <= 100 else "asymp"
    with warnings.catch_warnings():
        # Where ties make the exact one impossible, scipy takes the limit as well, and says so.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ks_2samp(one, other, method=method)
    return KolmogorovSmirnov(float(found.statistic), float(found.pvalue))


def auc(values: npt.ArrayLike, is_positive: npt.ArrayLike) -> Array:
    """Give the area under the ROC curve of each column: how well it tells positives apart.

    Args:
        values: (n_items, ...), one column for each unit.
        is_positive: (n_items,) bool.

    Returns:
        (...,): the chance that a positive item has the greater value, ties counted half; nan
        where all items are positive or none is.
    """
    items, positive = np.asarray(values, float), np.asarray(is_positive, bool)
    if positive.shape != items.shape[:1]:
        raise ValueError(f"is_positive must be ({len(items)},), got {positive.shape}")
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return np.full(items.shape[1:], np.nan)
    ranks = stats.rankdata(items, axis=0)
    u = ranks[positive].sum(axis=0) - n_positive * (n_positive + 1) / 2
    area: Array = np.asarray(u / (n_positive * n_negative))
    return area


def rank_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Give Spearman's rank correlation of each column, (n, ...) and (n, ...) to (...,).

    nan where a column is constant or n < 2.
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.shape != other.shape:
        raise ValueError(f"both must have one shape, got {one.shape} and {other.shape}")
    if len(one) < 2:
        return np.full(one.shape[1:], np.nan)
    x, y = (stats.rankdata(v, axis=0) - (len(one) + 1) / 2 for v in (one, other))
    with np.errstate(invalid="ignore"):
        length = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
        return np.asarray((x * y).sum(axis=0) / np.where(length > 0, length, np.nan))


def entropy(weights: npt.ArrayLike) -> Array:
    """Give the entropy of non-negative weights over the last axis, in nats.

    Weights are divided by their sum; nan where it is 0.
    """
    rows = np.asarray(weights, float)
    if rows.size and rows.min() < 0:
        raise ValueError(f"weights must be >= 0, got {rows.min():.3g}")
    total = rows.sum(axis=-1, keepdims=True)
    p = rows / np.where(total > 0, total, np.nan)
    logs = np.log(np.where(p > 0, p, 1))
    nats: Array = np.asarray(np.abs((p * logs).sum(axis=-1)))
    return nats


def false_discovery_q(p: npt.ArrayLike) -> Array:
    """Adjust p-values for their number (Benjamini and Hochberg); nan stays nan."""
    values = np.asarray(p, float)
    known = ~np.isnan(values)
    q = np.full(values.shape, np.nan)
    if known.any():
        q[known] = stats.false_discovery_control(values[known])
    return q


def _finite_row(values: npt.ArrayLike) -> Array:
    row = np.asarray(values, float)
    if row.ndim != 1:
        raise ValueError(f"values must have shape (n,), got {row.shape}")
    if not np.isfinite(row).all():
        raise ValueError(
            f"values must be finite, got {int((~np.isfinite(row)).sum())} that are not"
        )
    return row


def _pairs(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Array, Array]:
    one, other = _finite_row(first), _finite_row(second)
    if len(one) != len(other):
        raise ValueError(f"pairs must be of one length, got {len(one)} and {len(other)}")
    return one, other
