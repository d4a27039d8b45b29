"""Units zeroed one at a time."""

import numpy as np
import pyarrow as pa
import pytest
from planted import Planted

from builder.experiments.context import ExperimentContext
from builder.experiments.single_units import SINGLE_UNITS, Pairs, choose_pairs, unit_table


def test_the_lone_unit_alone_matters(lone_context: ExperimentContext, lone: Planted) -> None:
    outcome = SINGLE_UNITS.run(lone_context)
    (row,) = outcome.tables["unit_effects"].to_pylist()
    assert row["uid"] == lone.uid
    assert row["n_images"] == 4  # of five, those with its greatest attribution
    assert row["logit_drop"] > 0.5
    assert row["relative_drop"] > 0
    assert row["random_logit_drop"] == 0
    figures = {(f.figure, f.arm): f for f in outcome.figures}
    assert figures["relative drop of p(target)", "top unit"].n == 1


def test_pairs_are_of_the_best_images(lone_context: ExperimentContext, lone: Planted) -> None:
    pairs = choose_pairs(lone_context, 10, 2)
    top = lone_context.run.top_units.to_pylist()
    by_attribution = sorted(top, key=lambda row: -row["attribution"])
    assert pairs.uid.tolist() == [lone.uid] * 2
    assert sorted(pairs.image_id.tolist()) == sorted(r["image_id"] for r in by_attribution[:2])
    layer = lone.uid // lone_context.run.units_per_layer
    assert set(pairs.random_uid // lone_context.run.units_per_layer) == {layer}
    assert lone.uid not in pairs.random_uid


def test_averages_by_hand() -> None:
    pairs = Pairs(np.array([4, 4, 9]), np.array([1, 2, 1]), np.array([7, 7, 8]))
    drops = {(1, 4): 1.0, (2, 4): 3.0, (1, 9): 5.0, (1, 7): 0.5, (2, 7): 0.0, (1, 8): -1.0}
    results = pa.Table.from_pylist(
        [
            {
                "image_id": image_id, "uid": uid, "is_random": uid in (7, 8),
                "logit_drop": drop, "prob_drop": drop / 10, "relative_drop": drop / 100,
            }
            for (image_id, uid), drop in drops.items()
        ]
    )  # fmt: skip
    four, nine = unit_table(results, pairs).to_pylist()
    assert (four["uid"], four["n_images"], four["logit_drop"]) == (4, 2, 2.0)
    assert four["random_logit_drop"] == 0.25
    assert four["prob_drop"] == pytest.approx(0.2)
    assert (nine["uid"], nine["n_images"], nine["random_logit_drop"]) == (9, 1, -1.0)
