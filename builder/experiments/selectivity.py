"""Are units active on one kind of thing? Mean activation by category, and its entropy.

Schwettmann et al. 2023 (arXiv 2308.01544), section 3.2: for each category the N_UNITS units that
are in the top 100 of most of its images, and how active they are on the images of each category.
A unit's activation on an image is its greatest over the patches. The entropy over categories is
that of the mean positive activation, divided by its sum, as Huo et al. 2024 (arXiv 2406.11193) do
over domains; 0 is a unit of one category alone, ln(n_categories) one that knows no difference.
Its p-value is the share of shuffles of the images (all their categories together) that give an
entropy as low. A unit that is active on few images, as sparse units are, has a low entropy whatever
they show; so how far it lies below the mean one of the shuffles is given too. A unit that is
somewhat active everywhere has a high one, so the same is measured of how often a unit fires: of its
images of each category, those where it exceeds, at one patch at least, its 95th percentile over all
patches of all images; every unit exceeds that as often.

Units are chosen by attribution, and measured by activation, on the same images.

The control is one random unit of the same layer for each. Units that are always on stand for no
category; the arm "without always-on units" chooses others in their place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.category_units import (
    N_PERMUTATIONS,
    N_UNITS,
    CategoryUnits,
    choose_units,
    measure,
    top_of_sample,
)
from builder.experiments.contents import contents_of, word_settings
from builder.experiments.context import ExperimentContext
from builder.experiments.controls import random_units_of_layers
from builder.experiments.experiment import Experiment, Outcome, nothing
from builder.experiments.peaks import MIN_IMAGES, membership, peak_activations, too_few
from builder.experiments.selectivity_figures import (
    ENTROPY,
    MARGIN,
    View,
    arm_figures,
    category_figures,
)
from builder.experiments.specificity import unit_thresholds

TABLES = ("category_units", "unit_category_activations", "unit_selectivity")


def run_selectivity(context: ExperimentContext) -> Outcome:
    """Choose the categories' units, see how active they are, and compare with random units."""
    contents = contents_of(context)
    category_ids, is_in = membership(context.sample, contents.categories_of)
    if len(category_ids) < 2:
        reason = f"Fewer than two categories have {MIN_IMAGES} images in the sample."
        return nothing(TABLES, ENTROPY, reason)
    tops = top_of_sample(context)
    chosen = choose_units(tops, is_in, category_ids, np.ones(context.run.n_units, bool))
    without = choose_units(tops, is_in, category_ids, ~context.run.is_always_on)
    uid = np.unique(np.concatenate([chosen.uid, without.uid]))
    drawn = random_units_of_layers(uid, context.run.units_per_layer, context.random(3))
    both = np.concatenate([uid, drawn[drawn >= 0]])
    peaks = peak_activations(context, context.sample, both)
    thresholds = unit_thresholds(context.run)[both]
    found = measure(peaks, thresholds, is_in, context.random(4))
    arms = {"top units": chosen, "top units, without always-on units": without}
    random_of = dict(zip(uid.tolist(), drawn.tolist(), strict=True))
    view = View(both, category_ids, found, random_of, context.settings.seed)
    figures = [f for name, units in arms.items() for f in arm_figures(name, units, view)]
    figures += category_figures(without, view, contents.lists)
    figures += too_few(MARGIN, category_ids, contents.lists)
    return Outcome(figures, _tables(chosen, view, is_in, len(uid)))


def _tables(
    chosen: CategoryUnits, view: View, is_in: npt.NDArray[np.bool_], n_top: int
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
