"""No kind of page has an error that axe-core knows of, in light and dark, on a desk and a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from site_browser import DESK, KINDS, PHONE

#: Kinds of pages whose parts stand otherwise on a phone.
_ON_A_PHONE = (
    "index.html", "explore.html", "u/1/4.html", "i/139.html", "c/water.html", "l/1.html",
    "categories.html", "downloads.html", "families.html", "own-model.html",
)  # fmt: skip

OpenPage = Callable[..., Any]


def _errors(page: Any) -> list[str]:
    """List what axe-core finds, each with the first element that has it."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]


def _wait_for_scripts(page: Any) -> None:
    """Wait until what a script draws is there, and is drawn in its last colours."""
    page.wait_for_load_state("networkidle")
    page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("viewport", "kinds"), [(DESK, KINDS), (PHONE, _ON_A_PHONE)], ids=["desk", "phone"]
)
def test_no_kind_of_page_has_an_error(
    open_page: OpenPage, site_url: str, scheme: str, viewport: dict[str, int], kinds: list[str]
) -> None:
    page = open_page(kinds[0], viewport=viewport, color_scheme=scheme)
    found = {}
    for kind in kinds:
        page.goto(f"{site_url}/{kind}")
        _wait_for_scripts(page)
        found[kind] = _errors(page)
    assert not {kind: errors for kind, errors in found.items() if errors}


def test_the_page_of_what_is_not_there_has_no_error(
    browser: Any, built_site: Any, serve_folder: Callable[[Any], str]
) -> None:
    page = browser.new_page()
    page.goto(f"{serve_folder(built_site.folder)}/nowhere/at-all.html")
    assert not _errors(page)
    page.close()


def test_an_error_would_be_found(open_page: OpenPage) -> None:
    page = open_page("u/1/4.html")
    page.evaluate("document.querySelector('.na-grid img').removeAttribute('alt')")
    page.evaluate("document.querySelector('h1').style.color = '#ddd'")
    found = " ".join(_errors(page))
    assert "image-alt" in found or "link-name" in found
    assert "color-contrast" in found


def test_the_search_and_its_answers_have_no_error(open_page: OpenPage) -> None:
    page = open_page("index.html")
    page.locator("[data-atlas-search=na-front-list]").press_sequentially("wat")
    page.locator("#na-front-list [role=option]").first.wait_for()
    assert not _errors(page)
    page = open_page("method.html")
    page.keyboard.press("/")
    page.keyboard.type("wat")
    page.locator("#na-header-list [role=option]").first.wait_for()
    _wait_for_scripts(page)
    assert not _errors(page)
