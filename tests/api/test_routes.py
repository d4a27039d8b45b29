"""Every address against the records that `atlas_db.queries` gives of the same atlas."""

import csv
import io
import itertools
import json
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from atlas_db import queries
from atlas_db.as_json import as_json
from atlas_db.connection import Connection
from atlas_db.fixtures.weights import HOSTILE
from atlas_db.heatmaps import upsample

ALL = 500


def get(client: FlaskClient, address: str, **query: Any) -> Any:
    response = client.get(f"/api/v1{address}", query_string=query)
    assert response.status_code == 200, response.data
    assert response.content_type == "application/json"
    return response.get_json()


def walk(client: FlaskClient, address: str, **query: Any) -> list[Any]:
    """Follow the cursors to the end."""
    rows: list[Any] = []
    cursor: dict[str, str] = {}
    for _ in range(ALL):
        page = get(client, address, **query, **cursor)
        assert len(page["rows"]) <= query["limit"]
        rows += page["rows"]
        if page["next_cursor"] is None:
            assert len(rows) == page["total"]
            return rows
        cursor = {"cursor": page["next_cursor"]}
    raise AssertionError("the cursors do not end")


def test_atlas(client: FlaskClient, connection: Connection) -> None:
    assert get(client, "/atlas") == as_json(queries.atlas_info(connection))


def test_layers(client: FlaskClient, connection: Connection) -> None:
    assert get(client, "/layers") == {"rows": as_json(queries.layers(connection))}


FILTERS: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
    ({}, {}),
    ({"layer": "1"}, {"layer": 1}),
    ({"min_images": "2"}, {"min_images": 2}),
    ({"interpretable": "true"}, {"interpretable": True}),
    ({"interpretable": "false"}, {"interpretable": False}),
    ({"always_on": "true"}, {"always_on": True}),
    ({"always_on": "false"}, {"always_on": False}),
    ({"concept": "water"}, {"concept": "water"}),
    ({"concept": " WATER "}, {"concept": "water"}),
    ({"concept": "no such word"}, {"concept": "no such word"}),
    ({"sort": "attribution"}, {"sort": "attribution"}),
    ({"sort": "activation"}, {"sort": "activation"}),
    ({"sort": "uid", "layer": "2"}, {"sort": "uid", "layer": 2}),
)


@pytest.mark.parametrize(("query", "arguments"), FILTERS)
def test_units(
    client: FlaskClient,
    connection: Connection,
    query: dict[str, str],
    arguments: dict[str, Any],
) -> None:
    expected = queries.units(connection, limit=ALL, **arguments)
    page = get(client, "/units", limit=ALL, **query)
    assert page["rows"] == as_json(expected.rows)
    assert page["total"] == expected.total == len(expected.rows)
    assert page["next_cursor"] is None


def test_the_filters_of_units_differ(client: FlaskClient) -> None:
    totals = [get(client, "/units", **query)["total"] for query, _ in FILTERS]
    assert totals[0] == 96
    assert totals[1] == 32
    assert totals[3] + totals[4] == totals[5] + totals[6] == 96
    assert min(totals[3:7]) > 0
    assert 0 < totals[7] == totals[8] < 96
    assert totals[9] == 0


@pytest.mark.parametrize("limit", [1, 7, 40])
def test_units_page_by_page(client: FlaskClient, connection: Connection, limit: int) -> None:
    query = {"interpretable": "true", "sort": "attribution"}
    expected = queries.units(connection, interpretable=True, sort="attribution", limit=ALL)
    assert walk(client, "/units", limit=limit, **query) == as_json(expected.rows)


def test_the_link_header_leads_to_the_next_page(client: FlaskClient) -> None:
    first = client.get("/api/v1/units?limit=2&concept=caf%C3%A9%26")
    assert "Link" not in first.headers
    first = client.get("/api/v1/units?limit=2&always_on=false")
    link = first.headers["Link"]
    assert link.endswith('; rel="next"')
    second = client.get("/api/v1/units" + link[1 : link.index(">")]).get_json()
    expected = get(client, "/units", limit=4, always_on="false")["rows"][2:]
    assert second["rows"] == expected


def test_a_cursor_serves_its_own_query_alone(client: FlaskClient) -> None:
    cursor = get(client, "/units", limit=5, layer=1)["next_cursor"]
    assert get(client, "/units", limit=9, layer=1, cursor=cursor)["rows"]
    for address, query in (
        ("/units", {"layer": 2}),
        ("/units", {}),
        ("/units", {"layer": 1, "sort": "uid"}),
        ("/images", {}),
        ("/concepts", {}),
    ):
        response = client.get(f"/api/v1{address}", query_string={**query, "cursor": cursor})
        assert response.status_code == 409
        assert response.get_json()["error"]["code"] == "cursor_of_another_query"


