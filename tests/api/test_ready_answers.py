"""Answers written out beforehand are byte for byte those that are worked out."""

import gzip
import json
import logging
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest
from apiflask import APIFlask
from click.testing import CliRunner
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import quick_answers
from api.app import create_app
from atlas_db import queries
from atlas_db.connection import Connection
from atlas_db.ready_answers import ready_path
from neuron_atlas.cli import main


@pytest.fixture(scope="module")
def prepared(synthetic_atlas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    atlas = tmp_path_factory.mktemp("prepared") / "atlas.duckdb"
    shutil.copy(synthetic_atlas, atlas)
    done = CliRunner().invoke(main, ["prepare", "--db", str(atlas)])
    assert done.exit_code == 0, done.output
    assert "atlas.duckdb.answers" in done.output
    assert sorted(path.name for path in atlas.parent.iterdir()) == [
        "atlas.duckdb", "atlas.duckdb.answers"
    ]  # fmt: skip
    return atlas


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
@pytest.mark.parametrize("origins", [("*",), ("https://lab.example",), ()])
def test_they_are_the_answers(
    synthetic_atlas: Path,
    prepared: Path,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    origins: tuple[str, ...],
    coding: str,
    method: str,
) -> None:
    """Header for header and byte for byte, though Flask is never asked."""
    addresses = [f"/api/v1/units/{layer}/{unit}" for layer in range(3) for unit in range(0, 32, 3)]
    addresses += ["/api/v1/units/0/007", "/api/v1/concepts/%20WATER"]
    for concept in queries.concepts(connection, limit=30).rows:
        addresses.append(f"/api/v1/concepts/{quote(concept.concept, safe='')}")
    headers = {"Accept-Encoding": coding, "Origin": "https://lab.example", "X-Request-ID": "one"}
    worked_out = create_app(synthetic_atlas, origins=origins, sql_limits=None).test_client()
    expected = [worked_out.open(one, method=method, headers=headers) for one in addresses]
    app = create_app(prepared, origins=origins, sql_limits=None)
    ready = app.test_client()
    monkeypatch.setattr(app, "full_dispatch_request", ask_nobody)
    for address, wanted in zip(addresses, expected, strict=True):
        found = ready.open(address, method=method, headers=headers)
        assert found.status == wanted.status == "200 OK"
        assert body(found) == body(wanted)
        assert told(found) == told(wanted)
        assert coding == "gzip" or length(found) == length(wanted)
        if method == "GET":
            assert length(found) == len(found.data)


def test_what_the_client_has_is_not_sent_again(
    client: FlaskClient, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(prepared, sql_limits=None)
    ready = app.test_client()
    asked = ("/api/v1/units/1/2", "/api/v1/concepts/water")
    etag = ready.get(asked[0]).headers["ETag"]
    for matched in (etag, "*", f'"other", {etag}'):
        headers = {"If-None-Match": matched, "X-Request-ID": "one"}
        expected = [client.get(address, headers=headers) for address in asked]
        with monkeypatch.context() as patched:
            patched.setattr(app, "full_dispatch_request", ask_nobody)
            found = [ready.get(address, headers=headers) for address in asked]
        for one, wanted in zip(found, expected, strict=True):
            assert (one.status, one.data) == (wanted.status, b"") == ("304 NOT MODIFIED", b"")
            assert told(one) == told(wanted)
    # If-Match is left to Flask: 412 if the atlas is another one.
    headers = {"If-Match": '"other"'}
    assert {one.get(asked[0], headers=headers).status_code for one in (ready, client)} == {412}


def test_they_are_counted_logged_and_limited(
    prepared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "neuron_atlas.access")
    client = create_app(prepared, requests_per_s=0.3, sql_limits=None).test_client()
    concept = "/api/v1/concepts/water?limit=100"
    answers = [client.get("/api/v1/units/1/2"), *(client.get(concept) for _ in range(3))]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert answers[-1].get_json()["error"]["code"] == "too_many_requests"
    lines = [json.loads(record.message) for record in caplog.records]
    assert [line["status"] for line in lines] == [200, 200, 200, 429]
    assert [line["id"] for line in lines] == [one.headers["X-Request-ID"] for one in answers]
    assert lines[0]["bytes"] == len(answers[0].data)
    assert (lines[1]["path"], lines[1]["query"]) == ("/api/v1/concepts/water", "limit=100")
    text = client.get("/metrics").get_data(as_text=True)
    counted = 'neuron_atlas_requests_total{method="GET",route="/api/v1/'
    assert f'{counted}units/<layer>/<unit>",status="200"}} 1.0' in text
    assert f'{counted}concepts/<text:concept>",status="200"}} 2.0' in text
    assert f'{counted}concepts/<text:concept>",status="429"}} 1.0' in text


@pytest.mark.parametrize("query", ["", "?limit=100", "?match=exact&limit=100"])
def test_the_cursor_of_a_ready_concept_leads_on(
    client: FlaskClient, prepared: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a concept with more units than an answer holds, which the synthetic atlas has not."""
    monkeypatch.setattr("api.quick_answers.N_CONCEPT_UNITS", 2)
    found = (
        create_app(prepared, sql_limits=None).test_client().get(f"/api/v1/concepts/water{query}")
    )
    cursor = found.get_json()["next_cursor"]
    joined = f"{query}&" if query else "?"
    assert found.headers["Link"] == f'<{joined}cursor={cursor}>; rel="next"'
    first = client.get("/api/v1/concepts/water?limit=2").get_json()
    assert cursor == first["next_cursor"]
    assert client.get(f"/api/v1/concepts/water?cursor={cursor}").status_code == 200


LISTS = (
    "layer=1&sort=activation&limit=7",
    "min_images=1&interpretable=true&sort=attribution&limit=500",
    "layer=2&min_images=999",
    "concept=water&format=csv",
    "sort=uid&limit=40&fields=name,top_tokens&format=ndjson",
)


@pytest.mark.parametrize("query", LISTS)
def test_lists_of_units_are_made_of_their_summaries(
    client: FlaskClient, prepared: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = create_app(prepared).test_client()

    def fail(*_arguments: object, **_options: object) -> None:
        raise AssertionError("the atlas was asked for more than numbers")

    address = f"/api/v1/units?{query}"
    expected = [client.get(address)]
    while "Link" in expected[-1].headers:
        address = "/api/v1/units" + expected[-1].headers["Link"].partition(">")[0].strip("<")
        expected.append(client.get(address))
    monkeypatch.setattr("atlas_db.queries.units", fail)
    address = f"/api/v1/units?{query}"
    for wanted in expected:
        found = ready.get(address)
        assert (found.status_code, found.data) == (200, wanted.data)
        assert found.headers.get("Link") == wanted.headers.get("Link")
        assert found.headers.get("X-Total") == wanted.headers.get("X-Total")
        address = "/api/v1/units" + found.headers.get("Link", "").partition(">")[0].strip("<")


def test_the_server_knows_what_is_answered_at_once(prepared: Path, synthetic_atlas: Path) -> None:
    app = create_app(prepared, sql_limits=None)
    are_probable = quick_answers.of(app).are_probable
    assert not are_probable("/api/v1/units/1/2", "")  # nobody has asked yet
    app.test_client().get("/readyz")
    app.test_client().get("/api/v1/units/1/2")
    assert are_probable("/api/v1/units/1/2", "")
    assert are_probable("/api/v1/concepts/water", "limit=100")
    for path, query in (("units/1/2", "embed=1"), ("units/1/2/similar", ""), ("units", ""),
                        ("concepts/water", "match=family"), ("sql", "q=SELECT 1")):  # fmt: skip
        assert not are_probable(f"/api/v1/{path}", query)
    without = create_app(synthetic_atlas, sql_limits=None)
    without.test_client().get("/api/v1/units/1/3")
    assert not quick_answers.of(without).are_probable("/api/v1/units/1/2", "")


def test_the_server_knows_what_is_in_memory(client: FlaskClient, app: APIFlask) -> None:
    are_probable = quick_answers.of(app).are_probable
    for path, query in (("units", "layer=1&limit=9"), ("units/1/3/similar", ""), ("layers", "")):
        assert client.get(f"/api/v1/{path}?{query}").status_code == 200
        assert are_probable(f"/api/v1/{path}", query)
        assert not are_probable(f"/api/v1/{path}", f"{query}&limit=8")
    # Once more it may take its time, from a server of another name.
    assert client.get("/api/v1/sql?q=SELECT 1").status_code == 200
    assert not are_probable("/api/v1/sql", "q=SELECT 1")
    assert not are_probable("/api/v1/sql", "q=SELECT%201")


def ask_nobody(*_arguments: object) -> None:
    raise AssertionError("Flask was asked")


def told(response: TestResponse) -> list[tuple[str, str]]:
    """The headers without Date and without the length, which gzip may make another."""
    return sorted(one for one in response.headers if one[0] not in ("Date", "Content-Length"))


def length(response: TestResponse) -> int:
    return int(response.headers["Content-Length"])


def body(response: TestResponse) -> bytes:
    data: bytes = response.get_data()
    packed = data and "Content-Encoding" in response.headers
    return gzip.decompress(data) if packed else data


def test_what_was_not_written_is_worked_out(client: FlaskClient, prepared: Path) -> None:
    ready = create_app(prepared).test_client()
    for address in (
        "/api/v1/concepts/boat?match=family",
        "/api/v1/concepts/boat?limit=2",
        "/api/v1/concepts/%20WATER",
        "/api/v1/concepts/watr",
        "/api/v1/units/77/0",
    ):
        found, wanted = ready.get(address), client.get(address)
        assert (found.status_code, found.data) == (wanted.status_code, wanted.data)


@pytest.mark.parametrize("how", ["of another atlas", "of another format", "no database"])
def test_answers_that_do_not_fit_are_passed_over(
    client: FlaskClient, prepared: Path, tmp_path: Path, how: str
) -> None:
    atlas = tmp_path / "atlas.duckdb"
    os.link(prepared, atlas)
    answers = ready_path(atlas)
    if how == "no database":
        answers.write_bytes(b"nothing of the kind" * 100)
    else:
        shutil.copy(ready_path(prepared), answers)
        connection = sqlite3.connect(answers)
        changed = "content_hash = 'x'" if how == "of another atlas" else "format = format + 1"
        connection.execute(f"UPDATE about SET {changed}")
        connection.execute("UPDATE units SET body = x'00'")
        connection.commit()
        connection.close()
    address = "/api/v1/units/1/2"
    assert create_app(atlas).test_client().get(address).data == client.get(address).data
