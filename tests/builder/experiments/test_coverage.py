"""Coverage on units whose words and exemplars are set by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from builder.experiments.coverage import (
    MIN_EXEMPLARS,
    Pairs,
    exemplar_counts,
    pair,
    said_words,
)
from builder.experiments.words import word_lists

CATEGORIES = [
    {"category_id": 1, "name": "boat", "supercategory": "vehicle"},
    {"category_id": 2, "name": "dog", "supercategory": "animal"},
]
LISTS = word_lists(CATEGORIES)


class HandMadeRun:
    """The tables of a run of two layers of two units."""

    n_units, n_layers, units_per_layer = 4, 2, 2

    def __init__(self, tables: dict[str, dict[str, list[Any]]]) -> None:
        self.tables = tables

    def table(self, name: str, columns: list[str]) -> pa.Table:
        return pa.table(self.tables[name]).select(columns)


def test_words_are_counted_by_token_and_few_do_not_count() -> None:
    tokens = [" boat", "Boats", " boats", " dog", "and"]
    vocabulary = {"token_id": list(range(5)), "token": tokens}
    rows = [
        *[(0, 1, token) for token in (0, 1, 2)],  # unit 0 says boat three times
        *[(1, 1, token) for token in (0, 1, 3)],  # unit 1 twice, and dog once
        *[(2, -1, token) for token in (0, 1, 2)],  # unit 2 suppresses it
    ]
    unit_tokens = dict(
        zip(("uid", "sign", "token_id"), map(list, zip(*rows, strict=True)), strict=True)
    )
    run: Any = HandMadeRun({"vocabulary": vocabulary, "unit_tokens": unit_tokens})
    assert said_words(run, LISTS) == {1: {0: 3}, 2: {}}


def test_exemplars_are_the_sixteen_greatest_of_all_shards() -> None:
    # Unit 3: 16 images of a dog, then, from another shard, one of a boat that is greater than all.
    images = [*range(16), 100]
    activations = [*np.linspace(2.0, 1.0, 16).tolist(), 3.0]
    exemplars = {"uid": [3] * 17, "image_id": images, "activation": activations}
    run: Any = HandMadeRun({"exemplars": exemplars})
    contents: Any = SimpleNamespace(
        lists=LISTS,
        categories_of={**{image: frozenset({2}) for image in range(16)}, 100: frozenset({1, 2})},
    )
    found = exemplar_counts(run, contents)
    assert found[1].tolist() == [0, 0, 0, 1]
    assert found[2].tolist() == [0, 0, 0, 16]


def test_a_category_is_covered_by_one_unit_that_does_both() -> None:
    shown = {
        1: np.array([MIN_EXEMPLARS - 1, 16, 0, MIN_EXEMPLARS]),
        2: np.array([16, 0, 16, 0]),
    }
    found = pair({1: {0: 5, 3: 3}, 2: {1: 9, 3: 4}}, shown)
    assert isinstance(found, Pairs)
    assert found.n_exemplars.tolist() == [MIN_EXEMPLARS - 1, MIN_EXEMPLARS, 0, 0]
    assert found.covered == {1}
    assert pair({}, shown).covered == set()
