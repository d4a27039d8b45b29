"""The page on which SQL is tried, in headless Chromium against a real server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from waitress.server import create_server

from tests.tools.served import served

CHROMIUM = Path("/usr/bin/chromium")
PAGE = Path(__file__).parents[2] / "api" / "sql_page"


@pytest.fixture(scope="module")
def address(app: APIFlask) -> Iterator[str]:
    with served(create_server(app, host="127.0.0.1", port=0, threads=4)) as address:
        yield address


def test_it_is_of_its_own_files_alone(client: FlaskClient) -> None:
    page = client.get("/api/sql")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    text = page.get_data(as_text=True)
    loaded = re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]+)"', text)
    assert set(loaded) == {"data:,", "sql/page.css", "sql/page.js"}
    assert " style=" not in text
    assert " onclick" not in text
    for name in ("page.css", "page.js"):
        response = client.get(f"/api/sql/{name}", buffered=True)
        assert response.status_code == 200
        assert "http" not in response.get_data(as_text=True)
    for name in ("index.html", "..%2fapp.py", "__init__.py"):
        assert client.get(f"/api/sql/{name}").status_code == 404
    assert client.get("/api/sql/", follow_redirects=True).request.path == "/api/sql"


def test_its_examples_run(client: FlaskClient) -> None:
    source = (PAGE / "page.js").read_text(encoding="utf-8")
    listed = source[source.index("const EXAMPLES") : source.index("const FIRST_VALUES")]
    joined = re.sub(r'"\s*\+\s*"', "", listed)
    pairs = re.findall(r'\["((?:[^"\\]|\\.)*)",\s*"((?:[^"\\]|\\.)*)"\]', joined)
    assert len(pairs) >= 5
    known = {"concept": "water", "category": "boat", "layer": 0, "unit": 0}
    for _, escaped in pairs:
        statement = json.loads(f'"{escaped}"')
        names = re.findall(r"\$(\w+)", statement)
        body = {"q": statement, "parameters": {name: known[name] for name in names}}
        response = client.post("/api/v1/sql", json=body)
        assert response.status_code == 200, response.data
        assert response.get_json()["n_rows"] > 0, statement


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.fail("there is no /usr/bin/chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    quiet = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
             "disable-background-networking", "disable-component-update")  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=[f"--{name}" for name in quiet]
        )
        yield browser
        browser.close()


def test_a_visitor_asks_and_downloads(browser: Any, address: str) -> None:
    page = browser.new_page()
    problems: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/api/sql")
    page.get_by_text("units (96)").wait_for()
    assert "10 kB is stopped after 10 s" in page.locator("#limits").inner_text()

    page.locator("#example").select_option(label="Units that promote a concept")
    assert page.locator("#parameters input").input_value() == "water"
    page.get_by_role("button", name="Run").click()
    page.locator("#result table").wait_for()
    assert "rows in" in page.locator("#status").inner_text()
    heads = page.locator("#result th").all_inner_texts()
    assert [head.split("\n")[0] for head in heads] == [
        *("layer", "unit", "rank", "token", "prob", "n_shown")
    ]

    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "result.csv"
    first = Path(download.value.path()).read_text(encoding="utf-8").splitlines()[0]
    assert first == "layer,unit,rank,token,prob,n_shown"

    page.locator("#statement").fill("SELECT '<img src=x onerror=alert(1)>' AS a, NULL AS b")
    page.locator("#statement").press("Control+Enter")
    page.get_by_text("1 row in").wait_for()
    assert page.locator("#result img").count() == 0
    assert page.locator("#result td").all_inner_texts() == [
        "<img src=x onerror=alert(1)>", "NULL"
    ]  # fmt: skip
    page.reload()
    assert page.locator("#statement").input_value().startswith("SELECT '<img")

    assert not problems, problems
    page.locator("#statement").fill("SELECT nothing FROM units")
    page.get_by_role("button", name="Run").click()
    page.get_by_text("Candidate bindings").wait_for()
    assert {re.match(r"\w+://[^/]+", url)[0] for url in asked} == {address}
    page.close()


def test_a_column_goes_into_the_statement(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"{address}/api/sql")
    page.locator("#statement").fill("SELECT ")
    page.get_by_text("layers (3)").click()
    page.get_by_role("button", name="share_of_top_places").click()
    assert page.locator("#statement").input_value() == "SELECT share_of_top_places"
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_description_of_the_api_fits_a_phone_and_is_dark_where_that_is_wished(
    browser: Any, address: str, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/api/docs")
    page.get_by_text("/api/v1/sql/schema").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ink = page.evaluate("getComputedStyle(document.querySelector('.info .title')).color")
    assert (min(map(int, re.findall(r"\d+", ink)[:3])) > 150) == (scheme == "dark")
    assert all(url.startswith((address, "data:")) for url in asked), asked
    page.close()
