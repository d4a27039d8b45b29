"""Averages of overlaps worked out by hand, and the figures made of them."""

import pyarrow as pa
import pytest

from builder.experiments.specificity import _PAIR_SCHEMA
from builder.experiments.specificity_figures import by_image, category_table, figures, unit_table
from builder.experiments.words import word_lists

LISTS = word_lists(
    [
        {"category_id": 1, "name": "boat", "supercategory": "vehicle"},
        {"category_id": 2, "name": "dog", "supercategory": "animal"},
    ]
)


def row(image_id: int, category_id: int, uid: int, top: float, random: float | None) -> dict:
    return {
        "image_id": image_id,
        "category_id": category_id,
        "is_single": image_id % 2 == 0,
        "uid": uid,
        "object_share": 0.1,
        "top_own": top,
        "top_unit": top / 2,
        "random_own": random,
        "random_unit": random,
        "other_own": 0.0,
        "other_unit": 0.0,
    }


def table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=_PAIR_SCHEMA)


def test_units_of_one_image_are_averaged_first() -> None:
    rows = table([row(3, 1, 7, 0.4, 0.1), row(3, 1, 8, 0.2, None), row(2, 2, 7, 0.5, 0.3)])
    found = by_image(rows)
    assert found["image_id"].tolist() == [2, 3]
    assert found["top_own"].tolist() == pytest.approx([0.5, 0.3])
    assert found["random_own"].tolist() == pytest.approx([0.3, 0.1])
    assert found["is_single"].tolist() == [1, 0]


def test_tables_average_over_images_by_unit_and_category() -> None:
    rows = table([row(1, 1, 7, 0.4, 0.1), row(2, 2, 7, 0.2, 0.3), row(2, 2, 8, 0.6, None)])
    units = unit_table(rows).to_pylist()
    assert [(u["uid"], u["n_images"]) for u in units] == [(7, 2), (8, 1)]
    assert units[0]["iou"] == pytest.approx(0.3)
    assert units[0]["random_iou"] == pytest.approx(0.2)
    assert units[0]["iou_bound"] == pytest.approx(0.5)
    found = [(u["uid"], u["category_id"], u["n_images"]) for u in category_table(rows).to_pylist()]
    assert found == [(7, 1, 1), (7, 2, 1), (8, 2, 1)]


def test_figures_compare_with_random_units_and_name_what_is_left_out() -> None:
    rows = [row(i, 1, 7, 0.30 + i / 1000, 0.1) for i in range(12)] + [row(50, 2, 7, 0.2, 0.1)]
    found = figures(table(rows), LISTS, n_sample=20, seed=0)
    whole = {f.arm: f for f in found if (f.figure, f.part) == ("IoU", "")}
    assert whole["top units"].value == pytest.approx((12 * 0.30 + 0.066 + 0.2) / 13)
    assert whole["random units"].value == pytest.approx(0.1)
    assert whole["random units"].p_value < 0.01
    assert "13 of 20 images" in whole["top units"].note
    boats = [f for f in found if f.part == "boat"]
    assert [f.arm for f in boats] == ["top units", "random units"]
    assert boats[0].p_value < 0.01
    (rest,) = [f for f in found if f.part == "1 more categories"]
    assert rest.value is None
    assert "dog" in rest.note
