"""The SQL that pages offer is run, and gives what the pages say."""

import pytest
from sqlalchemy import Connection

from atlas_db import queries
from atlas_db.queries import SQL_OF


def run(connection: Connection, kind: str, **values: object) -> list[tuple[object, ...]]:
    return queries.select(connection, SQL_OF[kind].format(**values), limit=1000)[1]


def test_every_statement_is_tried_below() -> None:
    assert set(SQL_OF) == {"unit", "exemplars", "heatmaps", "concept", "image", "layer"}


def test_unit(connection: Connection) -> None:
    record = queries.unit(connection, 1, 4)
    wanted = [(1, t.rank, t.token, t.prob) for t in record.promoted]
    wanted += [(-1, t.rank, t.token, t.prob) for t in record.suppressed]
    assert run(connection, "unit", layer=1, unit=4) == wanted


def test_exemplars_and_heatmaps(connection: Connection) -> None:
    record = queries.unit(connection, 2, 6)
    rows = run(connection, "exemplars", layer=2, unit=6)
    assert [row[:3] for row in rows] == [
        (one.rank, one.image_id, one.activation) for one in record.exemplars
    ]
    assert [row[4] for row in rows] == [one.caption for one in record.exemplars]
    maps = run(connection, "heatmaps", layer=2, unit=6)
    for (rank, image_id, activations), one in zip(maps, record.exemplars, strict=True):
        assert (rank, image_id) == (one.rank, one.image_id)
        assert activations == pytest.approx(one.activations().tolist(), abs=1e-6)


@pytest.mark.parametrize("concept", ["water", "\"'"])
def test_concept(connection: Connection, concept: str) -> None:
    record = queries.concept(connection, concept)
    rows = run(connection, "concept", concept=concept.replace("'", "''"))
    assert rows == [
        (one.unit.layer, one.unit.unit, one.rank, one.token, one.prob, one.n_shown)
        for one in record.units
    ]


def test_image(connection: Connection) -> None:
    image_id = queries.images(connection, limit=3).rows[2].image_id
    record = queries.image(connection, image_id)
    assert run(connection, "image", image_id=image_id) == [
        (u.target, u.rank, u.layer, u.unit, u.patch, u.attribution, list(u.top_tokens))
        for u in record.units
    ]


def test_layer(connection: Connection) -> None:
    page = queries.units(connection, layer=1, limit=32)
    assert run(connection, "layer", layer=1) == [
        (u.unit, u.n_images, u.best_attribution, list(u.top_tokens)) for u in page.rows
    ]


def test_select_stops_at_its_limit(connection: Connection) -> None:
    columns, rows = queries.select(connection, "SELECT uid AS u, layer FROM units", limit=7)
    assert (columns, len(rows)) == (["u", "layer"], 7)


def test_a_wrong_statement_says_what_is_wrong(connection: Connection) -> None:
    with pytest.raises(ValueError, match=r"cannot be run: .*unitz"):
        queries.select(connection, "SELECT * FROM unitz", limit=1)
    assert queries.select(connection, "SELECT 1 AS one", limit=1) == (["one"], [(1,)])


def test_the_atlas_cannot_be_written(connection: Connection) -> None:
    with pytest.raises(ValueError, match="read-only"):
        queries.select(connection, "DELETE FROM units", limit=1)
