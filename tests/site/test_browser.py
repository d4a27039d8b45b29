"""What a reader does, in headless Chromium: search, look, go on, go back.

Each journey fails on any console message, error in a script, failed request, or request to
another host.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from site_browser import KINDS, PHONE, WALL

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.heatmaps import mask
from atlas_db.records import UnitRecord

#: Greatest mean difference of colours, 0..255, of two drawings that are alike.
ALIKE = 4.0

OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def clear_unit(synthetic_atlas: Path) -> UnitRecord:
    """A unit whose first exemplar has one clear peak."""
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        records = list(queries.unit_records(connection, 0, 96))
    engine.dispose()
    return min(records, key=lambda record: float(record.exemplars[0].heatmap.mean()))


def _address(record: UnitRecord) -> str:
    return f"u/{record.summary.layer}/{record.summary.unit}.html"


def _first_tile(page: Any) -> Any:
    """Wait for the first exemplar's photograph and give its tile."""
    tile = page.locator(".na-grid .na-map").first
    image = tile.locator("img").element_handle()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image)
    return tile


def _pixels(locator: Any) -> np.ndarray:
    """Photograph an element: float64, (height, width, 3)."""
    image = Image.open(io.BytesIO(locator.screenshot(animations="disabled"))).convert("RGB")
    return np.asarray(image).astype(np.float64)


def _choose(page: Any, form: str) -> None:
    page.locator(f".na-controls button[data-form={form}]").first.click()


# --- Journeys ---


def test_search_a_concept_open_a_unit_open_an_image_go_back(open_page: OpenPage) -> None:
    page = open_page("index.html")
    box = page.get_by_role("combobox", name="Search a concept, a unit or an image")
    box.press_sequentially("wat")
    first = page.locator("#na-front-list [role=option]").first
    expect(first).to_have_text(re.compile(r"^\s*water\s*\d+ units\s*$"))
    box.press("ArrowDown")
    assert first.get_attribute("aria-selected") == "true"
    box.press("Enter")
    page.wait_for_url("**/c/water.html")
    assert page.get_by_role("heading", level=1).inner_text() == "water"

    page.locator(".na-card h3 a").first.click()
    page.wait_for_url("**/u/*/*.html")
    pictures = page.locator(".na-grid .na-map img")
    assert pictures.count() > 3
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())

    unit = page.url
    page.locator(".na-grid a.na-map").first.click()
    page.wait_for_url("**/i/*.html")
    assert page.locator(".na-caption strong").count() >= 1
    page.go_back()
    page.wait_for_url(unit)
    page.go_back()
    page.wait_for_url("**/c/water.html")


@pytest.mark.parametrize(
    ("typed", "address"),
    [("L1.U4", "u/1/4.html"), ("l1 u4", "u/1/4.html"), ("2.31", "u/2/31.html"), ("L2", "l/2.html")],
)
def test_units_and_layers_are_reached_by_name(
    open_page: OpenPage, typed: str, address: str
) -> None:
    page = open_page("method.html")
    page.keyboard.press("/")
    page.keyboard.type(typed)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{address}")


def test_an_image_is_reached_by_its_number(open_page: OpenPage, built_site: Any) -> None:
    pages = (built_site.folder / "i").iterdir()
    number = next(path.stem for path in sorted(pages) if path.stem.isdecimal())
    page = open_page("u/0/0.html")
    page.keyboard.press("/")
    page.keyboard.type(number)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/i/{number}.html")
    page.keyboard.press("/")
    page.keyboard.type(f"image {number}")
    page.locator("#na-header-list [role=option]").get_by_text(f"Image {number}").wait_for()


