"""Which units are zeroed, and how methods are held to it."""

import numpy as np
import pyarrow as pa
import pytest

from builder.experiments.attribution_methods import (
    _CHUNK_SCHEMA,
    N_RANDOM,
    N_TOP,
    _truth_figures,
    choose_units,
    found_share,
)
from builder.experiments.attributions import METHODS

N_UNITS = 300


def test_the_first_units_of_every_method_are_chosen_and_random_ones_of_reached_layers() -> None:
    rng = np.random.default_rng(0)
    found = {method: rng.normal(size=N_UNITS) for method in ("one", "other")}
    chosen = choose_units(found, 100, np.random.default_rng(1))
    for values in found.values():
        assert set(np.argsort(-values)[:N_TOP].tolist()) <= set(chosen.tolist())
    tops = {int(i) for values in found.values() for i in np.argsort(-values)[:N_TOP]}
    others = set(chosen.tolist()) - tops
    assert len(others) >= N_RANDOM - len(tops)
    assert max(others) < 200
    assert len(choose_units({"one": np.arange(3.0)}, 3, rng)) == 3


def test_share_of_the_strongest_units_that_a_method_finds() -> None:
    truth = np.arange(40.0)
    assert found_share(truth, truth) == 1.0
    assert found_share(-truth, truth) == 0.0
    half = truth.copy()
    half[-5:] = -1
    assert found_share(half, truth) == 0.5


def test_a_method_that_is_the_truth_agrees_wholly_and_one_that_is_its_opposite_not() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)
    columns = {method: rng.normal(size=60) for method in METHODS}
    columns |= {"a_gradient": truth**3, "activation": -truth, "zeroing": truth}
    columns |= {"image_id": np.repeat([1, 2, 3], 20), "uid": np.tile(np.arange(20), 3)}
    rows = pa.table(columns).select(_CHUNK_SCHEMA.names).cast(_CHUNK_SCHEMA)
    found = {(f.figure, f.arm): f.value for f in _truth_figures(rows, 0)}
    agreement = {arm: v for (figure, arm), v in found.items() if figure.startswith("rank")}
    assert agreement["a dy/da, sum over patches"] == pytest.approx(1.0)
    assert agreement["activation, best patch"] == pytest.approx(-1.0)
    assert abs(agreement["integrated gradients, sum over patches"]) < 0.5
