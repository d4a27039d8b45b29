"""Units that are in every image's top 100, and what the results are without them.

Some units score high on whatever is shown (Schwettmann et al. 2023: L10.U927 and others). Here is
how many units are in the top 100 of more than so many images, which share of all places they take,
and how much the top units of two images have in common with and without them: images of one target
word should share more than images of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from atlas_db.run_format import ALWAYS_ON_MIN_FREQUENCY, ALWAYS_ON_MIN_RATIO
from builder.experiments.context import ExperimentContext
from builder.experiments.experiment import Experiment, Figure, Outcome, estimated, left_out
from builder.experiments.intervals import mean_estimate

#: Shares of the images above which units are counted.
FREQUENCIES = (0.1, 0.25, 0.5, 0.75, 0.9)
COUNT = "units in the top 100 of more images than"
PLACES = "places that these units take"
OVERLAP = "top units that two images share"
INTERPRETABLE = "interpretable among the top units"

Sets = Mapping[int, npt.NDArray[np.int64]]


def run_always_on(context: ExperimentContext) -> Outcome:
    """Count frequent units, and compare results with and without those that are always on."""
    run = context.run
    if run.top_units.num_rows == 0:
        return Outcome([left_out(COUNT, "No image has a top unit.")])
    figures = list(_counts(context))
    n_always_on = int(run.is_always_on.sum())
    note = f"{n_always_on} units are always on."
    everything = np.ones(run.n_units, dtype=bool)
    for arm, is_kept in (("all", everything), ("without always-on", ~run.is_always_on)):
        sets = top_sets(context, is_kept)
        figures += _overlaps(context, arm, sets, note)
        shares = [run.is_interpretable[units].mean() for units in sets.values() if len(units)]
        estimate = mean_estimate(shares, seed=context.settings.seed)
        columns = {"figure": INTERPRETABLE, "measure": "share", "arm": arm, "note": note}
        figures.append(estimated(estimate, **columns))
    return Outcome(figures)


def _counts(context: ExperimentContext) -> Iterator[Figure]:
    run = context.run
    uid = run.top_units["uid"].to_numpy()
    for frequency in FREQUENCIES:
        is_frequent = run.image_frequency > frequency
        part = f"{frequency:.0%} of the images"
        count = int(is_frequent.sum())
        yield Figure(figure=COUNT, measure="units", part=part, value=count, n=run.n_units)
        share = float(is_frequent[uid].mean())
        yield Figure(figure=PLACES, measure="share", part=part, value=share, n=len(uid))
    yield Figure(
        figure="units that are always on",
        measure="units",
        value=int(run.is_always_on.sum()),
        n=run.n_units,
        note=f"In the top 100 of more than {ALWAYS_ON_MIN_FREQUENCY:.0%} of the images and of "
        f"{ALWAYS_ON_MIN_RATIO:g} times as many as units are on average.",
    )


def top_sets(context: ExperimentContext, is_kept: npt.NDArray[np.bool_]) -> Sets:
    """Give the top units of each image of the sample that has any, by image_id."""
    uid = context.run.top_units["uid"].to_numpy()
    image = context.run.top_units["image_id"].to_numpy()  # ascending
    starts = np.searchsorted(image, context.sample, side="left")
    stops = np.searchsorted(image, context.sample, side="right")
    return {
        int(image_id): uid[start:stop][is_kept[uid[start:stop]]].astype(np.int64)
        for image_id, start, stop in zip(context.sample, starts, stops, strict=True)
        if stop > start
    }


def overlap(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    """Give the share of the smaller set that is in the other too."""
    smaller = min(len(first), len(second))
    return len(np.intersect1d(first, second)) / smaller if smaller else 0.0


def _overlaps(context: ExperimentContext, arm: str, sets: Sets, note: str) -> Iterator[Figure]:
    """Pair each image with one of the same target word and with one of another, at random."""
    targets = context.run.targets
    words = dict(zip(targets["image_id"].to_pylist(), targets["word"].to_pylist(), strict=True))
    ids = np.array(sorted(sets))
    word = np.array([words[int(image_id)] for image_id in ids])
    values: dict[str, list[float]] = {"same target": [], "other target": []}
    for image_id, own in zip(ids, word, strict=True):
        random = context.random(int(image_id))
        for kind, others in (("same target", word == own), ("other target", word != own)):
            candidates = ids[others & (ids != image_id)]
            if len(candidates):
                other = int(random.choice(candidates))
                values[kind].append(overlap(sets[int(image_id)], sets[other]))
    for kind, found in values.items():
        estimate = mean_estimate(found, seed=context.settings.seed)
        remark = note if found else f"There are no two images of the {kind}."
        columns = {"figure": OVERLAP, "measure": "share", "arm": arm, "part": kind}
        yield estimated(estimate, **columns, note=remark)


ALWAYS_ON = Experiment(
    name="always_on",
    title="How many units score high on any image, and what is left without them?",
    run=run_always_on,
    settings={"frequencies": list(FREQUENCIES)},
)
