"""Whatever goes wrong: one shape, a status that says whose fault it is, and a hint."""

import logging
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app


def error_of(client: FlaskClient, address: str, status: int) -> dict[str, Any]:
    response = client.get(address)
    assert response.status_code == status, response.data
    assert response.content_type == "application/json"
    body = response.get_json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"code", "message", "hint"}
    assert all(body["error"].values())
    for secret in ("Traceback", 'File "', "/tmp", ".duckdb", "site-packages"):
        assert secret not in response.get_data(as_text=True)
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("address", ["/api/v1", "/api/v2/units", "/nothing", "/api/v1/units/1"])
def test_an_unknown_address(client: FlaskClient, address: str) -> None:
    error = error_of(client, address, 404)
    assert error["code"] == "unknown_address"
    assert address in error["message"]
    assert "/api/docs" in error["hint"]


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("/api/v1/units/99/0", "0 to 2"),
        ("/api/v1/units/0/99999", "31"),
        ("/api/v1/units/2147483647/2147483647", "0 to 2"),
        ("/api/v1/units/99/0/similar", "0 to 2"),
        ("/api/v1/units?layer=99", "0 to 2"),
        ("/api/v1/units/99/0/exemplars/1/heatmap.png", "0 to 2"),
        ("/api/v1/images/999999999", "999999999"),
        ("/api/v1/images/999999999/thumbnail.webp", "999999999"),
        ("/api/v1/concepts/watr", "water"),
        ("/api/v1/images?category=Dog", "dog"),
    ],
)
def test_what_is_not_in_the_atlas_is_404_and_says_what_is(
    client: FlaskClient, address: str, named: str
) -> None:
    error = error_of(client, address, 404)
    assert error["code"] == "not_in_atlas"
    assert named in error["message"]


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("/api/v1/units?limit=0", "limit: must be 1 or more, got 0."),
        ("/api/v1/units?limit=501", "limit: must be 500 or less, got 501."),
        ("/api/v1/units?limit=1e2", "limit: wanted a whole number, got '1e2'."),
        ("/api/v1/units?limit=%205", "limit"),
        ("/api/v1/units?limit=٣", "limit"),
        ("/api/v1/units?limit=", "limit"),
        ("/api/v1/units?limit=5&limit=6", "limit: given 2 times"),
        ("/api/v1/units?layer=-1", "layer"),
        ("/api/v1/units?min_images=99999999999999999999", "min_images"),
        ("/api/v1/units?interpretable=yes", "interpretable: wanted true or false"),
        ("/api/v1/units?sort=beauty", "sort: must be images, attribution, "),
        ("/api/v1/units?sort=beauty", "iou or effect, got 'beauty'."),
        ("/api/v1/units?limit=0&sort=a", "got 'a'. limit: must be 1 or more, got 0."),
        (
            "/api/v1/units?fields=uid,beauty",
            "fields: there is no field 'beauty'; there are name, uid",
        ),
        ("/api/v1/units?fields=", "fields"),
        ("/api/v1/units?limt=5", "limt: there is no such parameter here. There are format, "),
        ("/api/v1/units?cursor=abc", "next_cursor of the answer before, got 'abc'"),
        ("/api/v1/atlas?x=1", "x: there is no such"),
        ("/api/v1/units/a/0", "layer: wanted a whole number"),
        ("/api/v1/units/0/1.5", "unit"),
        ("/api/v1/units/-1/0", "layer"),
        ("/api/v1/units/0/9999999999", "unit"),
        ("/api/v1/units/0/0/exemplars/17/heatmap.png", "rank"),
        ("/api/v1/units/0/0/exemplars/1/heatmap.png?style=gold", "style"),
        ("/api/v1/units/0/0/exemplars/1/heatmap.png?size=1025", "size"),
        ("/api/v1/images/abc", "image_id"),
        ("/api/v1/images/99999999999999999999", "image_id"),
        ("/api/v1/concepts/water?match=nearly", "match"),
        ("/api/v1/concepts?fuzzy=1", "fuzzy"),
        ("/api/v1/concepts/" + "a" * 501, "500 letters at most, got 'aaa"),
        ("/api/v1/oembed", "url: is missing."),
        ("/api/v1/sql", "q: is missing."),
        ("/api/v1/sql?q=SELECT+1&parameters={x", "JSON object such as {\"layer\": 12}, got '{x'."),
        ("/api/v1/sql?q=SELECT+1&parameters=[1]", "parameters: must be a JSON object"),
        (
            '/api/v1/sql?q=SELECT+1&parameters={"x":[1]}',
            "parameters.x: must be a text, a number, true, false or null, got [1].",
        ),
        (
            '/api/v1/sql?q=SELECT+1&parameters={"1":1}',
            "parameters.1: the name must be of ASCII letters, digits and _, no digit first",
        ),
        ("/healthz?x=1", "x"),
    ],
)
def test_a_bad_parameter_is_named(client: FlaskClient, address: str, named: str) -> None:
    error = error_of(client, address, 400)
    assert error["code"] in ("bad_parameter", "bad_cursor")
    assert named in error["message"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "it is empty"),
        (b"q=SELECT 1", "it begins with 'q=SELECT 1'"),
        (b"\xff", "not JSON"),
        (b"[1]", 'must be a JSON object such as {"q": "SELECT 1"}, got [1].'),
        (b"null", "q: is missing."),
        (b'{"q": 1}', "q: must be a text, got 1."),
        (b'{"q": "SELECT 1", "limit": 1.5}', "limit: wanted a whole number, got 1.5."),
        (b'{"sql": "SELECT 1"}', "There are q, parameters, format, limit."),
        (b'{"q": "SELECT 1", "parameters": {"a": ["\\ud800"]}}', "parameters.a: must be a text"),
        (b'{"q": "SELECT 1", "parameters": {"\\ud800": 1}}', "the name must be of ASCII letters"),
    ],
)
def test_a_bad_body_is_described(client: FlaskClient, body: bytes, named: str) -> None:
    response = client.post("/api/v1/sql", data=body, content_type="application/json")
    assert response.status_code == 400, response.data
    assert named in response.get_json()["error"]["message"]