@pytest.mark.parametrize(
    ("typed", "said", "offered"),
    [
        ("watre", "No unit promotes “watre”. Did you mean:", "water"),
        ("pizzas", "No unit promotes “pizzas”. Of the same stem:", "pizza"),
        ("L7.U1", "This atlas has layers 0 to 2.", None),
        ("L1.U99", "A layer of this atlas has units 0 to 31.", None),
        (
            "xylophone",
            "No unit promotes “xylophone”. Try a more common word, or look through:",
            "All concepts",
        ),
    ],
)
def test_what_is_not_there_is_answered(
    open_page: OpenPage, typed: str, said: str, offered: str | None
) -> None:
    page = open_page("index.html")
    page.locator("[data-atlas-search=na-front-list]").press_sequentially(typed)
    page.locator("#na-front-list p").get_by_text(said, exact=True).wait_for()
    options = page.locator("#na-front-list [role=option] bdi").all_inner_texts()
    assert (offered in options) if offered else not options


def test_a_word_that_is_no_token_is_answered_by_what_is_related(
    open_page: OpenPage, synthetic_atlas: Path
) -> None:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        related = [near.concept for near in queries.concept(connection, "pizza").related]
    engine.dispose()
    assert related
    page = open_page("index.html")
    page.locator("[data-atlas-search=na-front-list]").press_sequentially("pizzas")
    near = page.locator("#na-front-list [role=option]", has_text="near “pizza”")
    near.first.wait_for()
    shown = near.locator("bdi").all_inner_texts()
    assert shown
    assert shown == related[: len(shown)]
    near.first.click()
    page.wait_for_url("**/c/*.html")
    assert page.get_by_role("heading", level=1).inner_text() == shown[0]


@pytest.mark.parametrize("width", [1000, 1280, 1600])
def test_the_open_search_stays_inside_the_window(open_page: OpenPage, width: int) -> None:
    page = open_page("method.html", viewport={"width": width, "height": 900})
    page.keyboard.press("/")
    page.keyboard.type("water")
    option = page.locator("#na-header-list [role=option]").first
    option.wait_for()
    page.keyboard.press("ArrowDown")
    page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
    assert page.evaluate("[scrollX, document.documentElement.scrollWidth]") == [0, width]
    counted = option.locator("small").bounding_box()
    box = page.locator(".md-search__form").bounding_box()
    assert box["x"] < counted["x"]
    assert counted["x"] + counted["width"] <= box["x"] + box["width"] <= width


def test_a_hostile_concept_is_text_in_the_suggestions(open_page: OpenPage) -> None:
    page = open_page("index.html")
    page.locator("[data-atlas-search=na-front-list]").press_sequentially("<scr")
    option = page.locator("#na-front-list [role=option]").first
    expect(option.locator("bdi")).to_have_text("<script>alert(1)</script>")
    option.click()
    page.wait_for_url("**/c/*.html")
    assert page.get_by_role("heading", level=1).inner_text() == "<script>alert(1)</script>"


def test_materials_own_search_still_finds_pages(open_page: OpenPage) -> None:
    page = open_page("u/1/4.html")
    page.keyboard.press("/")
    page.keyboard.type("attribution")
    found = page.locator(".md-search-result__list a").first
    found.wait_for()
    assert "method.html" in str(found.get_attribute("href"))


def test_keys_lead_to_neighbours_and_a_unit_of_note(open_page: OpenPage) -> None:
    page = open_page("u/1/4.html")
    page.keyboard.press("n")
    page.wait_for_url("**/u/1/5.html")
    page.keyboard.press("p")
    page.wait_for_url("**/u/1/4.html")
    # It may lead to the same page again, so the address alone does not say that it led anywhere;
    # and a page that is left behind while it leads somewhere may never close.
    with page.expect_navigation(url=re.compile(r"/u/\d+/\d+\.html$")):
        page.keyboard.press("r")
    assert page.locator("h1.na-name").inner_text().startswith("L")


