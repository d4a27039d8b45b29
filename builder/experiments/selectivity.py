"""Are units active on one kind of thing? Mean activation by category, and its entropy.

Schwettmann et al. 2023 (arXiv 2308.01544), section 3.2: for each category the N_UNITS units that
are in the top 100 of most of its images, and how active they are on the images of each category.
A unit's activation on an image is its greatest over the patches. The entropy over categories is
that of the mean positive activation, divided by its sum, as Huo et al. 2024 (arXiv 2406.11193) do
over domains; 0 is a unit of one category alone, ln(n_categories) one that knows no difference.
Its p-value is the share of shuffles of the images (all their categories together) that give an
entropy as low.

The control is one random unit of the same layer for each. Units that are always on stand for no
category; the arm "without always-on units" chooses others in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.contents import contents_of, word_settings
from builder.experiments.context import ExperimentContext
from builder.experiments.controls import random_units_of_layers
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, left_out, nothing
from builder.experiments.intervals import (
    entropy,
    mean_estimate,
    paired_p,
    permutation_p,
    share_estimate,
)
from builder.experiments.peaks import MIN_IMAGES, mean_by_category, membership, peak_activations
from builder.experiments.words import WordLists

N_UNITS = 20
N_PERMUTATIONS = 999
TABLES = ("category_units", "unit_category_activations", "unit_selectivity")


@dataclass(frozen=True, slots=True)
class CategoryUnits:
    """The units of each category: (n,) rows, by category and rank from 1."""

    category_id: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    uid: npt.NDArray[np.int64]
    n_images: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Selectivity:
    """Of units (n_units,): mean activation by category (n_units, n_categories), entropy and p."""

    means: npt.NDArray[np.float64]
    entropy: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]


def run_selectivity(context: ExperimentContext) -> Outcome:
    """Choose the categories' units, see how active they are, and compare with random units."""
    contents = contents_of(context)
    category_ids, is_in = membership(context.sample, contents.categories_of)
    if len(category_ids) < 2:
        reason = f"Fewer than two categories have {MIN_IMAGES} images in the sample."
        return nothing(TABLES, "entropy over categories", reason)
    tops = top_of_sample(context)
    chosen = choose_units(tops, is_in, category_ids, np.ones(context.run.n_units, bool))
    without = choose_units(tops, is_in, category_ids, ~context.run.is_always_on)
    uid = np.unique(np.concatenate([chosen.uid, without.uid]))
    drawn = random_units_of_layers(uid, context.run.units_per_layer, context.random(3))
    both = np.concatenate([uid, drawn[drawn >= 0]])
    peaks = peak_activations(context, context.sample, both)
    found = measure(peaks, is_in, context.random(4))
    arms = {"top units": chosen, "top units, without always-on units": without}
    random_of = dict(zip(uid.tolist(), drawn.tolist(), strict=True))
    view = _View(both, category_ids, found, random_of, context.settings.seed)
    figures = [f for name, units in arms.items() for f in _figures(name, units, view)]
    figures += _of_categories(without, view, contents.lists)
    return Outcome(figures, _tables(chosen, view, is_in, len(uid)))


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


def measure(
    peaks: npt.NDArray[np.floating], is_in: npt.NDArray[np.bool_], rng: np.random.Generator
) -> Selectivity:
    """Average by category, and test the entropy by shuffling the images.

    Args:
        peaks: (n_images, n_units).
        is_in: (n_images, n_categories).
    """
    positive = np.maximum(peaks, 0).astype(np.float64)
    found = entropy(mean_by_category(positive, is_in))
    permuted = np.empty((N_PERMUTATIONS, len(found)))
    for i in range(N_PERMUTATIONS):
        permuted[i] = entropy(mean_by_category(positive, is_in[rng.permutation(len(is_in))]))
    p = permutation_p(-found, -permuted)
    return Selectivity(mean_by_category(peaks, is_in), found, np.where(np.isnan(found), np.nan, p))


