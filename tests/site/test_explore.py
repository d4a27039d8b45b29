"""Exploring units: narrow, colour, sort, pick; the address holds it; lists need no script."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from site_browser import PHONE

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.records import UnitSummary

OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def units(synthetic_atlas: Path) -> list[UnitSummary]:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        found = queries.units(connection, sort="images", limit=1000)
    engine.dispose()
    return list(found.rows)


def _ready(page: Any) -> None:
    page.locator("[data-explore][data-ready]").wait_for()


def _names(page: Any) -> list[str]:
    return page.locator("[data-table] tbody .na-u").all_inner_texts()


def _said(page: Any, words: str) -> None:
    page.locator("[data-said]").get_by_text(words).wait_for()


def test_a_word_narrowed_by_layer_and_images(open_page: OpenPage, units: list[UnitSummary]) -> None:
    page = open_page("explore.html")
    _ready(page)
    _said(page, "96 of 96 units")
    page.locator("[name=word]").press_sequentially("Water")
    _said(page, re.compile(r"^\d\d of 96 units"))
    page.locator("[name=layer]").select_option("1")
    page.locator("[name=images]").fill("2")
    page.locator("[name=images]").blur()
    page.wait_for_url("**/explore.html?word=Water&layer=1&images=2")
    page.wait_for_function("document.querySelectorAll('[data-table] tbody tr').length < 20")
    wanted = {
        unit.name
        for unit in units
        if unit.layer == 1
        and unit.n_images >= 2
        and any(token.strip().casefold() == "water" for token in _promoted(unit))
    }
    assert wanted
    assert set(_names(page)) == wanted


def _promoted(unit: UnitSummary) -> tuple[str, ...]:
    return unit.top_tokens


def test_back_and_forward_keep_the_choice(open_page: OpenPage) -> None:
    page = open_page("explore.html?word=dog")
    _ready(page)
    before = _names(page)
    page.locator("[name=interpretable]").check()
    page.wait_for_url("**/explore.html?word=dog&interpretable=1")
    page.wait_for_function(
        "n => document.querySelectorAll('[data-table] tbody tr').length < n", arg=len(before)
    )
    narrowed = _names(page)
    page.locator("[data-table] tbody a.na-u").first.click()
    page.wait_for_url("**/u/*/*.html")
    page.go_back()
    _ready(page)
    assert page.locator("[name=interpretable]").is_checked()
    assert page.locator("[name=word]").input_value() == "dog"
    assert _names(page) == narrowed
    page.go_back()
    page.wait_for_function("() => !document.querySelector('[name=interpretable]').checked")
    page.wait_for_function(
        "n => document.querySelectorAll('[data-table] tbody tr').length === n", arg=len(before)
    )
    page.go_forward()
    page.wait_for_function("() => document.querySelector('[name=interpretable]').checked")


def test_the_table_sorts_and_turns_pages(open_page: OpenPage, units: list[UnitSummary]) -> None:
    page = open_page("explore.html")
    _ready(page)
    head = page.locator("[data-table] th button", has_text="max activation")
    head.click()
    page.wait_for_url("**/explore.html?sort=activation")
    falling = sorted(units, key=lambda unit: (-unit.activation_max, unit.uid))
    page.wait_for_function(
        "name => document.querySelector('[data-table] .na-u').textContent === name",
        arg=falling[0].name,
    )
    seen = _names(page)
    for part in range(2, 5):
        page.get_by_role("button", name="after").click()
        page.locator(f"[data-table][data-page='{part}']").wait_for()
        seen += _names(page)
    assert seen == [unit.name for unit in falling]
    head.click()
    page.wait_for_url("**/explore.html?sort=activation&rising=1")
    rising = sorted(units, key=lambda unit: (unit.activation_max, unit.uid))
    page.wait_for_function(
        "name => document.querySelector('[data-table] .na-u').textContent === name",
        arg=rising[0].name,
    )
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("max activation")


def test_units_without_a_figure_come_last(open_page: OpenPage, units: list[UnitSummary]) -> None:
    without = {unit.name for unit in units if unit.best_attribution is None}
    assert without
    for address in (
        "explore.html?sort=attribution&page=4",
        "explore.html?sort=attribution&rising=1&page=4",
    ):
        page = open_page(address)
        _ready(page)
        assert set(_names(page)[-len(without) :]) == without


@pytest.mark.parametrize("viewport", [PHONE, {"width": 1600, "height": 1000}])
def test_each_unit_is_found_on_the_map(
    open_page: OpenPage, viewport: dict[str, int], units: list[UnitSummary]
) -> None:
    page = open_page("explore.html?unit=L2.U31", viewport=viewport)
    _ready(page)
    page.locator("[data-picked] .na-u").get_by_text("L2.U31", exact=True).wait_for()
    mark = page.locator("[data-strips] > i").bounding_box()
    strip = page.locator("[data-strips] canvas").nth(2)
    box = strip.bounding_box()
    columns = strip.evaluate("canvas => canvas.width")
    side = box["width"] / columns
    assert mark["x"] == pytest.approx(box["x"] + 31 % columns * side, abs=3)
    assert mark["y"] == pytest.approx(box["y"] + 31 // columns * side, abs=3)
    # Click on L1.U4 and open it from there.
    first = page.locator("[data-strips] canvas").nth(1)
    first.click(position={"x": 4.5 * side, "y": side / 2})
    link = page.locator("[data-picked] a.na-u")
    link.get_by_text("L1.U4", exact=True).wait_for()
    assert page.url.endswith("unit=L1.U4")
    link.click()
    page.wait_for_url("**/u/1/4.html")


def test_the_map_is_walked_with_keys(open_page: OpenPage) -> None:
    page = open_page("explore.html?unit=L0.U0")
    _ready(page)
    strips = page.locator("[data-strips]")
    strips.focus()
    page.keyboard.press("ArrowRight")
    page.locator("[data-picked] .na-u").get_by_text("L0.U1", exact=True).wait_for()
    columns = strips.locator("canvas").first.evaluate("canvas => canvas.width")
    rows = -(-32 // columns)
    for _ in range(rows):
        page.keyboard.press("ArrowDown")
    page.locator("[data-picked] .na-u").get_by_text("L1.U1", exact=True).wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url("**/u/1/1.html")


def test_the_map_shows_the_figure(open_page: OpenPage, units: list[UnitSummary]) -> None:
    """The unit of most images is the brightest, one of none grey, one not meant nearly black."""
    page = open_page("explore.html?layer=1")
    _ready(page)
    by_uid = {unit.uid: unit for unit in units}

    strips = [
        page.locator("[data-strips] canvas")
        .nth(layer)
        .evaluate(
            "canvas => [...canvas.getContext('2d')"
            ".getImageData(0, 0, canvas.width, canvas.height).data]"
        )
        for layer in (0, 1)
    ]

    def colour(uid: int) -> list[int]:
        layer, unit = divmod(uid, 32)
        return strips[layer][4 * unit : 4 * unit + 3]

    most = max(range(32, 64), key=lambda uid: by_uid[uid].n_images)
    none = next((uid for uid in range(32, 64) if by_uid[uid].n_images == 0), None)
    assert sum(colour(most)) > 350
    if none is not None:
        assert sum(colour(5)) < sum(colour(none)) < sum(colour(most))
        assert colour(none) == [43, 45, 58]
    assert colour(5) == [24, 25, 34]
    legend = page.locator(".na-legend").inner_text()
    assert re.match(r"images: 1\s+\d+ and above, logarithmic\s+0 · In whose top 100 it is", legend)


def test_figures_have_three_digits_and_stand_below_one_another(open_page: OpenPage) -> None:
    page = open_page("explore.html?sort=mean_attribution")
    _ready(page)
    rows = page.locator("[data-table] tbody tr")
    for row in rows.all():
        shown = row.locator("td").nth(4).inner_text()
        digits = re.sub(r"^0[.]0*|[.−]", "", shown)
        assert shown == "–" or len(digits) == 3, shown
    rights = rows.locator("td:nth-child(5)").evaluate_all(
        """cells => cells.map(cell => {
          const range = document.createRange();
          range.selectNodeContents(cell);
          return Math.round(range.getBoundingClientRect().right);
        })"""
    )
    assert len(rights) > 3
    assert len(set(rights)) == 1


def test_a_word_that_no_unit_promotes(open_page: OpenPage) -> None:
    page = open_page("explore.html?word=xylophone")
    _ready(page)
    _said(page, "No unit promotes “xylophone”. Ask for less, or begin again with “all units”.")
    assert not _names(page)
    page.get_by_role("button", name="all units").click()
    _said(page, "96 of 96 units")


def test_a_hostile_word_in_the_address_is_text(open_page: OpenPage) -> None:
    page = open_page(
        "explore.html?word=%3Cimg%20src=x%20onerror=alert(1)%3E&layer=x&sort=y&page=-3"
    )
    _ready(page)
    _said(page, "No unit promotes “<img src=x onerror=alert(1)>”.")
    assert page.locator("[data-said] img").count() == 0


def test_suggestions_lead_to_the_narrowed_units(open_page: OpenPage) -> None:
    page = open_page("index.html")
    page.locator("[data-atlas-search=na-front-list]").press_sequentially("dog")
    last = page.locator("#na-front-list [role=option]").last
    last.get_by_text("Narrow the units of “dog”").wait_for()
    last.click()
    page.wait_for_url("**/explore.html?word=dog")
    _ready(page)
    assert page.locator("[name=word]").input_value() == "dog"


def test_a_concepts_page_leads_to_all_of_its_units(open_page: OpenPage) -> None:
    page = open_page("c/water.html")
    counted = int(re.search(r"(\d+) units", page.locator(".na-lead").inner_text())[1])
    page.get_by_text("of them by layer").click()
    page.wait_for_url("**/explore.html?word=water")
    _ready(page)
    _said(page, f"{counted} of 96 units")


def test_lists_and_categories_need_no_script(open_page: OpenPage, synthetic_atlas: Path) -> None:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        listed = queries.listed_units(connection, queries.UNIT_LISTS["frequent"])
        categories = queries.categories(connection)
    engine.dispose()
    page = open_page("explore.html", java_script_enabled=False)
    section = page.locator("#frequent")
    assert section.locator(".na-u").all_inner_texts() == [row.unit.name for row in listed]
    section.locator("summary").click()
    shown = section.locator("pre code").inner_text()
    assert shown.split() == queries.UNIT_LISTS["frequent"].sql.split()
    page = open_page("categories.html", java_script_enabled=False)
    names = page.locator(".na-categories tbody td:first-child").all_inner_texts()
    assert names == [category.name for category in categories]
    assert page.locator(".na-categories").get_by_text("none").count() >= 1
