"""Following the atlas: published behind a symlink, renamed into place, missing, under threads."""

import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest

from api import atlas_source
from api.app import create_app
from api.atlas_source import AtlasSource
from atlas_db.errors import AtlasFileError
from atlas_db.fixtures import write_synthetic_run
from atlas_db.ingest import ingest
from atlas_db.queries import atlas_info

N_SWAPS = 12
N_READERS = 4


@pytest.fixture(scope="module")
def two_atlases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("two")
    paths = []
    for seed in (1, 2):
        run = write_synthetic_run(
            folder / f"run{seed}", n_layers=1 + seed, units_per_layer=12, n_images=6, seed=seed
        )
        paths.append(folder / f"atlas{seed}.duckdb")
        ingest(run, paths[-1])
    return paths[0], paths[1]


def point(link: Path, target: Path) -> None:
    fresh = link.with_name(link.name + ".new")
    fresh.symlink_to(target)
    fresh.replace(link)


def put_in_place(path: Path, source: Path) -> None:
    fresh = path.with_name(path.name + ".new")
    shutil.copy(source, fresh)
    fresh.replace(path)


def n_layers_read(source: AtlasSource) -> int:
    """Count the layers as a request does, from the file and not from what was kept of it."""
    lease = source.acquire()
    try:
        with lease.engine.connect() as connection:
            info = atlas_info(connection)
            assert info.content_hash == lease.info.content_hash
            return info.n_layers
    finally:
        source.release(lease)


def test_more_readers_than_the_pool_keeps(two_atlases: tuple[Path, Path]) -> None:
    source = AtlasSource(two_atlases[0])
    lease = source.acquire()
    connections = [lease.engine.connect() for _ in range(40)]
    assert {atlas_info(connection).n_layers for connection in connections} == {2}
    for connection in connections:
        connection.close()
    source.release(lease)
    source.close()


def test_it_follows_a_symlink(two_atlases: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "atlas.duckdb"
    source = AtlasSource(link)
    for target, expected in zip([*two_atlases, *two_atlases], (2, 3, 2, 3), strict=True):
        point(link, target)
        assert n_layers_read(source) == expected
        assert n_layers_read(source) == expected
    assert source.n_opened == 4
    source.close()


def test_it_notices_a_file_that_was_renamed_into_place(
    two_atlases: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "atlas.duckdb"
    source = AtlasSource(path)
    for file, expected in zip([*two_atlases, *two_atlases], (2, 3, 2, 3), strict=True):
        put_in_place(path, file)
        assert n_layers_read(source) == expected
    source.close()


def test_a_lease_keeps_its_atlas_to_its_end(two_atlases: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "atlas.duckdb"
    point(link, two_atlases[0])
    source = AtlasSource(link)
    lease = source.acquire()
    point(link, two_atlases[1])
    assert n_layers_read(source) == 3
    with lease.engine.connect() as connection:
        assert atlas_info(connection).n_layers == 2
    source.release(lease)
    source.close()


def test_a_renamed_file_waits_for_the_last_reader_of_the_old_one(
    two_atlases: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "atlas.duckdb"
    put_in_place(path, two_atlases[0])
    source = AtlasSource(path)
    lease = source.acquire()
    connection = lease.engine.connect()
    put_in_place(path, two_atlases[1])
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.append(n_layers_read(source)))
    reader.start()
    reader.join(0.2)
    assert reader.is_alive()
    assert seen == []
    connection.close()
    source.release(lease)
    reader.join(10)
    assert seen == [3]
    source.close()


def test_waiting_for_a_reader_ends(
    two_atlases: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atlas_source, "DRAIN_TIMEOUT_S", 0.1)
    path = tmp_path / "atlas.duckdb"
    put_in_place(path, two_atlases[0])
    source = AtlasSource(path)
    lease = source.acquire()
    put_in_place(path, two_atlases[1])
    with pytest.raises(AtlasFileError, match="symlink"):
        source.acquire()
    source.release(lease)
    assert n_layers_read(source) == 3
    source.close()


def test_a_missing_atlas_is_said_and_found_when_it_comes(
    two_atlases: tuple[Path, Path], tmp_path: Path
) -> None:
    link = tmp_path / "atlas.duckdb"
    source = AtlasSource(link)
    with pytest.raises(AtlasFileError, match="neuron-atlas ingest"):
        source.acquire()
    point(link, tmp_path / "nowhere")
    with pytest.raises(AtlasFileError, match="cannot be read"):
        source.acquire()
    point(link, link)
    with pytest.raises(AtlasFileError, match="cannot be read"):
        source.acquire()
    point(link, two_atlases[0])
    assert n_layers_read(source) == 2
    source.close()


@pytest.mark.parametrize("publish", [point, put_in_place])
def test_no_request_fails_or_mixes_atlases_while_others_are_published(
    two_atlases: tuple[Path, Path], tmp_path: Path, publish: object
) -> None:
    path = tmp_path / "atlas.duckdb"
    publish(path, two_atlases[0])  # type: ignore[operator]
    app = create_app(path)
    seen: Counter[tuple[str, int]] = Counter()
    failures: list[str] = []
    stop = threading.Event()

    def read() -> None:
        client = app.test_client()
        while not stop.is_set():
            response = client.get("/api/v1/layers")
            if response.status_code != 200:
                failures.append(response.get_data(as_text=True))
                return
            seen[response.headers["ETag"], len(response.get_json()["rows"])] += 1

    readers = [threading.Thread(target=read) for _ in range(N_READERS)]
    for reader in readers:
        reader.start()
    for i in range(N_SWAPS):
        publish(path, two_atlases[(i + 1) % 2])  # type: ignore[operator]
        before = seen.total()
        while seen.total() < before + 2 * N_READERS and not failures:
            stop.wait(0.005)
    stop.set()
    for reader in readers:
        reader.join(20)
    assert failures == []
    assert sorted(n_layers for _, n_layers in seen) == [2, 3]  # one ETag for each atlas
    assert app.extensions["atlas_source"].n_opened >= N_SWAPS