@dataclass(frozen=True, slots=True)
class _View:
    """What was measured, by uid."""

    uid: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    found: Selectivity
    random_of: Mapping[int, int]
    seed: int

    def rows(self, uid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Find the rows of units; those without a random unit (-1) must not be asked for."""
        order = np.argsort(self.uid)
        return order[np.searchsorted(self.uid, uid, sorter=order)]


def own_margin(means: npt.NDArray[np.float64], own: npt.NDArray[np.int64]) -> npt.NDArray:
    """Say how far a unit's mean on its own category is above that on all, in deviations over them.

    Args:
        means: (n, n_categories); own: (n,) columns.

    Returns:
        (n,); 0 for a unit that is as active on all.
    """
    spread = means.std(axis=1)
    above = means[np.arange(len(means)), own] - means.mean(axis=1)
    return np.divide(above, spread, out=np.zeros(len(means)), where=spread > 0)


def _figures(name: str, units: CategoryUnits, view: _View) -> Iterator[Figure]:
    known = np.array([view.random_of[u] >= 0 for u in units.uid.tolist()], dtype=bool)
    if not known.any():
        yield left_out("entropy over categories", "No unit is left.", arm=name)
        return
    uid = units.uid[known]
    own = np.searchsorted(view.category_ids, units.category_id[known])
    drawn = np.array([view.random_of[u] for u in uid.tolist()])
    arms = {name: view.rows(uid), f"random units for {name}": view.rows(drawn)}
    control = f"random units for {name}"
    values = {
        arm: (view.found.entropy[at], view.found.p[at], view.found.means[at])
        for arm, at in arms.items()
    }
    # A unit may stand for several categories: its entropy counts once.
    first = np.unique(uid, return_index=True)[1]
    bits = {arm: entropies[first] for arm, (entropies, _, _) in values.items()}
    both = ~(np.isnan(bits[name]) | np.isnan(bits[control]))
    p = paired_p(bits[control][both], bits[name][both], seed=view.seed)
    n_categories = len(view.category_ids)
    for arm, (_, p_values, means) in values.items():
        is_top = arm == name
        more = {"arm": arm, "control": control if is_top else ""}
        yield estimated(
            mean_estimate(bits[arm][~np.isnan(bits[arm])], seed=view.seed),
            figure="entropy over categories",
            measure="nats",
            p_value=p if is_top and not np.isnan(p) else None,
            note=f"At most {np.log(n_categories):.2f} with {n_categories} categories; over units.",
            **more,
        )
        yield estimated(
            share_estimate(p_values[first] < 0.05),
            figure="units whose entropy is lower than by chance",
            measure="share",
            note=f"p < .05 in {N_PERMUTATIONS} shuffles of the images.",
            **more,
        )
        yield estimated(
            share_estimate(means.argmax(axis=1) == own),
            figure="units most active on their own category",
            measure="share",
            note=f"Of pairs of unit and category; 1 / {n_categories} by chance.",
            **more,
        )
        yield estimated(
            mean_estimate(own_margin(means, own), seed=view.seed),
            figure="activation on the unit's own category above that on all",
            measure="deviations over categories",
            **more,
        )


def _of_categories(units: CategoryUnits, view: _View, lists: WordLists) -> Iterator[Figure]:
    """Give each category's own figure, of units that are not always on."""
    for column, category_id in enumerate(view.category_ids):
        uid = units.uid[units.category_id == category_id]
        name = lists.by_id[int(category_id)].name
        figure = "activation on the unit's own category above that on all"
        if len(uid) == 0:
            yield left_out(figure, "No unit is in a top 100 of its images.", part=name)
            continue
        means = view.found.means[view.rows(uid)]
        own = np.full(len(uid), column)
        yield estimated(
            mean_estimate(own_margin(means, own), seed=view.seed),
            figure=figure,
            measure="deviations over categories",
            arm="top units, without always-on units",
            part=name,
            note=f"{(means.argmax(axis=1) == column).mean():.0%} of them most active on it.",
        )


def _tables(
    chosen: CategoryUnits, view: _View, is_in: npt.NDArray[np.bool_], n_top: int
) -> dict[str, pa.Table]:
    """Write the tables, for the top units and not for the random ones."""
    uid, means = view.uid[:n_top], view.found.means[:n_top]
    n_categories = len(view.category_ids)
    p = [None if np.isnan(value) else value for value in view.found.p[:n_top].tolist()]
    tables = {
        "category_units": {
            name: getattr(chosen, name) for name in ("category_id", "rank", "uid", "n_images")
        },
        "unit_category_activations": {
            "uid": np.repeat(uid, n_categories),
            "category_id": np.tile(view.category_ids, n_top),
            "n_images": np.tile(is_in.sum(axis=0), n_top),
            "activation": means.ravel(),
        },
        "unit_selectivity": {
            "uid": uid,
            "n_categories": (chosen.uid[:, None] == uid).sum(axis=0),
            "entropy": np.nan_to_num(view.found.entropy[:n_top], nan=np.log(n_categories)),
            "entropy_p": p,
            "best_category_id": view.category_ids[means.argmax(axis=1)],
        },
    }
    return {
        name: pa.table(columns)
        .select(EXPERIMENT_SCHEMAS[name].names)
        .cast(EXPERIMENT_SCHEMAS[name])
        for name, columns in tables.items()
    }


SELECTIVITY = Experiment(
    name="selectivity",
    title="Are units that stand for a category most active on it?",
    run=run_selectivity,
    tables=TABLES,
    settings=lambda context: {
        "n_units": N_UNITS,
        "n_permutations": N_PERMUTATIONS,
        **word_settings(context),
    },
)
