"""Layers and always-on units, on places that are counted by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from atlas_db.fixtures import write_synthetic_run
from builder.experiments.always_on import ALWAYS_ON, COUNT, OVERLAP, PLACES, overlap
from builder.experiments.context import ExperimentContext, FinishedRun
from builder.experiments.layers import DEPTH, LAYERS, SHARE, layer_shares

#: By image, the uids of its top units in a model of 3 layers of 32 units.
PLACES_BY_IMAGE = {1: [0, 1, 40, 95], 2: [0, 2], 3: [0, 1, 41, 42], 4: [70, 71]}


@pytest.fixture
def run(tmp_path: Path) -> FinishedRun:
    run = FinishedRun(write_synthetic_run(tmp_path / "run"))
    rows = [
        {"image_id": image_id, "rank": rank, "uid": uid, "attribution": 1.0 / rank}
        for image_id, uids in PLACES_BY_IMAGE.items()
        for rank, uid in enumerate(uids, start=1)
    ]
    run.__dict__["top_units"] = pa.Table.from_pylist(rows)
    run.__dict__["image_ids"] = np.array(sorted(PLACES_BY_IMAGE))
    words = ["cat", "cat", "dog", "dog"]
    run.__dict__["targets"] = pa.table({"image_id": [1, 2, 3, 4], "word": words})
    return run


def test_shares_by_hand(run: FinishedRun) -> None:
    everything = np.ones(96, dtype=bool)
    assert layer_shares(run, everything).tolist() == [
        [0.5, 0.25, 0.25], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]
    ]  # fmt: skip
    odd = np.arange(96) % 2 == 1
    assert layer_shares(run, odd).tolist() == [[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0, 1]]


def test_figures_of_layers(run: FinishedRun, lone_context: ExperimentContext) -> None:
    run.__dict__["is_interpretable"] = np.zeros(96, dtype=bool)
    figures = LAYERS.run(replace(lone_context, run=run)).figures
    by_layer = {(f.arm, f.layer): f for f in figures if f.figure == SHARE and f.value is not None}
    assert by_layer["all", 0].value == pytest.approx(0.5)
    assert by_layer["all", 1].value == pytest.approx(0.75 / 4)
    assert by_layer["all, by chance", 0].value == pytest.approx(1 / 3)
    (depth,) = (f for f in figures if f.figure == DEPTH)
    assert depth.value == pytest.approx((0.375 + 0 + 0.25 + 1) / 4)
    (gone,) = (f for f in figures if f.value is None)
    assert gone.arm == "interpretable"
    assert "No image" in gone.note


def test_overlap_of_sets() -> None:
    assert overlap(np.array([1, 2, 3]), np.array([3, 1])) == 1.0
    assert overlap(np.array([1, 2]), np.array([2, 5, 6])) == 0.5
    assert overlap(np.array([], dtype=np.int64), np.array([2])) == 0.0


def test_always_on_by_hand(run: FinishedRun, lone_context: ExperimentContext) -> None:
    """Unit 0 is in three of four images, that is in 75 %; a unit is usually in 3 %."""
    run.__dict__["is_interpretable"] = np.arange(96) == 0
    figures = ALWAYS_ON.run(replace(lone_context, run=run)).figures
    counts = {f.part: f.value for f in figures if f.figure == COUNT}
    assert counts == {
        "10% of the images": 9, "25% of the images": 2, "50% of the images": 1,
        "75% of the images": 0, "90% of the images": 0,
    }  # fmt: skip
    places = {f.part: f.value for f in figures if f.figure == PLACES}
    assert places["25% of the images"] == pytest.approx(5 / 12)
    (always_on,) = (f for f in figures if f.figure == "units that are always on")
    assert always_on.value == 1
    found = {(f.arm, f.part): f.value for f in figures if f.figure == OVERLAP}
    # The only pairs: images 1 and 2 share unit 0 of the two; 3 and 4 share nothing.
    assert found["all", "same target"] == pytest.approx(0.25)
    assert found["without always-on", "same target"] == 0


@pytest.fixture(autouse=True)
def sample_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at all four images, as a sample of so many would."""
    monkeypatch.setattr(
        ExperimentContext, "sample", property(lambda self: self.run.image_ids), raising=True
    )