def test_code_and_permalink_are_copied(open_page: OpenPage) -> None:
    page = open_page("u/1/4.html", permissions=["clipboard-read", "clipboard-write"])
    sql = page.locator(".na-yourself pre", has_text="SELECT")
    sql.get_by_role("button", name="Copy").click()
    sql.get_by_text("Copied", exact=True).wait_for()
    assert _pasted(page) == "".join(str(sql.locator("code").text_content()).split())
    for has, wanted in (("/api/", "/api/v1/units/1/4"), ("Neuron atlas", "L1.U4.Neuronatlas")):
        block = page.locator(".na-yourself pre", has_text=has)
        block.get_by_role("button", name="Copy").click()
        block.get_by_text("Copied", exact=True).wait_for()
        assert _pasted(page).startswith(wanted)
    page.get_by_role("button", name="Copy link to this page").click()
    page.get_by_role("button", name="Copied").last.wait_for()
    assert _pasted(page) == page.url


def _pasted(page: Any) -> str:
    """Paste into the search box, as a reader would, and take it out again without white space."""
    box = page.locator(".md-search__input")
    box.focus()
    page.keyboard.press("Control+V")
    pasted = "".join(box.input_value().split())
    box.fill("")
    page.keyboard.press("Escape")
    return pasted


# --- Heatmaps ---


def test_the_heatmap_lies_over_the_photograph(open_page: OpenPage, clear_unit: UnitRecord) -> None:
    page = open_page(_address(clear_unit))
    tile = _first_tile(page)
    heat = _pixels(tile)
    _choose(page, "none")
    plain = _pixels(tile)
    changed = np.abs(heat - plain).mean(axis=2)
    peak = int(np.argmax(clear_unit.exemplars[0].heatmap))
    side = heat.shape[0] / 14
    row, column = (int((place + 0.5) * side) for place in divmod(peak, 14))
    assert changed[row, column] > 60
    assert np.median(changed) < 20


def test_strength_and_form_are_remembered(open_page: OpenPage, clear_unit: UnitRecord) -> None:
    page = open_page(_address(clear_unit))
    strength = page.locator("[data-strength]").first
    strength.evaluate("input => { input.value = 0; input.dispatchEvent(new Event('input')); }")
    tile = _first_tile(page)
    without = _pixels(tile)
    _choose(page, "none")
    assert np.abs(without - _pixels(tile)).mean() < ALIKE
    page.reload()
    assert page.locator("html").get_attribute("data-form") == "none"
    page.goto(page.url.rsplit("/u/")[0] + "/i/139.html")
    assert page.locator("button[data-form=none]").get_attribute("aria-pressed") == "true"


def test_the_threshold_is_remembered_on_all_pages(
    open_page: OpenPage, clear_unit: UnitRecord
) -> None:
    page = open_page(_address(clear_unit))
    tile = _first_tile(page)
    _choose(page, "mask")
    page.locator(".na-grid .na-map canvas").first.wait_for(state="attached")
    strict = _pixels(tile)
    threshold = page.get_by_label("Percentile").first
    threshold.fill("80")
    page.locator(".na-percentile output").first.get_by_text("80").wait_for()
    page.wait_for_timeout(300)
    assert np.abs(_pixels(tile) - strict).mean() > ALIKE
    page.goto(page.url.rsplit("/u/")[0] + "/c/water.html")
    assert page.locator("html").get_attribute("data-form") == "mask"
    assert page.get_by_label("Percentile").first.input_value() == "80"


def test_the_browser_masks_as_the_atlas_does(open_page: OpenPage, clear_unit: UnitRecord) -> None:
    page = open_page(_address(clear_unit))
    _choose(page, "mask")
    canvas = page.locator(".na-grid .na-map canvas").first
    canvas.wait_for(state="attached")
    alpha = canvas.evaluate(
        """canvas => Array.from(
          canvas.getContext("2d").getImageData(0, 0, 224, 224).data.filter((_, i) => i % 4 === 3)
        )"""
    )
    inside = np.array(alpha).reshape(224, 224) == 0
    exact = mask(clear_unit.exemplars[0].heatmap, (14, 14), 224)
    assert exact.any()
    # Ties at the percentile may fall either way in float32.
    assert (inside != exact).mean() < 0.001