def test_of_many_faults_the_first_are_said(client: FlaskClient) -> None:
    body = {"q": "SELECT 1", "parameters": {str(n): 1 for n in range(40)}}
    message = client.post("/api/v1/sql", json=body).get_json()["error"]["message"]
    assert message.count("the name must be") == 5
    assert message.endswith("And 35 more.")


def test_an_address_of_megabytes(client: FlaskClient) -> None:
    assert error_of(client, "/api/v1/units?x=" + "y" * 2**20, 414)["code"] == "address_too_long"
    assert error_of(client, "/" + "y" * 2**20, 414)["code"] == "address_too_long"


@pytest.mark.parametrize("address", ["/api/v1/concepts/%ff%fe", "/api/v1/concepts/%00%ff"])
def test_what_is_no_utf_8_is_not_found(client: FlaskClient, address: str) -> None:
    assert error_of(client, address, 404)["code"] == "not_in_atlas"


def test_invalid_utf_8_in_a_query_is_only_text(client: FlaskClient) -> None:
    for query in ("concept=%ff", "concept=%00", "concept=%ed%a0%80"):
        response = client.get(f"/api/v1/units?{query}&sort=uid")
        assert response.status_code == 200


def test_a_missing_atlas_is_503_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing.duckdb"
    client = create_app(path).test_client()
    with caplog.at_level(logging.ERROR, "neuron_atlas.api"):
        error = error_of(client, "/api/v1/atlas", 503)
    assert error["code"] == "no_atlas"
    assert str(path) in caplog.text
    assert int(client.get("/api/v1/atlas").headers["Retry-After"]) > 0


def test_a_file_that_is_no_atlas_is_503(tmp_path: Path) -> None:
    path = tmp_path / "broken.duckdb"
    path.write_bytes(b"not a database" * 1000)
    assert error_of(create_app(path).test_client(), "/api/v1/atlas", 503)["code"] == "no_atlas"


def test_a_fault_of_the_server_shows_no_stack_trace(
    synthetic_atlas: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(synthetic_atlas)

    @app.get("/api/v1/broken")
    def broken() -> str:
        raise RuntimeError("a secret")

    with caplog.at_level(logging.ERROR, "neuron_atlas.api"):
        error = error_of(app.test_client(), "/api/v1/broken", 500)
    assert error["code"] == "internal_error"
    assert "secret" not in str(error)
    assert "a secret" in caplog.text
