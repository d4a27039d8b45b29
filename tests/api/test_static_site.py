"""The static site beside the API: its files, their types, and nothing outside of its folder."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    (folder / "u" / "12").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<h1>front</h1>")
    (folder / "404.html").write_text("<h1>no such page</h1>")
    (folder / "u" / "12" / "9058.html").write_text("<h1>L12.U9058</h1>" + " " * 1000)
    (folder / "u" / "index.html").write_text("<h1>units</h1>")
    for name in ("a.css", "a.js", "a.json", "a.webp", "a.woff2", "a.svg", "a.xyzq", "ä b.html"):
        (folder / "assets" / name).write_bytes(b"x")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def browser(site: Path, synthetic_atlas: Path) -> FlaskClient:
    return create_app(synthetic_atlas, site=site).test_client()


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/u/12/9058.html", "text/html; charset=utf-8"),
        ("/u/", "text/html; charset=utf-8"),
        ("/assets/a.css", "text/css; charset=utf-8"),
        ("/assets/a.js", "text/javascript; charset=utf-8"),
        ("/assets/a.json", "application/json"),
        ("/assets/a.webp", "image/webp"),
        ("/assets/a.woff2", "font/woff2"),
        ("/assets/a.svg", "image/svg+xml; charset=utf-8"),
        ("/assets/a.xyzq", "application/octet-stream"),
        ("/assets/%C3%A4%20b.html?q=1", "text/html; charset=utf-8"),
    ],
)
def test_a_file_comes_with_its_type(browser: FlaskClient, address: str, kind: str) -> None:
    response = browser.get(address, buffered=True)
    assert (response.status_code, response.headers["Content-Type"]) == (200, kind)
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_is_a_304_until_it_changes(browser: FlaskClient, site: Path) -> None:
    first = browser.get("/u/12/9058.html", buffered=True)
    headers = {"If-None-Match": first.headers["ETag"]}
    assert browser.get("/u/12/9058.html", headers=headers, buffered=True).status_code == 304
    (site / "u" / "12" / "9058.html").write_text("changed")
    assert browser.get("/u/12/9058.html", headers=headers, buffered=True).data == b"changed"


def test_a_page_is_compressed(browser: FlaskClient) -> None:
    packed = browser.get("/u/12/9058.html", headers={"Accept-Encoding": "gzip"}, buffered=True)
    assert packed.headers["Content-Encoding"] == "gzip"
    plain = browser.get("/u/12/9058.html", buffered=True)
    assert packed.headers["ETag"] == f"W/{plain.headers['ETag']}"  # other bytes, same page
    again = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert browser.get("/u/12/9058.html", headers=again, buffered=True).status_code == 304
    assert len(packed.data) < 200


def test_a_folder_leads_to_its_slash(browser: FlaskClient) -> None:
    response = browser.get("/u", buffered=True)
    assert response.status_code == 302
    assert browser.get("/u", follow_redirects=True, buffered=True).data == b"<h1>units</h1>"


@pytest.mark.parametrize("address", ["/none.html", "/u/12/", "/u/12/9058.html/", "/" + "a" * 400])
def test_a_missing_page_is_the_sites_own_404(browser: FlaskClient, address: str) -> None:
    response = browser.get(address, buffered=True)
    assert (response.status_code, response.data) == (404, b"<h1>no such page</h1>")
    assert response.mimetype == "text/html"


def test_under_the_api_a_missing_address_is_json(browser: FlaskClient) -> None:
    for address in ("/api/none", "/api/v1/none"):
        response = browser.get(address, buffered=True)
        assert (response.status_code, response.mimetype) == (404, "application/json")
    assert browser.get("/api/v1/atlas", buffered=True).status_code == 200
    assert browser.get("/healthz", buffered=True).get_json() == {"status": "ok"}


@pytest.mark.parametrize(
    "address",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/u/..%2f../../secret.txt",
        "/u/..%2f..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/index.html%00.txt",
        "/assets/%ff",
    ],
)
def test_nothing_outside_of_the_folder_is_sent(browser: FlaskClient, address: str) -> None:
    response = browser.get(address, buffered=True)
    assert response.status_code == 404
    assert b"secret" not in response.data
    assert b"root:" not in response.data


def test_a_site_without_a_404_page(site: Path, synthetic_atlas: Path) -> None:
    (site / "404.html").unlink()
    response = create_app(synthetic_atlas, site=site).test_client().get("/none.html", buffered=True)
    assert (response.status_code, response.mimetype) == (404, "application/json")


def test_without_a_site_the_front_page_is_the_apis(client: FlaskClient) -> None:
    response = client.get("/", follow_redirects=True)
    assert response.request.path == "/api/docs"
    assert response.status_code == 200
