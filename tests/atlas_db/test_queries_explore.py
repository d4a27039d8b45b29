"""The explore page's columns, lists and categories, against what the tables say."""

from __future__ import annotations

import math
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.experiment_format import EXPERIMENT_SCHEMAS


def test_columns_hold_every_units_figures(connection) -> None:
    columns = queries.unit_columns(connection)
    records = list(queries.unit_records(connection, 0, 96))
    assert {len(column) for column in columns.values()} == {96}
    for uid, record in enumerate(records):
        unit = record.summary
        assert columns["images"][uid] == unit.n_images
        assert columns["words"][uid] == unit.n_dictionary_words
        assert columns["density"][uid] == np.float32(record.activation_density)
        assert math.isnan(columns["attribution"][uid]) == (unit.best_attribution is None)
        assert columns["flags"][uid] == unit.is_interpretable + 2 * unit.is_always_on
    tokens = [record.summary.top_tokens for record in records]
    assert [tuple(row) for row in queries.first_tokens(connection)] == tokens
    part = queries.unit_columns(connection, 5, 40)
    assert part.keys() == columns.keys()
    for name, column in part.items():
        np.testing.assert_array_equal(column, columns[name][5:40])
    assert [tuple(row) for row in queries.first_tokens(connection, 5, 40)] == tokens[5:40]


def test_the_units_of_concepts(connection) -> None:
    found = queries.concept_uids(connection, "w", "z")
    assert {"water", "winter", "wing"} <= found.keys()
    for concept, uids in found.items():
        listed = queries.units(connection, concept=concept, sort="uid", limit=1000)
        assert uids.tolist() == [unit.uid for unit in listed.rows]


_PLAIN = [key for key, one in queries.UNIT_LISTS.items() if one.needs is None]


@pytest.mark.parametrize("key", _PLAIN)
def test_a_list_is_what_its_statement_says(connection, key: str) -> None:
    chosen = queries.UNIT_LISTS[key]
    listed = queries.listed_units(connection, chosen)
    assert len(listed) <= 20
    figures = [row.figure for row in listed]
    assert figures == sorted(figures, reverse=True)
    assert not any(row.unit.is_always_on for row in listed if key != "gathered")
    columns, rows = queries.select(connection, chosen.sql, limit=100)
    assert columns[0] == "uid"
    assert [row[0] for row in rows] == [row.unit.uid for row in listed]


@pytest.mark.parametrize(
    ("key", "above"), [("specific", "iou"), ("causal", "logit_drop")], ids=["specific", "causal"]
)
def test_a_list_of_an_experiment(
    tmp_path: Path, synthetic_atlas: Path, key: str, above: str
) -> None:
    """Three units with known figures in the tables of `experiment_format`, one seen too rarely."""
    chosen = queries.UNIT_LISTS[key]
    assert chosen.needs
    schema = EXPERIMENT_SCHEMAS[chosen.needs]
    figures = {3: (0.5, 0.1), 4: (0.9, 0.8), 5: (0.9, 0.1)}
    rows = [dict.fromkeys(schema.names, 0.0) | {"uid": uid} for uid in figures]
    for row, (own, random) in zip(rows, figures.values(), strict=True):
        row |= {above: own, f"random_{above}": random, "n_images": 2 if row["uid"] == 5 else 3}
    planted_rows = pa.Table.from_pylist(rows, schema)
    database = tmp_path / "planted.duckdb"
    database.write_bytes(synthetic_atlas.read_bytes())
    with duckdb.connect(str(database)) as planted:
        planted.execute(f"CREATE OR REPLACE TABLE {chosen.needs} AS FROM planted_rows")
    assert planted_rows.num_rows == 3
    engine = open_atlas(database)
    with engine.connect() as connection:
        listed = queries.listed_units(connection, chosen)
    engine.dispose()
    assert [row.unit.uid for row in listed] == [3, 4]
    assert listed[0].figure == pytest.approx(0.4)


def test_a_unit_stands_for_a_category_beyond_chance(tmp_path: Path, synthetic_atlas: Path) -> None:
    """One unit on top of all 60 pictures of dogs and of no other, one of every third picture."""
    database = tmp_path / "planted.duckdb"
    database.write_bytes(synthetic_atlas.read_bytes())
    with duckdb.connect(str(database)) as planted:
        images = (
            "SELECT * FROM (SELECT * REPLACE ({} AS categories) FROM images LIMIT 1), range({})"
        )
        planted.execute(f"CREATE TABLE dogs AS {images.format(['dog'], 60)}")
        planted.execute(f"CREATE TABLE others AS {images.format(['pizza'], 240)}")
        planted.execute("DELETE FROM images")
        for table in ("dogs", "others"):
            planted.execute(f"INSERT INTO images SELECT * EXCLUDE (range) FROM {table}")
        planted.execute("DELETE FROM unit_categories")
        planted.execute("UPDATE units SET n_images = CASE uid WHEN 5 THEN 60 ELSE 100 END")
        planted.execute(
            "INSERT INTO unit_categories SELECT u, category_id, 0, u, k, 1.0 FROM "
            "(VALUES (5, 'dog', 60), (6, 'dog', 20), (6, 'pizza', 80)) t(u, name, k) "
            "JOIN categories USING (name)"
        )
    engine = open_atlas(database)
    with engine.connect() as connection:
        found = {one.name: one for one in queries.categories(connection)}
    engine.dispose()
    assert found["dog"].n_images == 60
    (standing,) = found["dog"].units
    assert (standing.unit.uid, standing.n_images, standing.share) == (5, 60, 1.0)
    assert standing.usual == pytest.approx(0.2)
    assert found["pizza"].units == ()
    assert found["stop sign"].n_images == 0


def test_chance_makes_no_unit_stand_for_a_category(tmp_path: Path, synthetic_atlas: Path) -> None:
    """Counts drawn at random, for units of all frequencies, are never taken for a find."""
    rng = np.random.default_rng(0)
    rows = []
    for uid in range(96):
        frequency = (uid + 1) / 100
        rows.append((uid, int(rng.binomial(60, frequency)), round(300 * frequency)))
    database = tmp_path / "chance.duckdb"
    database.write_bytes(synthetic_atlas.read_bytes())
    with duckdb.connect(str(database)) as planted:
        planted.execute(
            "CREATE TABLE more AS SELECT * EXCLUDE (i) REPLACE "
            "(CASE WHEN i < 60 THEN ['dog'] ELSE ['pizza'] END AS categories) "
            "FROM (SELECT * FROM images LIMIT 1), range(300) t(i)"
        )
        planted.execute("DELETE FROM images")
        planted.execute("INSERT INTO images FROM more")
        planted.execute("DELETE FROM unit_categories")
        for uid, n_category, n_images in rows:
            planted.execute("UPDATE units SET n_images = ? WHERE uid = ?", [n_images, uid])
            planted.execute(
                "INSERT INTO unit_categories SELECT ?, category_id, 0, 0, ?, 1.0 FROM categories "
                "WHERE name = 'dog'",
                [uid, n_category],
            )
    engine = open_atlas(database)
    with engine.connect() as connection:
        found = queries.categories(connection)
    engine.dispose()
    assert not any(one.units for one in found)
