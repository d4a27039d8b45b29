"""Ablation: rankings and arms by hand, the curve of a network in which one unit alone counts."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.experiments.ablation import ABLATION, curve, other_units, random_units
from builder.experiments.ablation_figures import ablation_figures
from builder.experiments.context import ExperimentContext
from builder.experiments.rankings import Ranking, top_units, uid_tensor


def test_the_paper_s_curve() -> None:
    assert curve(458_752) == [50, 100, 200, 400, 800, 1600, 3200, 6400]
    assert curve(4608) == [1, 2, 4, 8, 16, 32, 64]
    assert curve(10) == [1]


def test_ranking_by_hand() -> None:
    attribution = torch.tensor([[0.5, 0.0, 2.0, -3.0, 0.5], [-1.0, -1.0, -1.0, -1.0, 0.1]])
    everything = torch.ones(5, dtype=torch.bool)
    first, second = top_units(attribution, everything, 3)
    assert first.tolist() == [2, 0, 4]  # a tie goes to the smaller uid
    assert second.tolist() == [4]  # what lowers the target is in no ranking
    (first, _) = top_units(attribution, torch.tensor([True, True, False, True, True]), 1)
    assert first.tolist() == [0]
    assert uid_tensor([first, np.array([3, 1])], torch.device("cpu")).tolist() == [[0, -1], [3, 1]]


def ranking(image_id: int, token_id: int, top: list[int]) -> Ranking:
    tops = {"all": np.array(top, dtype=np.int64)}
    return Ranking(image_id, "a cat", [token_id], 0, token_id, tops)


def test_random_units_are_others_of_the_same_layers(lone_context: ExperimentContext) -> None:
    d = lone_context.run.units_per_layer
    top = [3, d + 1, 5, 7, d + 2]
    chosen = random_units(lone_context, ranking(1, 0, top), 0)
    assert (chosen // d).tolist() == [0, 1, 0, 0, 1]
    assert len(set(chosen.tolist()) | set(top)) == 10
    assert chosen.tolist() == random_units(lone_context, ranking(1, 0, top), 0).tolist()
    assert chosen.tolist() != random_units(lone_context, ranking(1, 0, top), 1).tolist()
    assert chosen.tolist() != random_units(lone_context, ranking(2, 0, top), 0).tolist()


def test_a_layer_without_others_ends_the_list(lone_context: ExperimentContext) -> None:
    d = lone_context.run.units_per_layer
    top = [d, *range(d)]
    chosen = random_units(lone_context, ranking(1, 0, top), 0)
    assert len(chosen) == 1
    assert chosen[0] // d == 1


def test_other_images_have_another_target() -> None:
    rankings = [ranking(1, 8, [1]), ranking(2, 8, [2]), ranking(3, 9, [3])]
    found = {i: units.tolist() for i, units in other_units(rankings).items()}
    assert found == {1: [3], 2: [3], 3: [1]}
    assert other_units(rankings[:2])[1].tolist() == []


def rows(arm: str, k: int, draw: int, probs: dict[int, float]) -> list[dict[str, object]]:
    return [
        {
            "image_id": image_id, "target": 0, "arm": arm, "draw": draw, "k": k, "prob": prob,
            "logit": 2 * prob, "relative_drop": 1 - prob / 0.8,
            "caption": "a dog" if (image_id, arm) == (1, "all") else "a cat",
        }
        for image_id, prob in probs.items()
    ]  # fmt: skip


def test_figures_by_hand(lone_context: ExperimentContext) -> None:
    """Two images with p = .8; the top unit leaves .2 and .4, two random draws .8 and .6 each."""
    table = pa.Table.from_pylist(
        [
            *rows("none", 0, 0, {1: 0.8, 2: 0.8}),
            *rows("all", 1, 0, {1: 0.2, 2: 0.4}),
            *rows("random", 1, 0, {1: 0.8, 2: 0.8}),
            *rows("random", 1, 1, {1: 0.6, 2: 0.6}),
            *rows("interpretable", 1, 0, {2: 0.4}),
        ],
        schema=EXPERIMENT_SCHEMAS["ablations"],
    )
    figures = ablation_figures(table, [1], lone_context)
    found = {(f.figure, f.arm): f for f in figures}
    drop = "relative drop of p(target)"
    assert found["p(target)", "none"].value == pytest.approx(0.8)
    assert found[drop, "all"].value == pytest.approx((0.75 + 0.5) / 2)
    assert found[drop, "all"].n == 2
    assert found[drop, "all"].control == "random"
    assert found[drop, "random"].value == pytest.approx(0.125)  # of draws, then of images
    assert found[drop, "random"].n == 2
    assert found["drop of the target's logit", "all"].value == pytest.approx(1.6 - 0.6)
    assert found["captions that change", "all"].value == pytest.approx(0.5)
    assert found[drop, "interpretable"].n == 1
    assert "1 of 2 images" in found[drop, "interpretable"].note
    assert found[f"{drop}, k = 1", "other image"].value is None
    assert "different targets" in found[f"{drop}, k = 1", "other image"].note


def test_one_unit_alone_carries_the_target(lone_context: ExperimentContext) -> None:
    outcome = ABLATION.run(lone_context)
    table = outcome.tables["ablations"].to_pylist()
    of_all = [row for row in table if row["arm"] == "all"]
    assert {row["k"] for row in of_all} == {1}  # one unit has an attribution above 0
    assert len(of_all) == len(lone_context.sample)
    before = {row["image_id"]: row["logit"] for row in table if row["arm"] == "none"}
    assert all(before[row["image_id"]] - row["logit"] > 0.5 for row in of_all)
    assert all(row["relative_drop"] > 0 for row in of_all)
    random = [row for row in table if row["arm"] == "random"]
    assert random
    # The others write nothing: zeroing them changes not even the last bit.
    assert all(row["logit"] == before[row["image_id"]] for row in random)
    assert all(row["caption"] in (None, *_captions(table)) for row in random)
    json.dumps(ABLATION.own_settings(lone_context))


def _captions(table: list[dict[str, object]]) -> set[object]:
    return {row["caption"] for row in table if row["arm"] == "none"}


def test_batches_and_chunks_do_not_change_it(lone_context: ExperimentContext) -> None:
    from dataclasses import replace

    alone = ABLATION.run(replace(lone_context, batch_size=1)).tables["ablations"]
    together = ABLATION.run(replace(lone_context, batch_size=5)).tables["ablations"]
    keys = ["image_id", "arm", "draw", "k"]
    order = [(key, "ascending") for key in keys]
    alone, together = alone.sort_by(order), together.sort_by(order)
    assert alone.select(keys).equals(together.select(keys))
    np.testing.assert_allclose(alone["logit"].to_numpy(), together["logit"].to_numpy(), atol=1e-4)