def test_fields_leave_the_others_out(client: FlaskClient) -> None:
    rows = get(client, "/units", fields="name,top_tokens", limit=3)["rows"]
    whole = get(client, "/units", limit=3)["rows"]
    assert rows == [{name: row[name] for name in ("name", "uid", "top_tokens")} for row in whole]
    assert set(get(client, "/concepts", fields="n_units")["rows"][0]) == {"concept", "n_units"}
    assert set(get(client, "/images", fields="caption")["rows"][0]) == {"image_id", "caption"}


def test_a_unit_of_each_kind(client: FlaskClient, connection: Connection) -> None:
    for layer, unit in itertools.product(range(3), range(0, 32, 5)):
        expected = as_json(queries.unit(connection, layer, unit))
        assert get(client, f"/units/{layer}/{unit}") == expected


def test_similar_units(client: FlaskClient, connection: Connection) -> None:
    expected = as_json(queries.similar_units(connection, 37))
    assert get(client, "/units/1/5/similar") == {"rows": expected}
    assert get(client, "/units/1/5/similar", limit=3) == {"rows": expected[:3]}
    assert len(expected) == 8


def picture(client: FlaskClient, address: str, **query: Any) -> Any:
    response = client.get(f"/api/v1{address}", query_string=query)
    assert response.status_code == 200, response.data
    assert response.content_type == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.data)).convert("RGB")).astype(int)


def test_a_heatmap_is_brightest_where_the_unit_is_most_active(
    client: FlaskClient, connection: Connection
) -> None:
    exemplar = queries.unit(connection, 0, 3).exemplars[1]
    heat = picture(client, "/units/0/3/exemplars/2/heatmap.png", size=280)
    assert heat.shape == (280, 280, 3)
    upsampled = upsample(exemplar.activations(), (14, 14), 280)
    brightest = heat.sum(axis=-1).argmax()
    assert upsampled.ravel()[brightest] == pytest.approx(upsampled.max(), rel=0.02)


def test_an_overlay_and_a_mask_show_the_photograph(
    client: FlaskClient, connection: Connection
) -> None:
    exemplar = queries.unit(connection, 0, 3).exemplars[0]
    thumbnail = queries.thumbnail(connection, exemplar.image_id)
    assert thumbnail is not None
    seen = np.asarray(Image.open(io.BytesIO(thumbnail)).convert("RGB").resize((448, 448)))
    heat, overlay, mask = (
        picture(client, "/units/0/3/exemplars/1/heatmap.png", style=style)
        for style in ("heat", "overlay", "mask")
    )
    assert heat.shape == overlay.shape == mask.shape == (448, 448, 3)
    coldest = np.unravel_index(heat.sum(axis=-1).argmin(), (448, 448))
    assert abs(overlay[coldest] - seen[coldest]).max() <= 12
    bright = (abs(mask - seen).max(axis=-1) <= 12).mean()
    assert 0.03 < bright < 0.12  # the map's highest 5 %, and its edge


def test_concepts(client: FlaskClient, connection: Connection) -> None:
    everything = queries.concepts(connection, limit=ALL)
    page = get(client, "/concepts", limit=ALL)
    assert page["rows"] == as_json(everything.rows)
    assert page["total"] == everything.total == len(everything.rows)
    assert walk(client, "/concepts", limit=13) == page["rows"]


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ({"prefix": "boat"}, {"prefix": "boat"}),
        ({"prefix": "%"}, {"prefix": "%"}),
        ({"prefix": "<"}, {"prefix": "<"}),
        ({"prefix": "watr", "fuzzy": "true"}, {"prefix": "watr", "fuzzy": True}),
    ],
)
def test_concepts_by_spelling(
    client: FlaskClient, connection: Connection, query: Any, arguments: Any
) -> None:
    rows = get(client, "/concepts", **query)["rows"]
    assert rows == as_json(queries.concepts(connection, **arguments).rows)
    if query["prefix"] == "watr":
        assert rows[0]["concept"] == "water"


@pytest.mark.parametrize("match", ["exact", "family", "related"])
@pytest.mark.parametrize("word", ["boat", " BOAT "])
def test_a_concept(client: FlaskClient, connection: Connection, match: str, word: str) -> None:
    expected = queries.concept(connection, "boat", match=match, limit=ALL)
    found = get(client, f"/concepts/{quote(word)}", match=match, limit=ALL)
    assert found.pop("next_cursor") is None
    assert found == as_json(expected)


def test_a_concepts_units_by_probability(client: FlaskClient, connection: Connection) -> None:
    """Concepts near "boat" are seen in other exemplars than it is, so the orders differ."""
    query = {"match": "related", "limit": ALL}
    expected = as_json(queries.concept(connection, "boat", sort="prob", **query))["units"]
    assert get(client, "/concepts/boat", sort="prob", **query)["units"] == expected
    assert get(client, "/concepts/boat", **query)["units"] != expected


