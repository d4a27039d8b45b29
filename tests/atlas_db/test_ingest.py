"""A run folder becomes one file, wholly or not at all, and the same file for the same content."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy.orm import Session

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.content_hash import verify
from atlas_db.errors import AtlasFileError, RunError
from atlas_db.fixtures import write_synthetic_run
from atlas_db.ingest import ingest
from atlas_db.run_format import file_sha256, write_json
from atlas_db.schema import INDEXES, SCHEMA_VERSION, Base, Exemplar, Unit

SMALL = {"n_layers": 2, "units_per_layer": 12, "n_images": 20, "grid": (4, 4)}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("small") / "run", **SMALL)


@pytest.fixture(scope="module")
def small_hash(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return ingest(small_run, tmp_path_factory.mktemp("hash") / "a.duckdb")


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def edit_manifest(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    write_json(run / "manifest.json", manifest)


def rewrite(
    run: Path, table: str, change: Callable[[pa.Table], pa.Table], shard: int = 0, **options: Any
) -> None:
    """Change a table of the data set, the weights or one shard, and its hashes with it."""
    path = sorted(run.glob(f"**/{table}.parquet"))[shard]
    pq.write_table(change(pq.read_table(path)), path, **options)
    listing = path.parent / "shard.json"
    if not listing.exists():
        name, own = path.relative_to(run).as_posix(), file_sha256(path)
        edit_manifest(run, lambda manifest: manifest["files"].update({name: own}))
        return
    content = json.loads(listing.read_text(encoding="utf-8"))
    content["files"][path.name] = file_sha256(path)
    write_json(listing, content)
    sha256 = file_sha256(listing)
    edit_manifest(run, lambda manifest: manifest["shards"][shard].update(sha256=sha256))


def set_value(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    index = table.schema.get_field_index(column)
    return table.set_column(index, column, pa.array(values, table.schema.field(column).type))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "run")


# --- the same content, the same hash


@pytest.mark.parametrize("n_shards", [1, 3, 20])
def test_hash_does_not_depend_on_shards(tmp_path: Path, small_hash: str, n_shards: int) -> None:
    run = write_synthetic_run(tmp_path / "run", **SMALL, n_shards=n_shards)
    assert ingest(run, tmp_path / "a.duckdb") == small_hash


def test_hash_does_not_depend_on_layout_dates_and_paths(
    run: Path, tmp_path: Path, small_hash: str
) -> None:
    rewrite(run, "exemplars", lambda table: table.take(list(range(len(table)))[::-1]))
    rewrite(run, "unit_stats", lambda table: table.sort_by([("uid", "descending")]))
    rewrite(run, "unit_tokens", lambda table: table, row_group_size=7, compression="none")

    def change(manifest: dict[str, Any]) -> None:
        manifest.update(created="1999-12-31T00:00:00+00:00", command="another")
        manifest["versions"] = {"torch": "1.0"}
        manifest["shards"].reverse()
        manifest["captioner"] = dict(reversed(manifest["captioner"].items()))

    edit_manifest(run, change)
    moved = run.rename(tmp_path / "it's [a] *strange* name?")
    assert ingest(moved, tmp_path / "a.duckdb") == small_hash


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("unit_tokens", "prob", 0.123),
        ("captions", "caption", "another"),
        ("captions", "thumbnail", b"another"),
        ("exemplars", "heatmap_zero", 0.5),
        ("vocabulary", "token", " another"),
        ("human_captions", "caption", "another"),
        ("image_units", "gradient", 0.5),
        ("unit_neighbours", "cosine", 0.5),
    ],
)
def test_hash_depends_on_what_is_said(
    run: Path, tmp_path: Path, small_hash: str, table: str, column: str, value: Any
) -> None:
    rewrite(run, table, lambda rows: set_value(rows, column, 0, value))
    assert ingest(run, tmp_path / "a.duckdb") != small_hash


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("captioner", "prompt", "A photo of"),
        ("dataset", "split", "train2017"),
        ("settings", "formula", "a * dy/da"),
        ("model", "d_vocab", 7),
    ],
)
def test_hash_depends_on_what_was_asked(
    run: Path, tmp_path: Path, small_hash: str, key: str, name: str, value: Any
) -> None:
    edit_manifest(run, lambda manifest: manifest[key].update({name: value}))
    assert ingest(run, tmp_path / "a.duckdb") != small_hash


def test_hash_does_not_depend_on_the_sign_of_zero(run: Path, tmp_path: Path) -> None:
    """DuckDB may store -0.0 as 0.0, so a hash that tells them apart changes with the storage."""
    found = []
    for zero in (0.0, -0.0):
        rewrite(run, "attributions", lambda rows, zero=zero: set_value(rows, "z", 0, zero))
        found.append(ingest(run, tmp_path / "a.duckdb"))
    assert found[0] == found[1]


def test_verify(small_run: Path, tmp_path: Path, small_hash: str) -> None:
    database = tmp_path / "a.duckdb"
    ingest(small_run, database)
    assert verify(database) == small_hash
    with duckdb.connect(str(database)) as connection:
        connection.execute("UPDATE units SET write_norm = 2 * write_norm WHERE uid = 3")
    with pytest.raises(AtlasFileError, match=r"was changed after it was made: its content hash is"):
        verify(database)


# --- the file


def test_tables_are_those_of_the_schema_in_order_with_indexes(synthetic_atlas: Path) -> None:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        _, rows = queries.select(
            connection,
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE table_name IN (SELECT table_name FROM duckdb_tables()) ORDER BY column_index",
            limit=1000,
        )
        found: dict[str, list[str]] = {}
        for table, column, _ in rows:
            found.setdefault(table, []).append(column)
        wanted = {name: [c.name for c in t.columns] for name, t in Base.metadata.tables.items()}
        assert found == wanted
        _, indexes = queries.select(
            connection, "SELECT table_name, expressions FROM duckdb_indexes()", limit=1000
        )
        assert sorted(indexes) == sorted((table, f"[{column}]") for table, column in INDEXES)
        for table, key in (
            ("unit_tokens", "uid, -sign, rank"),
            ("exemplars", "uid, rank"),
            ("concept_units", "concept, -n_shown, -prob, uid"),
            ("image_units", "image_id, target, rank"),
            ("unit_images", "uid, -attribution, image_id"),
        ):
            stored = queries.select(connection, f"SELECT {key} FROM {table}", limit=10**6)[1]
            assert stored == sorted(stored)
    engine.dispose()


def test_categories_of_units(truth: Any, synthetic_atlas: Path) -> None:
    ids = {row["category_id"]: row["name"] for row in truth.rows("categories")}
    wanted = {}
    for uid, places in truth.places.items():
        best: dict[int, float] = {}
        for row in places:
            best[row["image_id"]] = max(best.get(row["image_id"], -1e9), row["a"])
        for category_id, name in ids.items():
            shown = [best[image] for image in best if name in truth.categories[image]]
            if shown:
                mean = pytest.approx(sum(shown) / len(shown), rel=1e-5)
                wanted[uid, category_id] = (len(shown), mean)
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        _, rows = queries.select(
            connection,
            "SELECT uid, category_id, n_images, mean_activation FROM unit_categories",
            limit=10**6,
        )
    engine.dispose()
    assert {row[:2]: row[2:] for row in rows} == wanted


def test_relationships_of_the_orm(synthetic_atlas: Path) -> None:
    engine = open_atlas(synthetic_atlas)
    with Session(engine) as session:
        unit = session.get(Unit, 40)
        assert unit is not None
        assert [exemplar.rank for exemplar in unit.exemplars] == list(range(1, 12))
        exemplar: Exemplar = unit.exemplars[0]
        assert exemplar.of_unit is unit
        assert exemplar.image.image_id == exemplar.image_id
        assert len(exemplar.image.human_captions) == 5
        assert len(unit.heatmaps.maps) == 11 * 196
        assert {token.sign for token in unit.tokens} == {1, -1}
    engine.dispose()


def test_progress_is_told_to_its_end(small_run: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    ingest(small_run, tmp_path / "a.duckdb", progress=lambda *step: told.append(step))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["check", "merge exemplars", "load"]
    for stage in stages:
        steps = [(done, n_steps) for name, done, n_steps in told if name == stage]
        assert [done for done, _ in steps] == list(range(steps[-1][1] + 1))


# --- wholly or not at all


def test_only_the_atlas_is_left(small_run: Path, tmp_path: Path) -> None:
    ingest(small_run, tmp_path / "new" / "a.duckdb")
    assert names(tmp_path / "new") == ["a.duckdb"]


def test_an_atlas_is_replaced(small_run: Path, tmp_path: Path, small_hash: str) -> None:
    database = tmp_path / "a.duckdb"
    database.write_bytes(b"what was there before")
    ingest(small_run, database)
    assert verify(database) == small_hash
    assert names(tmp_path) == ["a.duckdb"]


def test_a_damaged_run_leaves_what_was_there(run: Path, tmp_path: Path) -> None:
    database = tmp_path / "a.duckdb"
    database.write_bytes(b"what was there before")
    (run / "shards/00000/captions.parquet").write_bytes(b"no parquet")
    with pytest.raises(RunError, match=r"captions\.parquet is damaged"):
        ingest(run, database)
    assert database.read_bytes() == b"what was there before"
    assert names(tmp_path) == ["a.duckdb"]


def drop_last(table: pa.Table) -> pa.Table:
    return table.slice(0, len(table) - 1)


CONTRADICTIONS: list[tuple[str, Callable[[pa.Table], pa.Table], str]] = [
    ("units", drop_last, "1 units missing from or added to"),
    ("units", lambda t: set_value(t, "uid", 0, 99), "2 units missing from or added to"),
    ("vocabulary", lambda t: t.slice(60), "decoded tokens that the vocabulary does not have"),
    ("unit_tokens", lambda t: set_value(t, "uid", 0, 24), "tokens of units that do not exist"),
    ("unit_neighbours", lambda t: set_value(t, "neighbour_uid", 0, -1), "1 neighbours of units"),
    ("captions", lambda t: set_value(t, "image_id", 0, 1), "captions of images that the data set"),
    ("captions", drop_last, "has 18 captions and 1 skipped images, wanted 20 together"),
    ("image_units", lambda t: set_value(t, "uid", 0, 24), "1 top units that do not exist"),
    ("targets", drop_last, "top units of targets that do not exist"),
    ("image_units", lambda t: set_value(t, "heatmap", 0, b"x"), "1 heatmaps that are not of one"),
]  # fmt: skip


def test_a_table_that_cannot_be_read_to_its_end(run: Path, tmp_path: Path) -> None:
    path = run / "weights/unit_tokens.parquet"
    data = bytearray(path.read_bytes())
    data[30:90] = bytes(60)
    path.write_bytes(data)
    edit_manifest(run, lambda manifest: manifest.pop("files"))
    with pytest.raises(RunError, match=r"is damaged.*unit_tokens\.parquet.*new folder"):
        ingest(run, tmp_path / "a.duckdb")
    assert names(tmp_path) == []


@pytest.mark.parametrize(("table", "change", "message"), CONTRADICTIONS)
def test_a_run_that_contradicts_itself_is_refused(
    run: Path, tmp_path: Path, table: str, change: Any, message: str
) -> None:
    rewrite(run, table, change)
    with pytest.raises(RunError, match=message) as caught:
        ingest(run, tmp_path / "a.duckdb")
    assert "new folder" in str(caught.value)
    assert names(tmp_path) == []


def test_a_run_without_images_is_refused(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", n_layers=1, units_per_layer=8, n_images=6)
    for table in ("captions", "targets", "attributions", "image_units", "exemplars"):
        rewrite(run, table, lambda rows: rows.slice(0, 0))
        rewrite(run, table, lambda rows: rows.slice(0, 0), shard=1)
    with pytest.raises(RunError, match="has no image: all 1 were skipped"):
        ingest(run, tmp_path / "a.duckdb")
    assert names(tmp_path) == []


INGEST = "from pathlib import Path; from atlas_db.ingest import ingest; "


@pytest.fixture(scope="module")
def larger_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes a second or two, so that there is time to interrupt it."""
    folder = tmp_path_factory.mktemp("larger") / "run"
    return write_synthetic_run(folder, n_layers=4, units_per_layer=1000, n_images=20)


