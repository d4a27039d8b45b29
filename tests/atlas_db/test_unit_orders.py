"""Lists out of memory are those that DuckDB gives."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atlas_db import queries
from atlas_db.connection import Connection, Engine, open_atlas
from atlas_db.errors import NotInAtlasError, NotMeasuredError
from atlas_db.queries.of_units import unit_uids
from atlas_db.queries.unit_filters import PLAIN_SORTS
from atlas_db.unit_orders import UnitOrders


@pytest.fixture
def orders(connection: Connection) -> UnitOrders:
    return UnitOrders(queries.atlas_info(connection).units_per_layer)


@pytest.mark.parametrize("sort", PLAIN_SORTS)
def test_every_list(connection: Connection, orders: UnitOrders, sort: str) -> None:
    totals = set()
    for layer, least, interpretable, always_on in itertools.product(
        (None, 0, 2), (0, 1, 4), (None, True, False), (None, True, False)
    ):
        asked: dict[str, Any] = {
            "sort": sort, "layer": layer, "min_images": least,
            "interpretable": interpretable, "always_on": always_on,
        }  # fmt: skip
        for limit, offset in ((5, 0), (7, 3), (500, 0), (500, 90), (1, 10_000)):
            wanted = unit_uids(connection, limit=limit, offset=offset, **asked)
            assert orders.uids(lambda: connection, limit=limit, offset=offset, **asked) == wanted
        totals.add(wanted.total)
    assert len(totals) > 5


def test_every_list_comes_back_whole(connection: Connection, orders: UnitOrders) -> None:
    found: list[int] = []
    offset: int | None = 0
    while offset is not None:
        page = orders.uids(lambda: connection, limit=7, offset=offset)
        found += page.rows
        offset = page.next_offset
    assert found == list(unit_uids(connection, limit=1000).rows)


def test_the_atlas_is_asked_once(connection: Connection, orders: UnitOrders) -> None:
    orders.uids(lambda: connection, layer=1)
    wanted = unit_uids(connection, layer=2, min_images=1)
    assert orders.uids(lambda: pytest.fail("asked again"), layer=2, min_images=1) == wanted


def test_units_of_a_concept_are_left_to_the_atlas(
    connection: Connection, orders: UnitOrders
) -> None:
    found = orders.uids(lambda: connection, concept=" Water", limit=3)
    assert found == unit_uids(connection, concept="water", limit=3)
    assert found.rows


def test_what_is_wrong_is_said(connection: Connection, orders: UnitOrders) -> None:
    for layer in (-1, 3, 10**9):
        with pytest.raises(NotInAtlasError, match=f"Layer {layer} is not in this atlas"):
            orders.uids(lambda: connection, layer=layer)
    with pytest.raises(ValueError, match="limit must be >= 1"):
        orders.uids(lambda: connection, limit=0)
    with pytest.raises(ValueError, match="offset must be >= 0"):
        orders.uids(lambda: connection, offset=-1)
    with pytest.raises(ValueError, match="sort must be one of images"):
        orders.uids(lambda: connection, sort="beauty")
    with pytest.raises(TypeError, match="colour"):
        orders.uids(lambda: connection, colour="red")


def test_what_was_not_measured(connection: Connection, orders: UnitOrders) -> None:
    wanted: str | None = None
    try:
        unit_uids(connection, sort="iou")
    except NotMeasuredError as error:
        wanted = str(error)
    if wanted is None:
        assert orders.uids(lambda: connection, sort="iou") == unit_uids(connection, sort="iou")
    else:
        with pytest.raises(NotMeasuredError) as raised:
            orders.uids(lambda: connection, sort="iou")
        assert str(raised.value) == wanted


@pytest.fixture
def engine(synthetic_atlas: Path) -> Iterator[Engine]:
    engine = open_atlas(synthetic_atlas)
    yield engine
    engine.dispose()


def test_threads_share_it(engine: Engine, connection: Connection) -> None:
    orders = UnitOrders(queries.atlas_info(connection).units_per_layer)

    def ask(sort: str) -> tuple[int, ...]:
        with engine.connect() as own:
            return orders.uids(lambda: own, sort=sort, limit=9).rows

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, PLAIN_SORTS * 8))
    wanted = [unit_uids(connection, sort=sort, limit=9).rows for sort in PLAIN_SORTS] * 8
    assert found == wanted
