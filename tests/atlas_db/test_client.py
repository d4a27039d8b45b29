"""The client over a file and over HTTP gives the same records, the queries' own."""

import base64
import copy
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from waitress.server import create_server

from api import sql
from api.app import create_app
from atlas_db import Atlas, queries
from atlas_db.as_json import dumps
from atlas_db.connection import Connection, open_atlas
from atlas_db.errors import AtlasError, AtlasFileError, NotInAtlasError
from atlas_db.sql_sandbox import SqlLimits
from atlas_db.sql_schema import tables
from tests.tools.served import served


@pytest.fixture(scope="module")
def address(synthetic_atlas: Path) -> Iterator[str]:
    app = create_app(synthetic_atlas, sql_limits=SqlLimits(deadline_s=20.0))
    with served(create_server(app, host="127.0.0.1", port=0, threads=2)) as address:
        yield address
    sql.close(app)


@pytest.fixture(scope="module")
def connection(synthetic_atlas: Path) -> Iterator[Connection]:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(params=["file", "http"])
def atlas(request: pytest.FixtureRequest, synthetic_atlas: Path, address: str) -> Iterator[Atlas]:
    with Atlas(synthetic_atlas if request.param == "file" else address) as atlas:
        yield atlas


def test_records_are_the_queries_own(atlas: Atlas, connection: Connection) -> None:
    image_id = queries.images(connection).rows[0].image_id
    pairs = [
        (atlas.info, queries.atlas_info(connection)),
        (atlas.unit("L1.U3"), queries.unit(connection, 1, 3)),
        (atlas.unit(1, 3), queries.unit(connection, 1, 3)),
        (atlas.concept(" Water"), queries.concept(connection, "water")),
        (
            atlas.concept("boat", match="family", limit=3),
            queries.concept(connection, "boat", match="family", limit=3),
        ),
        (atlas.image(image_id), queries.image(connection, image_id)),
        (atlas.layers(), queries.layers(connection)),
        (atlas.tables(), tables(connection)),
    ]
    for found, expected in pairs:
        assert dumps(found) == dumps(expected)
        assert type(found).__name__ in (type(expected).__name__, "Records")


def test_a_heatmap_is_an_array_again(atlas: Atlas, connection: Connection) -> None:
    found = atlas.unit("L0.U1").exemplars[0]
    expected = queries.unit(connection, 0, 1).exemplars[0]
    np.testing.assert_array_equal(found.activations(), expected.activations())
    assert found.activations().shape == (196,)