@pytest.mark.parametrize("form", ["light", "mask", "outline"])
def test_each_form_is_drawn(open_page: OpenPage, clear_unit: UnitRecord, form: str) -> None:
    page = open_page(_address(clear_unit))
    tile = _first_tile(page)
    _choose(page, "none")
    plain = _pixels(tile)
    _choose(page, form)
    if form != "light":
        page.locator(".na-grid .na-map canvas").first.wait_for(state="attached")
    drawn = _pixels(tile)
    assert np.abs(drawn - plain).mean() > ALIKE
    _choose(page, "none")
    assert np.abs(_pixels(tile) - plain).mean() < ALIKE


def test_an_images_photograph_follows_the_unit(open_page: OpenPage) -> None:
    page = open_page("i/139.html")
    big = page.locator(".na-big .na-map").first
    said = page.locator("[data-shown]").first
    mean = said.inner_text()
    page.locator("[data-tile='2']").first.hover()
    name = page.locator("[data-tile='2'] .na-u").first.inner_text()
    assert said.inner_text() == f"Activation of {name}"
    assert big.evaluate("map => map.style.getPropertyValue('--k')") == "2"
    page.mouse.move(2, 2)
    assert said.inner_text() == mean


def test_the_map_of_a_layer_leads_to_its_units(open_page: OpenPage) -> None:
    page = open_page("l/1.html")
    plane = page.locator("[data-plane]")
    plane.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    width = int(str(plane.get_attribute("data-width")))
    assert plane.locator("output").inner_text() == f"L1.U{width + 1}"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/u/1/{width + 1}.html")


# --- Every kind of page, in every dress ---


@pytest.mark.parametrize("viewport", [PHONE, WALL], ids=["phone", "wall"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_the_screen(
    open_page: OpenPage, site_url: str, scheme: str, viewport: dict[str, int]
) -> None:
    page = open_page(KINDS[0], viewport=viewport, color_scheme=scheme)
    for kind in KINDS:
        page.goto(f"{site_url}/{kind}")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= viewport["width"], kind
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in re.findall(r"\d+", ground)[:3])
        assert brightness > 600 if scheme == "light" else brightness < 150, kind


@pytest.mark.parametrize("kind", ["categories.html", "downloads.html"])
def test_on_a_phone_rows_are_blocks_and_nothing_is_cut(open_page: OpenPage, kind: str) -> None:
    page = open_page(kind, viewport=PHONE)
    tables = page.locator(".na-stacked .na-scroll")
    assert tables.count()
    for table in tables.all():
        assert table.evaluate("one => one.scrollWidth - one.clientWidth") <= 0
    cells = page.locator(".na-stacked tbody tr").first.locator("td")
    name, figure, rest = (cells.nth(place).bounding_box() for place in range(3))
    assert abs(name["y"] - figure["y"]) < 8
    assert rest["y"] >= name["y"] + name["height"] - 1


@pytest.mark.parametrize("kind", ["i/139.html", "explore.html", "l/1.html"])
def test_no_token_is_broken_in_a_table(open_page: OpenPage, kind: str) -> None:
    page = open_page(kind, viewport=PHONE)
    page.locator("td > bdi").first.wait_for()
    heights = page.locator("td > bdi").evaluate_all(
        "all => all.map(one => one.getClientRects().length)"
    )
    assert set(heights) == {1}


def test_the_palette_can_be_turned_and_is_remembered(open_page: OpenPage) -> None:
    page = open_page("u/1/4.html", color_scheme="light")
    page.locator("label[for=__palette_1]").click()
    assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"
    page.goto(page.url.replace("/u/1/4.html", "/i/139.html"))
    assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"


@pytest.mark.parametrize("kind", ["u/1/4.html", "i/139.html", "c/water.html"])
def test_pages_work_without_javascript(
    open_page: OpenPage, clear_unit: UnitRecord, kind: str
) -> None:
    page = open_page(kind, java_script_enabled=False)
    assert page.locator(".na-map img").first.is_visible()
    assert not page.locator(".na-controls button").count()
    page.locator("a.na-u").first.click()
    page.wait_for_url("**/u/*/*.html")
    page.locator(".na-grid a.na-map").first.click()
    page.wait_for_url("**/i/*.html")
