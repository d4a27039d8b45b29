"""Figures of units whose rules the plain synthetic run does not put to the test."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import atlas_db.fixtures.shards
from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.fixtures import write_synthetic_run
from atlas_db.ingest import ingest
from atlas_db.records import UnitSummary
from atlas_db.run_format import file_sha256, write_json


def make_run(folder: Path) -> Path:
    return write_synthetic_run(
        folder, n_layers=2, units_per_layer=40, n_images=20, grid=(2, 2), n_shards=1
    )


def units_of(run: Path) -> tuple[UnitSummary, ...]:
    database = run.with_suffix(".duckdb")
    ingest(run, database)
    engine = open_atlas(database)
    with engine.connect() as connection:
        rows = queries.units(connection, sort="uid", limit=1000).rows
    engine.dispose()
    return rows


@pytest.mark.parametrize(
    ("involved_share", "always_on"),
    [
        (0.6, 0),  # many units are in most images, but so are units in general
        (0.02, 1),  # two are in four times as many images as usual, one of them in most
    ],
)
def test_always_on_needs_most_images_and_more_than_is_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, involved_share: float, always_on: int
) -> None:
    monkeypatch.setattr(atlas_db.fixtures.shards, "INVOLVED_SHARE", involved_share)
    units = units_of(make_run(tmp_path / "run"))
    usual = sum(unit.image_frequency for unit in units) / len(units)
    in_most = [unit for unit in units if unit.image_frequency > 0.5]
    unusual = [unit for unit in units if unit.image_frequency > 4 * usual]
    assert len(in_most if involved_share > 0.5 else unusual) > 1
    assert [unit for unit in in_most if unit in unusual] == [u for u in units if u.is_always_on]
    assert sum(unit.is_always_on for unit in units) == always_on


def test_quantiles_are_clipped_to_the_greatest_activation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shard = run / "shards" / "00000"
    path = shard / "unit_stats.parquet"
    table = pq.read_table(path)
    histograms = table["histogram"].to_pylist()
    histograms[3] = [0] * 127 + [80]
    column = pa.array(histograms, table.schema.field("histogram").type)
    pq.write_table(
        table.set_column(table.schema.get_field_index("histogram"), "histogram", column), path
    )
    listing = json.loads((shard / "shard.json").read_text(encoding="utf-8"))
    listing["files"][path.name] = file_sha256(path)
    write_json(shard / "shard.json", listing)
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["shards"][0]["sha256"] = file_sha256(shard / "shard.json")
    write_json(run / "manifest.json", manifest)
    greatest = units_of(run)[3].activation_max
    engine = open_atlas(run.with_suffix(".duckdb"))
    with engine.connect() as connection:
        found = queries.unit(connection, 0, 3).activation_quantiles
    engine.dispose()
    assert set(found.values()) == {greatest}
