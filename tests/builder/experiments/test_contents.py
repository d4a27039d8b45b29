"""What a data set says of its pictures, on tables written by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from builder.experiments.contents import Contents, ViewMasks
from builder.experiments.words import word_lists

#: Of 8 columns and 4 rows, column 1, as COCO compresses its run lengths 4, 4 and 24.
COUNTS_COLUMN_1 = "44h0"
CATEGORIES = [
    {"category_id": 1, "name": "boat", "supercategory": "vehicle"},
    {"category_id": 2, "name": "dog", "supercategory": "animal"},
    {"category_id": 9, "name": "water", "supercategory": "scene"},
]
INSTANCES = [
    {"image_id": 5, "category_id": 1, "is_crowd": False, "rle_counts": COUNTS_COLUMN_1},
    {"image_id": 5, "category_id": 9, "is_crowd": False, "rle_counts": ""},
    {"image_id": 6, "category_id": 2, "is_crowd": True, "rle_counts": ""},
    {"image_id": 7, "category_id": 1, "is_crowd": False, "rle_counts": COUNTS_COLUMN_1},
    {"image_id": 7, "category_id": 2, "is_crowd": False, "rle_counts": COUNTS_COLUMN_1},
]
TABLES = {
    "instances": INSTANCES,
    "images": [{"image_id": i, "width_px": 8, "height_px": 4} for i in (5, 6, 7)],
    "human_captions": [
        {"image_id": 5, "caption": "A boat on the water."},
        {"image_id": 5, "caption": "Two boats"},
    ],
    "captions": [{"image_id": 5, "caption": "a boat"}],
    "vocabulary": [{"token_id": 0, "token": " Boats"}, {"token_id": 1, "token": "##"}],
    "unit_tokens": [
        {"uid": 0, "sign": 1, "token_id": 0},
        {"uid": 0, "sign": -1, "token_id": 1},
        {"uid": 1, "sign": 1, "token_id": 1},
    ],
}


def run_table(name: str, columns: list[str]) -> pa.Table:
    return pa.Table.from_pylist(TABLES[name]).select(columns)


def context(geometry: str = "squash") -> Any:
    targets = [{"image_id": 5, "word": "boats"}, {"image_id": 7, "word": "water"}]
    return SimpleNamespace(
        run=SimpleNamespace(table=run_table, targets=pa.Table.from_pylist(targets), n_units=3),
        captioner=SimpleNamespace(config=SimpleNamespace(geometry=geometry, image_px=4)),
    )


@pytest.fixture
def contents() -> Contents:
    return Contents(context(), word_lists(CATEGORIES))


def test_categories_and_images_of_one_object(contents: Contents) -> None:
    assert contents.categories_of == {5: {1, 9}, 6: {2}, 7: {1, 2}}
    # A scene is no object, a crowd is many.
    assert contents.single_object_images == {5}
    assert contents.words_in(5) == {"boat", "water"}
    assert contents.words_in(99) == frozenset()


def test_the_target_names_a_category_that_is_in_the_image(contents: Contents) -> None:
    assert contents.target_category(5) == 1
    assert contents.target_category(7) is None  # there is no water in it
    assert contents.target_category(6) is None  # it has no target


def test_captions_and_units_as_stems(contents: Contents) -> None:
    assert contents.caption_stems_of[5] >= {"boat", "water"}
    assert "on" not in contents.caption_stems_of[5]
    assert contents.generated_of == {5: "a boat"}
    assert contents.unit_stems == [frozenset({"boat"}), frozenset(), frozenset()]


def test_masks_are_as_the_model_sees_them() -> None:
    # Column 1 of 8 is squashed into a view of 4: pixel 0 looks at column 1, under its centre.
    masks = ViewMasks(context(), np.array([5, 7]))
    assert masks.has_any
    found = masks.get(5, 1)
    assert found is not None
    assert found.tolist() == [[True, False, False, False]] * 4
    assert masks.get(5, 9) is None
    assert masks.get(6, 2) is None
    # Cropped, the middle four columns are seen, and column 1 is not.
    cropped = ViewMasks(context("crop"), np.array([5])).get(5, 1)
    assert cropped is not None
    assert not cropped.any()
    assert not ViewMasks(context(), np.array([6])).has_any
