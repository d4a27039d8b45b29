"""Answers that a server writes by itself: when, once, whole or not at all."""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api import preparing
from api.app import create_app
from api.atlas_source import AtlasSource
from api.preparing import Preparing
from atlas_db import ready_answers
from atlas_db.errors import AtlasError
from atlas_db.ready_answers import prepare, ready_path

WAIT_S = 60.0


@pytest.fixture
def atlas(synthetic_atlas: Path, tmp_path: Path) -> Path:
    path = tmp_path / "atlas.duckdb"
    os.link(synthetic_atlas, path)
    return path


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (preparing, ready_answers):
        monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.05)


@pytest.fixture
def prepared_by() -> Iterator[Callable[[AtlasSource], Preparing]]:
    started: list[tuple[Preparing, AtlasSource]] = []

    def start(source: AtlasSource) -> Preparing:
        one = Preparing(source)
        one.start()
        started.append((one, source))
        return one

    yield start
    for one, source in started:
        one.close()
        source.close()


def wait_for(what: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_a_served_atlas_gets_its_answers_and_is_answered_from_them(
    atlas: Path, prepared_by: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(atlas)
    client = app.test_client()
    before = client.get("/api/v1/units/1/2").data
    prepared_by(app.extensions["atlas_source"])
    wait_for(ready_path(atlas).exists)
    time.sleep(0.1)  # longer than the server looks away

    def fail() -> None:
        raise AssertionError("the atlas was asked")

    monkeypatch.setattr("api.units.connection", fail)
    assert client.get("/api/v1/units/1/2", headers={"Accept-Encoding": "identity"}).data == before
    assert client.get("/api/v1/units/1/3").status_code == 200
    assert sorted(path.name for path in atlas.parent.iterdir()) == [
        "atlas.duckdb", "atlas.duckdb.answers"
    ]  # fmt: skip


def test_each_atlas_that_is_published_gets_its_own(
    atlas: Path, tmp_path: Path, prepared_by: Any
) -> None:
    other, current = tmp_path / "other.duckdb", tmp_path / "current.duckdb"
    shutil.copy(atlas, other)
    current.symlink_to(atlas)
    prepared_by(AtlasSource(current))
    wait_for(ready_path(atlas).exists)
    assert not ready_path(other).exists()
    (tmp_path / "next").symlink_to(other)
    (tmp_path / "next").replace(current)
    wait_for(ready_path(other).exists)


def test_without_an_atlas_it_waits_for_one(atlas: Path, tmp_path: Path, prepared_by: Any) -> None:
    later = tmp_path / "later.duckdb"
    prepared_by(AtlasSource(later))
    time.sleep(0.2)
    os.link(atlas, later)
    wait_for(ready_path(later).exists)


def test_where_nothing_can_be_written_it_is_said_once_and_served_all_the_same(
    atlas: Path, prepared_by: Any, caplog: pytest.LogCaptureFixture
) -> None:
    atlas.with_name("atlas.duckdb.answers.partial").mkdir()
    app = create_app(atlas)
    with caplog.at_level(logging.WARNING, "neuron_atlas.api"):
        prepared_by(app.extensions["atlas_source"])
        wait_for(lambda: bool(caplog.records))
        time.sleep(0.3)
    (record,) = caplog.records
    assert "cannot be written" in record.getMessage()
    assert "more slowly" in record.getMessage()
    assert app.test_client().get("/api/v1/units/1/2").status_code == 200


def test_an_end_in_the_middle_leaves_nothing(
    atlas: Path, prepared_by: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "neuron_atlas.api")
    one = prepared_by(AtlasSource(atlas))
    partial = atlas.with_name("atlas.duckdb.answers.partial")
    wait_for(lambda: partial.exists() or ready_path(atlas).exists())
    one.close()
    assert not partial.exists()


def test_one_process_writes_at_a_time(atlas: Path) -> None:
    partial = atlas.with_name("atlas.duckdb.answers.partial")
    with partial.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"half")
        file.flush()
        with pytest.raises(AtlasError, match="another process"):
            prepare(atlas)
        assert partial.read_bytes() == b"half"
    assert prepare(atlas) == ready_path(atlas)  # what a killed process left is written over
    assert not partial.exists()


def test_a_disk_that_is_nearly_full_is_left_alone(
    atlas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(atlas.stat().st_size))
    with pytest.raises(AtlasError, match="GB free"):
        prepare(atlas)
    assert sorted(path.name for path in atlas.parent.iterdir()) == ["atlas.duckdb"]
