"""Answers written out beforehand are byte for byte those that are worked out."""

import gzip
import os
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from api import answers
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


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_they_are_the_answers(
    client: FlaskClient,
    prepared: Path,
    connection: Connection,
    coding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = create_app(prepared).test_client()
    addresses = [f"/api/v1/units/{layer}/{unit}" for layer in range(3) for unit in range(0, 32, 3)]
    for concept in queries.concepts(connection, limit=30).rows:
        addresses.append(f"/api/v1/concepts/{quote(concept.concept, safe='')}")
    headers = {"Accept-Encoding": coding}
    expected = [client.get(address, headers=headers) for address in addresses]

    def fail() -> None:
        raise AssertionError("the atlas was asked")

    ready.get("/api/v1/healthz")
    for module in ("units", "concepts"):
        monkeypatch.setattr(f"api.{module}.connection", fail)
    for address, wanted in zip(addresses, expected, strict=True):
        found = ready.get(address, headers=headers)
        assert found.status_code == wanted.status_code == 200
        assert body(found) == body(wanted)
        assert found.headers["ETag"] == wanted.headers["ETag"]
        assert found.headers.get("Link") == wanted.headers.get("Link")
        assert found.headers["Vary"] == wanted.headers["Vary"]
        again = ready.get(address, headers={**headers, "If-None-Match": found.headers["ETag"]})
        assert again.status_code == 304


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


def body(response: answers.Response) -> bytes:
    data: bytes = response.get_data()
    return gzip.decompress(data) if "Content-Encoding" in response.headers else data


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
