"""ETag and 304, compression, CORS, HEAD, methods."""

import gzip
from pathlib import Path

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from api.app import create_app
from atlas_db import queries
from atlas_db.connection import Connection

ROUTES = (
    "/api/v1/atlas",
    "/api/v1/layers",
    "/api/v1/units",
    "/api/v1/units/0/0",
    "/api/v1/units/0/0/similar",
    "/api/v1/units/0/0/experiments",
    "/api/v1/images/139/experiments",
    "/api/v1/experiments",
    "/api/v1/units/0/0/exemplars/1/heatmap.png",
    "/api/v1/concepts",
    "/api/v1/concepts/water",
    "/api/v1/images",
)


@pytest.mark.parametrize("route", ROUTES)
def test_an_etag_rests_on_the_content_hash_and_gives_304(
    client: FlaskClient, connection: Connection, route: str
) -> None:
    first = client.get(route)
    assert first.status_code == 200
    etag = first.headers["ETag"]
    assert queries.atlas_info(connection).content_hash[:32] in etag
    again = client.get(route, headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["ETag"] == etag
    other = client.get(route, headers={"If-None-Match": 'W/"of another atlas"'})
    assert (other.status_code, other.data) == (200, first.data)


@pytest.mark.parametrize("route", ["/api/v1/units/0/0", "/api/v1/sql?q=SELECT+1"])
def test_who_wants_another_atlas_is_told_so(client: FlaskClient, route: str) -> None:
    response = client.get(route, headers={"If-Match": '"of another atlas"'})
    assert response.status_code == 412
    assert response.get_json()["error"]["code"] == "another_atlas"
    assert "If-Match" in response.get_json()["error"]["hint"]


def test_what_is_not_there_is_404_whatever_the_client_has(client: FlaskClient) -> None:
    etag = client.get("/api/v1/atlas").headers["ETag"]
    for route in ("/api/v1/units/99/0", "/api/v1/concepts/qqqq", "/api/v1/units/0/0/exemplars/16"):
        assert client.get(route, headers={"If-None-Match": etag}).status_code == 404


def test_json_is_asked_for_again_each_time_and_pictures_after_an_hour(client: FlaskClient) -> None:
    assert client.get("/api/v1/atlas").headers["Cache-Control"] == "public, no-cache"
    picture = client.get("/api/v1/units/0/0/exemplars/1/heatmap.png")
    assert picture.headers["Cache-Control"] == "public, max-age=3600"
    assert client.get("/api/v1/units/99/0").headers["Cache-Control"] == "no-store"
    assert client.get("/healthz").headers["Cache-Control"] == "no-store"


def test_gzip_holds_the_same_bytes(client: FlaskClient) -> None:
    plain = client.get("/api/v1/units/0/0")
    packed = client.get("/api/v1/units/0/0", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(plain.data) / 2
    assert int(packed.headers["Content-Length"]) == len(packed.data)
    assert gzip.decompress(packed.data) == plain.data
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert "Accept-Encoding" in packed.headers["Vary"]


def test_neither_pictures_nor_refused_codings_are_compressed(client: FlaskClient) -> None:
    picture = client.get(
        "/api/v1/units/0/0/exemplars/1/heatmap.png", headers={"Accept-Encoding": "gzip"}
    )
    assert "Content-Encoding" not in picture.headers
    refused = client.get("/api/v1/units/0/0", headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in refused.headers


@pytest.mark.parametrize("route", [*ROUTES, "/healthz", "/api/docs", "/api/openapi.json"])
def test_head_is_get_without_the_body(client: FlaskClient, route: str) -> None:
    got, head = client.get(route), client.head(route)
    assert (head.status_code, head.data) == (200, b"")
    for name in ("Content-Type", "Content-Length", "ETag"):
        assert head.headers.get(name) == got.headers.get(name)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_nothing_can_be_written(client: FlaskClient, method: str) -> None:
    response = client.open("/api/v1/units/0/0", method=method)
    assert response.status_code == 405
    assert set(response.headers["Allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "OPTIONS"}
    assert response.get_json()["error"]["code"] == "method_not_allowed"


def test_by_default_every_page_may_read_the_api(client: FlaskClient) -> None:
    response = client.get("/api/v1/atlas", headers={"Origin": "https://example.org"})
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in response.headers["Access-Control-Expose-Headers"]
    error = client.get("/api/v1/units/99/0", headers={"Origin": "https://example.org"})
    assert error.headers["Access-Control-Allow-Origin"] == "*"


def test_a_preflight_is_answered(client: FlaskClient) -> None:
    response = client.options(
        "/api/v1/atlas",
        headers={
            "Origin": "https://example.org",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "If-None-Match",
        },
    )
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "GET" in response.headers["Access-Control-Allow-Methods"]
    assert "POST" not in response.headers["Access-Control-Allow-Methods"]
    for header in ("If-None-Match", "Content-Type", "X-Request-ID"):
        assert header in response.headers["Access-Control-Allow-Headers"]


def test_cors_for_some_and_for_nobody(synthetic_atlas: Path) -> None:
    some = create_app(synthetic_atlas, origins=["https://lab.example"]).test_client()
    friend = some.get("/api/v1/atlas", headers={"Origin": "https://lab.example"})
    assert friend.headers["Access-Control-Allow-Origin"] == "https://lab.example"
    assert "Origin" in friend.headers["Vary"]
    stranger = some.get("/api/v1/atlas", headers={"Origin": "https://example.org"})
    assert "Access-Control-Allow-Origin" not in stranger.headers
    assert "Origin" in stranger.headers["Vary"]
    nobody = create_app(synthetic_atlas, origins=()).test_client()
    refused = nobody.get("/api/v1/atlas", headers={"Origin": "https://lab.example"})
    assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.parametrize("origin", ["example.org", "https://example.org/"])
def test_an_origin_that_no_browser_sends_is_refused(synthetic_atlas: Path, origin: str) -> None:
    with pytest.raises(ValueError, match=r"like 'https://example\.org'"):
        create_app(synthetic_atlas, origins=[origin])


def test_requests_are_counted_by_route_and_never_by_address(synthetic_atlas: Path) -> None:
    client = create_app(synthetic_atlas).test_client()
    for address in ("/api/v1/units/0/1", "/api/v1/units/0/2", "/api/v1/units/99/0", "/a", "/b"):
        client.get(address)
    text = client.get("/metrics").get_data(as_text=True)
    unit = 'route="/api/v1/units/<layer>/<unit>"'
    assert f'neuron_atlas_requests_total{{method="GET",{unit},status="200"}} 2.0' in text
    assert f'neuron_atlas_requests_total{{method="GET",{unit},status="404"}} 1.0' in text
    assert 'neuron_atlas_requests_total{method="GET",route="unknown",status="404"} 2.0' in text
    assert f"neuron_atlas_request_seconds_count{{{unit}}} 3.0" in text
    assert "neuron_atlas_atlases_opened 1.0" in text


def test_health_and_readiness(app: APIFlask, tmp_path: Path) -> None:
    for address in ("/healthz", "/readyz", "/api/v1/healthz", "/api/v1/readyz"):
        assert app.test_client().get(address).get_json() == {"status": "ok"}
    without = create_app(tmp_path / "missing.duckdb").test_client()
    assert without.get("/healthz").status_code == 200
    assert without.get("/readyz").status_code == 503
