"""The journeys of a reader through the site of an atlas of 20,000 units, in headless Chromium.

`test_browser` and `test_explore` go into each; here they are taken where there are many pages of
the table, many shards of rows, and strips of which a unit is one pixel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from site_browser import PHONE
from sqlalchemy import Connection

from atlas_db import queries
from atlas_db.connection import open_atlas

pytestmark = pytest.mark.slow

N_UNITS = 20_000
OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def atlas(many_units: Path) -> Iterator[Connection]:
    engine = open_atlas(many_units)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _type(page: Any, words: str) -> Any:
    """Type into the front page's search and give the list below it."""
    page.locator("[data-atlas-search=na-front-list]").press_sequentially(words)
    return page.locator("#na-front-list")


def _ready(page: Any) -> None:
    page.locator("[data-explore][data-ready]").wait_for()


def _names(page: Any) -> list[str]:
    return page.locator("[data-table] tbody .na-u").all_inner_texts()


def test_from_a_word_to_a_unit_to_an_image_and_back(
    open_among_many: OpenPage, atlas: Connection
) -> None:
    page = open_among_many("index.html")
    first = _type(page, "wat").locator("[role=option]").first
    water = queries.concept(atlas, "water").summary
    expect(first).to_have_text(re.compile(rf"^\s*water\s*{water.n_units:,} units\s*$"))
    first.click()
    page.wait_for_url("**/c/water.html")
    page.locator(".na-card h3 a").first.click()
    page.wait_for_url("**/u/*/*.html")
    unit = page.url
    page.locator(".na-grid a.na-map").first.click()
    page.wait_for_url("**/i/*.html")
    page.go_back()
    page.wait_for_url(unit)
    page.go_forward()
    page.wait_for_url("**/i/*.html")


@pytest.mark.parametrize(
    ("typed", "address"),
    [("L3.U4999", "u/3/4999.html"), ("1.2345", "u/1/2345.html"), ("139", "i/139.html")],
)
def test_units_and_images_by_name(open_among_many: OpenPage, typed: str, address: str) -> None:
    page = open_among_many("index.html")
    option = _type(page, typed).locator("[role=option]").first
    expect(option).to_have_attribute("href", re.compile(rf"(^|/){re.escape(address)}$"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{address}")


def test_a_word_that_is_no_token_is_answered_by_its_family(open_among_many: OpenPage) -> None:
    page = open_among_many("index.html")
    shown = _type(page, "pizzas")
    shown.get_by_text("No unit promotes “pizzas”. Of the same stem:", exact=True).wait_for()
    assert "pizza" in shown.locator("[role=option] bdi").all_inner_texts()


def test_narrowed_by_word_layer_images_and_interpretability(
    open_among_many: OpenPage, atlas: Connection
) -> None:
    page = open_among_many("explore.html")
    _ready(page)
    page.locator("[data-said]").get_by_text("20,000 of 20,000 units").wait_for()
    page.locator("[name=word]").press_sequentially("water")
    page.locator("[name=layer]").select_option("2")
    page.locator("[name=interpretable]").check()
    page.locator("[name=images]").fill("1")
    page.locator("[name=images]").blur()
    wanted = queries.units(
        atlas, concept="water", layer=2, interpretable=True, min_images=1, limit=1000
    )
    assert 0 < wanted.total < 1000
    page.locator("[data-said]").get_by_text(
        re.compile(rf"^{wanted.total:,} of 20,000 units")
    ).wait_for()
    assert set(_names(page)) <= {unit.name for unit in wanted.rows}
    narrowed = page.url
    page.locator("[data-table] tbody a.na-u").first.click()
    page.wait_for_url("**/u/2/*.html")
    page.go_back()
    page.wait_for_url(narrowed)
    _ready(page)
    assert page.locator("[name=layer]").input_value() == "2"
    page.locator("[data-said]").get_by_text(f"{wanted.total:,} of 20,000 units").wait_for()


def test_the_table_leads_to_the_last_of_all_units(
    open_among_many: OpenPage, atlas: Connection
) -> None:
    last = f"page={-(-N_UNITS // 25)}"
    page = open_among_many(f"explore.html?sort=activation&{last}")
    _ready(page)
    falling = queries.units(atlas, sort="activation", limit=N_UNITS).rows
    page.locator("[data-table] tbody .na-u").first.wait_for()
    shown = _names(page)
    assert shown == [unit.name for unit in falling[-len(shown) :]]


@pytest.mark.parametrize("viewport", [PHONE, {"width": 1600, "height": 1000}])
def test_any_unit_is_found_on_the_map(open_among_many: OpenPage, viewport: dict[str, int]) -> None:
    page = open_among_many("explore.html?unit=L3.U4999", viewport=viewport)
    _ready(page)
    picked = page.locator("[data-picked] a.na-u")
    picked.get_by_text("L3.U4999", exact=True).wait_for()
    page.locator("[data-strips]").focus()
    page.keyboard.press("ArrowLeft")
    picked.get_by_text("L3.U4998", exact=True).wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**/u/3/4998.html")


def test_hostile_tokens_are_text_everywhere(open_among_many: OpenPage) -> None:
    page = open_among_many("index.html")
    option = _type(page, "<scr").locator("[role=option]").first
    expect(option.locator("bdi")).to_have_text("<script>alert(1)</script>")
    option.click()
    page.wait_for_url("**/c/*.html")
    page.get_by_text("of them by layer").click()
    page.wait_for_url(re.compile(r"/explore\.html\?word=%3Cscript"))
    _ready(page)
    page.locator("[data-table] tbody tr").first.wait_for()
    assert page.locator("[data-table] script").count() == 0
    assert "<script>alert(1)</script>" in page.locator("[data-table]").inner_text()


@pytest.mark.parametrize("kind", ["u/3/4999.html", "c/water.html", "explore.html", "l/3.html"])
def test_pages_are_read_without_javascript(open_among_many: OpenPage, kind: str) -> None:
    page = open_among_many(kind, java_script_enabled=False)
    assert page.get_by_role("heading", level=1).is_visible()
    page.locator("a.na-u").first.click()
    page.wait_for_url("**/u/*/*.html")
    page.locator(".na-grid a.na-map").first.click()
    page.wait_for_url("**/i/*.html")
