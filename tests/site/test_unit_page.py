"""A silent unit is not said to see anything; a unit's figures are those of its record."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from atlas_site.context import Site
from atlas_site.measured import measured
from atlas_site.unit_page import unit_page

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.experiment_records import TextExemplarRecord
from atlas_db.records import ExemplarRecord, UnitRecord


@pytest.fixture(scope="module")
def site_and_unit(synthetic_atlas: Path) -> tuple[Site, UnitRecord]:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        info = queries.atlas_info(connection)
        (record,) = queries.unit_records(connection, 36, 37)
    engine.dispose()
    n_units = info.n_layers * info.units_per_layer
    return Site(info, np.zeros(n_units, np.uint8), 0, frozenset({1}), {}, frozenset()), record


def _still(exemplar: ExemplarRecord) -> ExemplarRecord:
    return dataclasses.replace(exemplar, activation=0.0, heatmap=exemplar.heatmap * 0)


def test_a_silent_unit_sees_nothing(site_and_unit: tuple[Site, UnitRecord]) -> None:
    site, record = site_and_unit
    silent = dataclasses.replace(
        record,
        summary=dataclasses.replace(record.summary, activation_max=0.0, n_images=0),
        exemplars=tuple(map(_still, record.exemplars)),
    )
    page = unit_page(site, silent).content
    assert "Nothing: it is" in page
    assert f"0 at each of the {record.n_patches:,} patches" in page
    assert ">silent</span>" in page
    assert "na-map" not in page
    assert "na-histogram" not in page
    shown = unit_page(site, record).content
    assert "Nothing: it is" not in shown
    assert ">silent</span>" not in shown
    assert shown.count('class="na-map"') == len(record.exemplars)


def test_images_that_leave_a_unit_still_are_not_its_exemplars(
    site_and_unit: tuple[Site, UnitRecord],
) -> None:
    site, record = site_and_unit
    first, *rest = record.exemplars
    page = unit_page(site, dataclasses.replace(record, exemplars=(first, *map(_still, rest))))
    assert page.content.count('class="na-map"') == 1
    assert "The 1 image with its greatest" in page.content


def test_text_that_leaves_a_unit_still_is_not_shown() -> None:
    active = TextExemplarRecord(1, "captions", 0, 2.5, 0, ("dog",), (2.5,))
    still = TextExemplarRecord(2, "captions", 1, 0.0, 0, ("cat",), (0.0,))
    shown = measured("", None, [active, still])
    assert "dog" in shown
    assert "cat" not in shown
    assert measured("", None, [still]) == ""
