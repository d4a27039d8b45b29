from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from atlas_db import queries
from atlas_db.content_hash import verify
from atlas_db.schema import SCHEMA_VERSION


def test_provenance(connection: Connection, truth: Any, synthetic_atlas: Path) -> None:
    info = queries.atlas_info(connection)
    manifest = truth.manifest
    for name in ("name", "created", "command", "is_random", "captioner", "dataset"):
        assert getattr(info, name) == manifest[name]
    assert info.settings.items() >= manifest["settings"].items()
    assert info.settings["always_on_min_frequency"] == 0.5
    assert info.versions.items() >= manifest["versions"].items()
    assert info.formula == "z * dy/dz"
    assert info.schema_version == SCHEMA_VERSION
    assert info.content_hash == verify(synthetic_atlas)


def test_counts(connection: Connection, truth: Any) -> None:
    info = queries.atlas_info(connection)
    assert (info.n_layers, info.units_per_layer, info.n_units) == (3, 32, 96)
    assert (info.grid_rows, info.grid_columns, info.n_patch) == (14, 14, 196)
    assert (info.n_images, info.n_skipped_images) == (11, 1)
    assert info.n_concepts == len(truth.concepts)


def test_layers(connection: Connection, truth: Any) -> None:
    units = queries.units(connection, sort="uid", limit=96).rows
    n_places = sum(len(rows) for rows in truth.places.values())
    for layer, record in enumerate(queries.layers(connection)):
        own = [unit for unit in units if unit.layer == layer]
        top = [unit for unit in own if unit.n_images]
        places = sum(len(truth.places.get(unit.uid, [])) for unit in own)
        assert record.layer == layer
        assert record.n_units == 32
        assert record.n_top_units == len(top)
        assert record.n_interpretable == sum(unit.is_interpretable for unit in own)
        assert record.n_top_interpretable == sum(unit.is_interpretable for unit in top)
        assert record.n_top_places == places
        assert record.share_of_top_places == pytest.approx(places / n_places)
