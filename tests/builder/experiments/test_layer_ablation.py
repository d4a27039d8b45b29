"""Zeroing layer by layer: which units, and averages by hand; `test_planted` does it for real."""

import numpy as np
import pyarrow as pa
import pytest

from builder.experiments.layer_ablation import (
    _SCHEMA,
    COUNT,
    DROP,
    layer_figures,
    units_of_layer,
)
from builder.experiments.rankings import Ranking


def test_units_of_a_layer_and_as_many_others() -> None:
    tops = {"all": np.array([7, 1, 5, 0, 9])}
    ranking = Ranking(1, "a cat", [4], 0, 4, tops)
    # Place by place of the same layer; the list of drawn units may end early.
    drawn = np.array([6, 3, 4])
    top, random = units_of_layer(ranking, drawn, 0, 4)
    assert (top.tolist(), random.tolist()) == ([1], [3])
    top, random = units_of_layer(ranking, drawn, 1, 4)
    assert (top.tolist(), random.tolist()) == ([7, 5], [6, 4])
    top, random = units_of_layer(ranking, drawn, 2, 4)
    assert (top.tolist(), random.tolist()) == ([], [])


def test_figures_average_the_images_of_each_layer() -> None:
    rows = [
        {"image_id": i, "layer": layer, "n_zeroed": n, "top units": top, "random units": random}
        for i, layer, n, top, random in [
            (1, 0, 3, 0.8, 0.0), (2, 0, 5, 0.4, 0.2), (1, 2, 1, 0.1, 0.1)
        ]
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    figures = list(layer_figures(table, 4, 64, seed=0, min_images=1))
    found = {(f.figure, f.arm, f.layer): f for f in figures}
    assert found[DROP, "top units", 0].value == pytest.approx(0.6)
    assert found[DROP, "random units", 0].value == pytest.approx(0.1)
    assert found[DROP, "top units", 0].control == "random units"
    assert found[DROP, "random units", 0].control == "top units"
    assert found[COUNT, "", 0].value == pytest.approx(4)
    assert found[DROP, "top units", 2].n == 1
    (empty,) = (f for f in figures if f.value is None)
    assert "top 64 units in layer 1, 3" in empty.note
    figures = layer_figures(table, 4, 64, seed=0, min_images=2)
    assert {f.layer for f in figures if f.value is not None} == {0}
