"""The units that stand for categories, and how active units are on each category's images.

See `selectivity` for what is measured and why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from builder.experiments.context import ExperimentContext
from builder.experiments.intervals import entropy, permutation_p
from builder.experiments.peaks import mean_by_category

N_UNITS = 20
N_PERMUTATIONS = 999


@dataclass(frozen=True, slots=True)
class CategoryUnits:
    """The units of each category: (n,) rows, by category and rank from 1."""

    category_id: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    uid: npt.NDArray[np.int64]
    n_images: npt.NDArray[np.int64]


def top_of_sample(context: ExperimentContext) -> tuple[npt.NDArray[np.int64], ...]:
    """Give rows (of the sample, from 0) and units of all top 100s of the sample."""
    ids, uid = (context.run.top_units[name].to_numpy() for name in ("image_id", "uid"))
    row = np.searchsorted(context.sample, ids).clip(max=len(context.sample) - 1)
    is_sampled = context.sample[row] == ids
    return row[is_sampled], uid[is_sampled].astype(np.int64)


def choose_units(
    tops: tuple[npt.NDArray[np.int64], ...],
    is_in: npt.NDArray[np.bool_],
    category_ids: npt.NDArray[np.int64],
    may_be: npt.NDArray[np.bool_],
) -> CategoryUnits:
    """Choose for each category the N_UNITS units in the top 100 of most of its images.

    Args:
        tops: Image rows and units of the top 100s, (n,) each.
        is_in: (n_images, n_categories).
        category_ids: (n_categories,).
        may_be: (n_units,): which units may be chosen.

    Ties go to the unit that is in fewer top 100s of all images, then to the smaller uid.
    """
    row, uid = tops
    of_all = np.bincount(uid, minlength=len(may_be))
    columns: list[npt.NDArray[np.int64]] = []
    for column, category_id in enumerate(category_ids):
        counts = np.bincount(uid[is_in[row, column]], minlength=len(may_be)) * may_be
        known = np.flatnonzero(counts)
        order = known[np.lexsort((known, of_all[known], -counts[known]))][:N_UNITS]
        n = len(order)
        ranks = np.arange(1, n + 1)
        columns.append(np.stack([np.full(n, category_id), ranks, order, counts[order]]))
    return CategoryUnits(*np.concatenate(columns, axis=1))


@dataclass(frozen=True, slots=True)
class Selectivity:
    """Of units (n_units,): how active they are by category.

    Attributes:
        means: Mean activation, (n_units, n_categories).
        entropy, p: Of the positive activation over categories, and its p-value.
        below_chance: How far the entropy is below the mean one of shuffled images, in nats.
        firing: Entropy of how often a unit fires.
    """

    means: npt.NDArray[np.float64]
    entropy: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    below_chance: npt.NDArray[np.float64]
    firing: npt.NDArray[np.float64]


def measure(
    peaks: npt.NDArray[np.floating],
    thresholds: npt.NDArray[np.floating],
    is_in: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> Selectivity:
    """Average by category, and test the entropy by shuffling the images.

    Args:
        peaks: (n_images, n_units).
        thresholds: (n_units,) above which a unit fires.
        is_in: (n_images, n_categories).
    """
    positive = np.maximum(peaks, 0).astype(np.float64)
    found = entropy(mean_by_category(positive, is_in))
    permuted = np.empty((N_PERMUTATIONS, len(found)))
    for i in range(N_PERMUTATIONS):
        permuted[i] = entropy(mean_by_category(positive, is_in[rng.permutation(len(is_in))]))
    p = permutation_p(-found, -permuted)
    firing = entropy(mean_by_category((peaks > thresholds).astype(np.float64), is_in))
    p = np.where(np.isnan(found), np.nan, p)
    below = permuted.mean(axis=0) - found
    return Selectivity(mean_by_category(peaks, is_in), found, p, below, firing)
