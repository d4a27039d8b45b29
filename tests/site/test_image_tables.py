"""The tables of an image: its page begins what the page beside it has whole."""

import re

import numpy as np
import pytest
from atlas_site.addresses import attributions_address, base_of, image_address, unit_address
from atlas_site.context import OWN_PAGE, Site
from atlas_site.image_tables import AttributionTables
from sqlalchemy import Connection

from atlas_db import queries
from atlas_db.records import ImageRecord

_ROW = re.compile(r"<tr><td>.*?</tr>")


@pytest.fixture
def records(connection: Connection) -> list[ImageRecord]:
    return list(queries.image_records(connection))


def _site(connection: Connection) -> Site:
    info = queries.atlas_info(connection)
    kinds = np.full(info.n_units, OWN_PAGE, np.uint8)
    kinds[: info.units_per_layer] = 0
    return Site(info, kinds, 0, frozenset(range(info.n_layers)), {}, frozenset())


def test_both_pages_lie_at_the_same_depth() -> None:
    assert base_of(image_address(7)) == base_of(attributions_address(7))


def test_every_attribution_has_its_row(connection: Connection, records: list[ImageRecord]) -> None:
    site = _site(connection)
    assert any(record.pairs for record in records)
    for record in records:
        rows = _ROW.findall(AttributionTables(site, record).page().content)
        assert len(rows) == len(record.units) + len(record.pairs)
        by_target = [
            row
            for target in record.targets
            for rows_of_it in (record.units, record.pairs)
            for row in rows_of_it
            if row.target == target.target
        ]
        for html, row in zip(rows, by_target, strict=True):
            address = unit_address(row.layer, row.unit)
            assert f">{row.name}<" in html
            assert (f'href="../{address}"' in html) == (row.layer > 0)
            patch = divmod(row.patch, site.info.grid_columns)
            assert html.endswith(f"<td>{patch[0]}, {patch[1]}</td></tr>")


def test_an_images_page_begins_the_tables(
    connection: Connection, records: list[ImageRecord]
) -> None:
    site = _site(connection)
    for record in records:
        tables = AttributionTables(site, record)
        first, whole = _ROW.findall(tables.first()), _ROW.findall(tables.page().content)
        n_first = sum(
            min(20, sum(row.target == target.target for row in record.units))
            for target in record.targets
        )
        assert len(first) == n_first
        assert set(first) <= set(whole)
        assert bool(first) == bool(record.targets)