def test_a_full_disk_is_said_and_nothing_is_left(larger_run: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails in the same place."""
    database = tmp_path / "a.duckdb"
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**22, 2**22)); "
        + INGEST
        + f"""
from atlas_db.errors import AtlasFileError
try:
    ingest(Path({str(larger_run)!r}), Path({str(database)!r}))
except AtlasFileError as error:
    print(error)
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{database} could not be written: " in done.stdout
    assert "The run folder is untouched: make room beside a.duckdb" in done.stdout
    assert names(tmp_path) == []


@pytest.fixture
def writing(larger_run: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is in the middle of an ingest."""
    # A shell that runs the tests in the background has them ignore SIGINT.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + INGEST
    code += f"ingest(Path({str(larger_run)!r}), Path({str(tmp_path / 'a.duckdb')!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    partial = tmp_path / "a.duckdb.partial"
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 20_000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    yield process
    process.kill()
    process.wait()


def test_a_killed_ingest_leaves_no_atlas_and_the_next_one_cleans_up(
    writing: subprocess.Popen[bytes], larger_run: Path, tmp_path: Path
) -> None:
    writing.send_signal(signal.SIGKILL)
    assert writing.wait() == -signal.SIGKILL
    assert "a.duckdb" not in names(tmp_path)
    assert "a.duckdb.partial" in names(tmp_path)
    ingest(larger_run, tmp_path / "a.duckdb")
    assert names(tmp_path) == ["a.duckdb"]
    verify(tmp_path / "a.duckdb")


def test_an_interrupted_ingest_cleans_up_after_itself(
    writing: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    writing.send_signal(signal.SIGINT)
    assert writing.wait(timeout=60) != 0
    assert names(tmp_path) == []


def test_two_ingests_do_not_harm_one_another(
    writing: subprocess.Popen[bytes], small_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(AtlasFileError, match=r"is being written by another process. Wait until"):
        ingest(small_run, tmp_path / "a.duckdb")
    assert writing.wait(timeout=60) == 0
    assert names(tmp_path) == ["a.duckdb"]
    engine = open_atlas(tmp_path / "a.duckdb")
    with engine.connect() as connection:
        assert queries.atlas_info(connection).n_units == 4000
    engine.dispose()


def test_a_place_that_cannot_be_written(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtlasFileError, match=r"cannot be written: .* Choose a place"):
        ingest(small_run, tmp_path / "file" / "a.duckdb")
    with pytest.raises(AtlasFileError, match="is a folder, wanted the name of a file"):
        ingest(small_run, tmp_path)


# --- files that are no atlas of this version


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AtlasFileError, match=r"a\.duckdb is not there\. Make it with"):
        open_atlas(tmp_path / "a.duckdb")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(AtlasFileError, match=r"cannot be read as an atlas: .*Make it again with"):
        open_atlas(path)


def test_a_database_that_is_no_atlas(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(
        AtlasFileError, match=r"cannot be read as an atlas: .*Table with name atlas"
    ):
        open_atlas(path)


@pytest.mark.parametrize("version", ["0", "2", str(SCHEMA_VERSION + 1), None])
def test_an_atlas_of_another_schema_version(tmp_path: Path, version: str | None) -> None:
    path = tmp_path / "a.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE atlas (key VARCHAR, value VARCHAR)")
        if version is not None:
            connection.execute("INSERT INTO atlas VALUES ('schema_version', ?)", [version])
    with pytest.raises(AtlasFileError) as caught:
        open_atlas(path)
    wanted = f"is of schema version {version}, this program reads version {SCHEMA_VERSION}"
    assert wanted in str(caught.value)
    assert f"neuron-atlas ingest RUN --db {path}" in str(caught.value)


def test_a_damaged_file(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    ingest(small_run, path)
    with path.open("r+b") as file:
        for offset in range(20_000, path.stat().st_size, 5_000):
            file.seek(offset)
            file.write(b"\xff" * 16)
    with pytest.raises(AtlasFileError, match="cannot be read"):
        verify(path)
