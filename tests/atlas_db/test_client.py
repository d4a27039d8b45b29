"""The client over a file and over HTTP gives the same records, the queries' own."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def address(synthetic_atlas: Path) -> Iterator[str]:
    app = create_app(synthetic_atlas, sql_limits=SqlLimits(deadline_s=20.0))
    server: Any = create_server(app, host="127.0.0.1", port=0, threads=2)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()
    thread.join()
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
    with pytest.raises(ValueError, match="limit"):
        atlas.units(limit=0)


def test_a_source_that_is_none_says_what_to_do(tmp_path: Path, address: str) -> None:
    with pytest.raises(AtlasFileError, match="neuron-atlas ingest"):
        Atlas(tmp_path / "none.duckdb")
    with pytest.raises(AtlasError, match="neuron-atlas serve"):
        Atlas("http://127.0.0.1:9").layers()
    with pytest.raises(AtlasError, match=r"not found|404"):
        Atlas(address + "/elsewhere").layers()
