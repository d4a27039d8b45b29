"""Answers from memory are the answers, of the atlas that is published now."""

from pathlib import Path

import pytest
from apiflask import APIFlask
from flask import Flask

from api import response_cache
from api.app import create_app
from api.response_cache import Kept, ResponseCache
from atlas_db.fixtures import write_synthetic_run
from atlas_db.ingest import ingest


@pytest.mark.parametrize("packed", ["gzip", "identity"])
@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/units/1/2",
        "/api/v1/units?layer=1&limit=3",
        "/api/v1/units?limit=3&layer=1&format=csv",
        "/api/v1/concepts/water",
        "/api/v1/sql?q=SELECT uid FROM units ORDER BY uid&limit=3",
        "/api/v1/sql?q=SELECT uid FROM units ORDER BY uid&format=parquet",
        "/api/v1/units/0/0/exemplars/1/heatmap.png?style=overlay",
    ],
)
def test_the_second_answer_is_the_first(app: APIFlask, address: str, packed: str) -> None:
    client = app.test_client()
    headers = {"Accept-Encoding": packed, "X-Request-ID": "same"}
    first = client.get(address, headers=headers)
    second = client.get(address, headers=headers)
    assert first.status_code == second.status_code == 200
    assert first.data == second.data
    told = [sorted(one for one in got.headers if one[0] != "Date") for got in (first, second)]
    assert told[0] == told[1]
    assert "Date" not in second.headers  # which the server adds, of this second
    head = client.head(address, headers=headers)
    assert (head.data, head.headers["Content-Length"]) == (b"", first.headers["Content-Length"])
    etag = first.headers["ETag"]
    assert client.get(address, headers={**headers, "If-None-Match": etag}).status_code == 304


@pytest.fixture
def counted(synthetic_atlas: Path) -> tuple[Flask, list[str]]:
    """An application whose view says when it is asked."""
    app = create_app(synthetic_atlas)
    asked: list[str] = []
    view = app.view_functions["units.list_units"]

    def count(*args: object, **kwargs: object) -> object:
        asked.append("units")
        return view(*args, **kwargs)

    app.view_functions["units.list_units"] = count
    return app, asked


def test_what_is_asked_again_is_not_worked_out_again(counted: tuple[Flask, list[str]]) -> None:
    app, asked = counted
    client = app.test_client()
    for address in ("?layer=1&limit=3", "?layer=1&limit=3", "?layer=1&limit=3"):
        assert client.get(f"/api/v1/units{address}").status_code == 200
    assert len(asked) == 1
    client.get("/api/v1/units?layer=1&limit=4")
    assert len(asked) == 2


def test_refusals_are_not_kept(counted: tuple[Flask, list[str]]) -> None:
    app, asked = counted
    for _ in range(2):
        assert app.test_client().get("/api/v1/units?layer=77").status_code == 404
    assert len(asked) == 2


@pytest.fixture
def other_atlas(tmp_path: Path) -> Path:
    database = tmp_path / "other.duckdb"
    ingest(write_synthetic_run(tmp_path / "run", n_layers=1, seed=1), database)
    return database


def test_another_atlas_is_answered_from_anew(
    synthetic_atlas: Path, tmp_path: Path, other_atlas: Path
) -> None:
    link = tmp_path / "atlas.duckdb"
    link.symlink_to(synthetic_atlas)
    client = create_app(link).test_client()
    first = [client.get("/api/v1/atlas").get_json()["content_hash"] for _ in range(2)]
    (tmp_path / "next").symlink_to(other_atlas)
    (tmp_path / "next").replace(link)
    second = [client.get("/api/v1/atlas").get_json()["content_hash"] for _ in range(2)]
    assert first[0] == first[1] != second[0] == second[1]


def key_of(path: str, packed: bool = True) -> response_cache.Key:
    return ("etag", "http://here", path, "a=1", str(packed))


def test_what_was_not_used_for_longest_falls_out() -> None:
    n_bytes = 64 * (100 + response_cache._OVERHEAD_BYTES)
    cache = ResponseCache(n_bytes)
    kept = Kept(b"x" * 100, (), "etag", "rule")
    for i in range(64):
        cache.put(key_of(f"/{i}"), kept)
    assert cache.get(key_of("/0")) == kept
    cache.put(key_of("/new"), kept)
    assert cache.get(key_of("/1")) is None
    assert cache.get(key_of("/0")) == cache.get(key_of("/new")) == kept
    assert cache.n_bytes <= n_bytes
    cache.put(key_of("/large"), Kept(b"x" * (n_bytes // 32), (), "etag", "rule"))
    assert cache.get(key_of("/large")) is None


def test_an_address_is_there_until_its_last_form_falls_out() -> None:
    cache = ResponseCache(64 * (100 + response_cache._OVERHEAD_BYTES))
    kept = Kept(b"x" * 100, (), "etag", "rule")
    cache.put(key_of("/units", packed=True), kept)
    for i in range(62):
        cache.put(key_of(f"/{i}"), kept)
    cache.put(key_of("/units", packed=False), kept)
    assert cache.has("etag", "/units", "a=1")
    assert not cache.has("etag", "/units", "")
    assert not cache.has("other", "/units", "a=1")
    cache.put(key_of("/new"), kept)
    assert cache.get(key_of("/units", packed=True)) is None
    assert cache.has("etag", "/units", "a=1")
    for i in range(63):
        cache.put(key_of(f"/more/{i}"), kept)
    assert not cache.has("etag", "/units", "a=1")
    assert cache.has("etag", "/more/62", "a=1")