def test_a_concept_page_by_page(client: FlaskClient, connection: Connection) -> None:
    expected = as_json(queries.concept(connection, "boat", match="family", limit=ALL))["units"]
    units: list[Any] = []
    cursor: dict[str, str] = {}
    while len(units) < ALL:
        page = get(client, "/concepts/boat", match="family", limit=4, **cursor)
        units += page["units"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        other = client.get("/api/v1/concepts/boat", query_string=cursor)
        assert other.status_code == 409
    assert units == expected
    assert len(expected) > 8


def test_every_concept_is_found_at_its_own_address(client: FlaskClient) -> None:
    concepts = [row["concept"] for row in get(client, "/concepts", limit=ALL)["rows"]]
    for concept in concepts:
        assert get(client, f"/concepts/{quote(concept, safe='')}")["concept"] == concept


@pytest.mark.parametrize("token", [token for token in HOSTILE if token.strip()])
def test_hostile_tokens_are_found_or_said_to_be_missing(client: FlaskClient, token: str) -> None:
    known = {row["concept"] for row in get(client, "/concepts", limit=ALL)["rows"]}
    response = client.get(f"/api/v1/concepts/{quote(token, safe='')}")
    assert response.status_code in (200, 404)
    if response.status_code == 200:
        assert response.get_json()["concept"] in known
    else:
        assert response.get_json()["error"]["code"] == "not_in_atlas"


def test_some_hostile_tokens_are_concepts(client: FlaskClient) -> None:
    known = {row["concept"] for row in get(client, "/concepts", limit=ALL)["rows"]}
    assert {"<script>alert(1)</script>", "../../etc/passwd", "%s{}$", "水", "café"} <= known


@pytest.mark.parametrize("address", ["//", "/%2F", "///etc/passwd", "/http%3A//a.b/", "/a//b/"])
def test_slashes_are_part_of_a_concept(client: FlaskClient, address: str) -> None:
    response = client.get(f"/api/v1/concepts{address}")
    assert (response.status_code, response.get_json()["error"]["code"]) == (404, "not_in_atlas")


def test_images(client: FlaskClient, connection: Connection) -> None:
    expected = queries.images(connection, limit=ALL)
    assert get(client, "/images", limit=ALL)["rows"] == as_json(expected.rows)
    assert walk(client, "/images", limit=4) == as_json(expected.rows)
    assert len(expected.rows) == 11


@pytest.mark.parametrize("category", ["dog", "stop sign"])
def test_images_of_a_category(client: FlaskClient, connection: Connection, category: str) -> None:
    expected = queries.images(connection, category=category)
    page = get(client, "/images", category=category)
    assert page["rows"] == as_json(expected.rows)
    assert (page["total"] > 0) == (category == "dog")


def test_every_image(client: FlaskClient, connection: Connection) -> None:
    for row in queries.images(connection, limit=ALL).rows:
        expected = as_json(queries.image(connection, row.image_id))
        assert get(client, f"/images/{row.image_id}") == expected


def test_thumbnails(client: FlaskClient, connection: Connection) -> None:
    image_id = queries.images(connection).rows[0].image_id
    response = client.get(f"/api/v1/images/{image_id}/thumbnail.webp")
    assert response.content_type == "image/webp"
    assert response.data == queries.thumbnail(connection, image_id)
    assert Image.open(io.BytesIO(response.data)).format == "WEBP"


@pytest.mark.parametrize("address", ["/units", "/concepts", "/images"])
def test_lists_as_csv_and_ndjson_hold_the_same_rows(client: FlaskClient, address: str) -> None:
    page = get(client, address, limit=4)
    lines = client.get(f"/api/v1{address}?limit=4&format=ndjson")
    assert lines.mimetype == "application/x-ndjson"
    assert [json.loads(line) for line in lines.data.splitlines()] == page["rows"]
    sheet = client.get(f"/api/v1{address}?limit=4&format=csv")
    assert sheet.mimetype == "text/csv"
    read = list(csv.DictReader(io.StringIO(sheet.get_data(as_text=True), newline="")))
    assert [list(row) for row in read] == [list(row) for row in page["rows"]]
    for row, wanted in zip(read, page["rows"], strict=True):
        for name, value in wanted.items():
            plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            assert row[name] == ("" if value is None else plain)
    for response in (lines, sheet):
        assert response.headers["X-Total"] == str(page["total"])
        following = response.headers["Link"]
        assert page["next_cursor"] in following
        assert "format=" in following


def test_fields_are_columns_too(client: FlaskClient) -> None:
    sheet = client.get("/api/v1/units?limit=2&format=csv&fields=layer,name&sort=uid")
    assert sheet.data == b"name,uid,layer\nL0.U0,0,0\nL0.U1,1,0\n"
    none = client.get("/api/v1/units?concept=no+such&format=csv&fields=layer")
    assert none.data == b"uid,layer\n"
    assert client.get("/api/v1/units?concept=no+such&format=ndjson").data == b""