def test_lists_go_on_over_pages(
    atlas: Atlas, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas_db.client._PAGE_ROWS", 7)
    expected = queries.units(connection, interpretable=True, sort="uid", limit=500).rows
    assert tuple(atlas.units(interpretable=True, sort="uid", limit=None)) == expected
    assert tuple(atlas.units(interpretable=True, sort="uid", limit=10)) == expected[:10]
    assert len(atlas.units(layer=0, limit=None)) == 32
    assert {one.concept for one in atlas.concepts(prefix="wat")} >= {"water"}
    assert atlas.concepts(prefix="watr", fuzzy=True)[0].concept == "water"
    assert len(atlas.images(limit=None)) == queries.images(connection, limit=500).total


def test_lists_become_tables(atlas: Atlas) -> None:
    units = atlas.units(layer=1, sort="uid", limit=5)
    table = units.to_arrow()
    assert table.num_rows == 5
    assert table["name"].to_pylist() == [unit.name for unit in units]
    assert table["top_tokens"].to_pylist() == [list(unit.top_tokens) for unit in units]


def test_a_record_s_lists_become_tables_too(atlas: Atlas) -> None:
    units = atlas.concept("water").units
    frame = units.to_pandas()
    assert list(frame["unit.name"]) == [found.unit.name for found in units]
    assert list(frame["prob"]) == [found.prob for found in units]
    assert len(units[1:3].to_pandas()) == 2
    assert units[1:3] == tuple(units)[1:3]
    unit = atlas.unit(1, 3)
    assert list(unit.promoted.to_pandas()["token"]) == [one.token for one in unit.promoted]
    heatmap = unit.exemplars.to_arrow()["heatmap"][0].as_py()
    assert base64.b64decode(heatmap) == unit.exemplars[0].heatmap.tobytes()
    again = pickle.loads(pickle.dumps(unit))
    assert again.promoted.to_arrow().equals(unit.promoted.to_arrow())


def test_a_list_of_nothing_has_the_columns_of_a_list_of_something(atlas: Atlas) -> None:
    nothing = atlas.concepts(prefix="zzzz")
    assert len(nothing) == 0
    assert nothing.to_arrow().schema == atlas.concepts(limit=2).to_arrow().schema
    assert list(nothing.to_pandas().columns)[:2] == ["concept", "slug"]


def test_a_record_answers_for_its_summary_as_in_json(atlas: Atlas) -> None:
    unit = atlas.unit("L1.U3")
    assert (unit.name, unit.layer, unit.unit) == ("L1.U3", 1, 3)
    assert unit.top_tokens == unit.summary.top_tokens
    assert atlas.concept("water").concept == "water"
    assert {"name", "top_tokens", "promoted"} <= set(dir(unit))
    assert not hasattr(unit, "beauty")
    with pytest.raises(AttributeError, match="UnitRecord has no attribute 'beauty'"):
        _ = unit.beauty
    assert copy.deepcopy(unit).name == "L1.U3"


def test_numbers_of_numpy_are_numbers(atlas: Atlas) -> None:
    one, three = np.int64(1), np.int32(3)
    assert atlas.unit(one, three).name == "L1.U3"
    assert {unit.layer for unit in atlas.units(layer=one, limit=three)} == {1}
    assert atlas.units(interpretable=np.True_) == atlas.units(interpretable=True)
    assert atlas.sql("SELECT $x + $y AS n", x=three, y=np.float32(0.5), limit=one)[0] == {"n": 3.5}


def test_a_concept_s_units_go_on_over_pages(
    atlas: Atlas, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas_db.client_http._MAX_ROWS", 4)
    expected = queries.concept(connection, "water", limit=500)
    assert len(expected.units) > 9
    assert dumps(atlas.concept("water", limit=9)) == dumps(
        queries.concept(connection, "water", limit=9)
    )
    assert atlas.concept("water", limit=500).units == expected.units


def test_a_server_with_too_much_to_do_is_asked_again(
    synthetic_atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(synthetic_atlas, requests_per_s=0.5)  # 5 at once
    waited: list[float] = []
    real_sleep = time.sleep

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        real_sleep(seconds)

    monkeypatch.setattr("atlas_db.client_http.time.sleep", sleep)
    with served(create_server(app, host="127.0.0.1", port=0, threads=2)) as address:
        atlas = Atlas(address)
        for n in range(50):  # 5 if the machine is quick
            if not waited:
                assert atlas.unit(0, n % 32).unit == n % 32
        assert waited in ([1.0], [2.0])
        monkeypatch.setattr("atlas_db.client_http._PATIENCE_S", 0.5)
        with pytest.raises(AtlasError, match="requests a second"):
            _ = [atlas.info for _ in range(50)]


def test_sql_gives_rows_and_tables(atlas: Atlas) -> None:
    rows = atlas.sql(
        "SELECT uid, top_tokens FROM units WHERE layer = $layer ORDER BY uid", layer=2, limit=10
    )
    assert (len(rows), rows.truncated) == (10, True)
    assert rows[0]["uid"] == 64
    assert [row["uid"] for row in rows] == rows.to_arrow()["uid"].to_pylist() == [*range(64, 74)]
    assert rows[-1] == rows[9:][0]
    assert not atlas.sql("SELECT 1 AS one").truncated


def test_rows_become_a_data_frame(atlas: Atlas) -> None:
    frame = atlas.sql("SELECT uid, layer FROM units ORDER BY uid").to_pandas()
    assert list(frame.columns) == ["uid", "layer"]
    assert frame["uid"].sum() == sum(range(96))
    assert list(atlas.units(limit=3).to_pandas()["name"]) == [u.name for u in atlas.units(limit=3)]


def test_columns_become_a_table(atlas: Atlas) -> None:
    units = next(table for table in atlas.tables() if table.table == "units")
    columns = units.columns.to_arrow().to_pylist()
    assert columns[0] == {
        "name": "uid",
        "type": "INTEGER",
        "about": "layer * units_per_layer + unit",
    }


def test_a_thumbnail(atlas: Atlas, connection: Connection) -> None:
    image_id = queries.images(connection).rows[0].image_id
    assert atlas.thumbnail(image_id) == queries.thumbnail(connection, image_id)
    with pytest.raises(NotInAtlasError):
        atlas.thumbnail(999_999)


def test_what_is_not_there_is_said_alike(atlas: Atlas) -> None:
    with pytest.raises(NotInAtlasError, match="0 to 2"):
        atlas.unit("L77.U1")
    with pytest.raises(NotInAtlasError, match="water"):
        atlas.concept("watr")
    with pytest.raises(NotInAtlasError):
        atlas.image(999_999)
    with pytest.raises(ValueError, match=r"L12\.U9058"):
        atlas.unit("the best one")
    with pytest.raises(ValueError, match="nothing"):
        atlas.sql("SELECT nothing FROM units")
    with pytest.raises(ValueError, match=r"sort|Input"):
        atlas.units(sort="beauty")
    for call in (atlas.units, lambda **given: atlas.concept("water", **given),
                 lambda **given: atlas.sql("SELECT 1", **given)):  # fmt: skip
        with pytest.raises(ValueError, match="limit must be >= 1"):
            call(limit=0)
    with pytest.raises(ValueError, match="count from 0"):
        atlas.unit(-1, 0)
    with pytest.raises(ValueError, match="0 or more, got -1"):
        atlas.image(-1)
    with pytest.raises(NotInAtlasError, match="give a word with letters"):
        atlas.concept("")
    with pytest.raises(ValueError, match="the statement is empty"):
        atlas.sql(" ;")
    with pytest.raises(ValueError, match="x"):
        atlas.sql("SELECT $x")


def test_a_source_that_is_none_says_what_to_do(tmp_path: Path, address: str) -> None:
    with pytest.raises(AtlasFileError, match="neuron-atlas ingest"):
        Atlas(tmp_path / "none.duckdb")
    with pytest.raises(ValueError, match="http:// or https://"):
        Atlas("ftp://example.org/atlas.duckdb")
    assert Atlas(address.upper().replace("HTTP", "Http")).info.n_units == 96
    with pytest.raises(AtlasError, match="neuron-atlas serve"):
        Atlas("http://127.0.0.1:9").layers()
    with pytest.raises(AtlasError, match=r"not found|404"):
        Atlas(address + "/elsewhere").layers()
