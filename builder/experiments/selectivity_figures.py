"""Figures of selectivity: of units that stand for categories beside random ones, by category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from builder.experiments.category_units import N_PERMUTATIONS, CategoryUnits, Selectivity
from builder.experiments.experiment import Figure, estimated, left_out
from builder.experiments.intervals import mean_estimate, paired_p, share_estimate
from builder.experiments.words import WordLists

ENTROPY = "entropy over categories"
BELOW_CHANCE = "entropy over categories below that of shuffled images"
FIRING = "entropy over categories of how often units fire"
MARGIN = "activation on the unit's own category above that on all"


@dataclass(frozen=True, slots=True)
class View:
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


def arm_figures(name: str, units: CategoryUnits, view: View) -> Iterator[Figure]:
    """Compare units of categories with one random unit of the same layer for each."""
    known = np.array([view.random_of[u] >= 0 for u in units.uid.tolist()], dtype=bool)
    if not known.any():
        yield left_out(ENTROPY, "No unit is left.", arm=name)
        return
    uid = units.uid[known]
    own = np.searchsorted(view.category_ids, units.category_id[known])
    drawn = np.array([view.random_of[u] for u in uid.tolist()])
    control = f"random units for {name}"
    rows = {name: view.rows(uid), control: view.rows(drawn)}
    # A unit may stand for several categories: its entropy counts once.
    first = np.unique(uid, return_index=True)[1]
    once = {arm: at[first] for arm, at in rows.items()}
    most = np.log(len(view.category_ids))
    note = f"At most {most:.2f} with {len(view.category_ids)} categories; over units."
    yield from _entropies(ENTROPY, view.found.entropy, once, view.seed, note)
    note = f"A unit fires above its 95th percentile over all patches. {note}"
    yield from _entropies(FIRING, view.found.firing, once, view.seed, note)
    note = f"Mean of {N_PERMUTATIONS} shuffles less the unit's own; over units."
    yield from _entropies(BELOW_CHANCE, view.found.below_chance, once, view.seed, note)
    for arm, at in rows.items():
        more = {"arm": arm, "control": control if arm == name else ""}
        yield estimated(
            share_estimate(view.found.p[once[arm]] < 0.05),
            figure="units whose entropy is lower than by chance",
            measure="share",
            note=f"p < .05 in {N_PERMUTATIONS} shuffles of the images.",
            **more,
        )
        yield from _own_category(view.found.means[at], own, view.seed, more)


def _entropies(
    figure: str,
    values: npt.NDArray[np.float64],
    rows: Mapping[str, npt.NDArray[np.int64]],
    seed: int,
    note: str,
) -> Iterator[Figure]:
    """Compare two arms' entropies, of which a lower one is better, or how far they are below."""
    (name, top), (control, drawn) = ((arm, values[at]) for arm, at in rows.items())
    both = ~(np.isnan(top) | np.isnan(drawn))
    is_better = "greater" if figure == BELOW_CHANCE else "lower"
    sign = 1 if figure == BELOW_CHANCE else -1
    p = paired_p(sign * top[both], sign * drawn[both], seed=seed)
    for arm, of in ((name, top), (control, drawn)):
        yield estimated(
            mean_estimate(of[~np.isnan(of)], seed=seed),
            figure=figure,
            measure="nats",
            arm=arm,
            control=control if arm == name else name,
            p_value=None if np.isnan(p) else p,
            note=f"p: whether the top units' is {is_better}. {note}" if arm == name else "",
        )


def _own_category(
    means: npt.NDArray[np.float64], own: npt.NDArray[np.int64], seed: int, more: Mapping[str, Any]
) -> Iterator[Figure]:
    """Say how units stand to the categories that they were chosen for."""
    yield estimated(
        share_estimate(means.argmax(axis=1) == own),
        figure="units most active on their own category",
        measure="share",
        note=f"Of pairs of unit and category; 1 / {means.shape[1]} by chance.",
        **more,
    )
    yield estimated(
        mean_estimate(own_margin(means, own), seed=seed),
        figure=MARGIN,
        measure="deviations over categories",
        **more,
    )


def category_figures(units: CategoryUnits, view: View, lists: WordLists) -> Iterator[Figure]:
    """Give each category's own figure, of units that are not always on."""
    for column, category_id in enumerate(view.category_ids):
        uid = units.uid[units.category_id == category_id]
        name = lists.by_id[int(category_id)].name
        if len(uid) == 0:
            yield left_out(MARGIN, "No unit is in a top 100 of its images.", part=name)
            continue
        means = view.found.means[view.rows(uid)]
        own = np.full(len(uid), column)
        yield estimated(
            mean_estimate(own_margin(means, own), seed=view.seed),
            figure=MARGIN,
            measure="deviations over categories",
            arm="top units, without always-on units",
            part=name,
            note=f"{(means.argmax(axis=1) == column).mean():.0%} of them most active on it.",
        )
