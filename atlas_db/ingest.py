"""From a run folder to an atlas: load, sort, index, hash, rename.

The file is written as NAME.partial beside its final place and renamed when it is whole, so a
failure of any kind leaves what was there before. DuckDB does the sorting and the joining and
spills to the disk beyond `MEMORY_LIMIT`; nothing goes row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb_sqlalchemy import Dialect
from sqlalchemy.schema import CreateTable

from atlas_db import dictionary
from atlas_db.concepts import fold, slug, stem, text_stems
from atlas_db.content_hash import HASHED_KEYS, canonical_json, content_hash
from atlas_db.errors import AtlasFileError, RunError
from atlas_db.load_checks import refuse_contradictions
from atlas_db.load_experiments import (
    create_experiment_views,
    experiment_entries,
    load_experiments,
)
from atlas_db.load_sql import IMAGE_TABLES, MERGED_TABLES, UNIT_TABLES
from atlas_db.merge import MERGED_NEGATIVE, exemplar_blocks, merged_exemplars, merged_sums
from atlas_db.publish import partial_file, publish
from atlas_db.run_check import CheckedRun, check_run, sql_paths
from atlas_db.run_format import (
    ALWAYS_ON_MIN_FREQUENCY,
    ALWAYS_ON_MIN_RATIO,
    DATASET_SCHEMAS,
    MORE_SHARD_SCHEMAS,
    N_NEIGHBOURS,
    WEIGHTS_SCHEMAS,
    shard_schemas,
)
from atlas_db.schema import INDEXES, SCHEMA_VERSION, Base
from atlas_db.sql_schema import write_comments
from atlas_db.views import VIEWS

#: Called with the name of a stage, the steps of it that are done and how many it has.
Progress = Callable[[str, int, int], None]

#: Files of this form are read by DuckDB 1.4 and later.
STORAGE_VERSION = "v1.4.0"
MEMORY_LIMIT = "2GB"


def ingest(run: Path, database: Path, *, progress: Progress | None = None) -> str:
    """Make an atlas of a run folder and return its content hash.

    Replaces `database` if it exists, at the very end and at once. Memory stays within
    `MEMORY_LIMIT` and a few hundred MB, whatever the number of images.

    Raises:
        RunError: The run folder is incomplete or damaged.
        AtlasFileError: The file cannot be written, or another ingest is writing it.
    """
    run, database = Path(run), Path(database)
    tell = progress or (lambda _stage, _done, _steps: None)
    checked = _check(run, tell)
    with partial_file(database) as partial:
        try:
            with _create(partial) as connection:
                found = _fill(connection, checked, tell)
            publish(partial, database)
        except (duckdb.IntegrityError, duckdb.DataError, duckdb.InvalidInputException) as error:
            raise RunError(
                f"{run} is damaged or contradicts itself: {error}. "
                "Build it again into a new folder."
            ) from error
        except (duckdb.OperationalError, duckdb.FatalException, OSError) as error:
            raise AtlasFileError(
                f"{database} could not be written: {error}. The run folder is untouched: make "
                f"room beside {database.name}, or choose another place, and ingest again."
            ) from error
    return found


def _check(run: Path, tell: Progress) -> CheckedRun:
    steps = check_run(run)
    while True:
        try:
            tell("check", *next(steps))
        except StopIteration as stop:
            checked: CheckedRun = stop.value
            tell("check", len(checked.shards), len(checked.shards))
            return checked


def _create(partial: Path) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "storage_compatibility_version": STORAGE_VERSION,
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": f"{partial}.tmp",
        "python_enable_replacements": "false",
    }
    return duckdb.connect(str(partial), config=config)


def _fill(connection: duckdb.DuckDBPyConnection, run: CheckedRun, tell: Progress) -> str:
    statements = [*IMAGE_TABLES, *MERGED_TABLES, *UNIT_TABLES]
    n_steps = len(statements) + 3
    with _transaction(connection):
        for made in Base.metadata.tables.values():
            connection.execute(str(CreateTable(made).compile(dialect=Dialect())))
        for view in VIEWS:
            connection.execute(view.statement)
        write_comments(connection)
        _create_views(connection, run)
    refuse_contradictions(connection, run)
    _load_blobs(connection, run, tell)
    with _transaction(connection):
        _load_python_tables(connection, run)
        for done, (table, statement) in enumerate(statements):
            tell("load", done, n_steps)
            _insert(connection, table, statement, run)
        load_experiments(connection, run)
    tell("load", n_steps - 3, n_steps)
    with _transaction(connection):
        for table, column in INDEXES:
            connection.execute(f"CREATE INDEX {table}_{column} ON {table} ({column})")
    tell("load", n_steps - 2, n_steps)
    with _transaction(connection):
        found = _name(connection, run)
    tell("load", n_steps - 1, n_steps)
    connection.execute("CHECKPOINT")
    tell("load", n_steps, n_steps)
    return found


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run statements as one: the disk is waited for once, not after each."""
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, statement: str, run: CheckedRun
) -> None:
    known: dict[str, float] = {
        "units_per_layer": run.units_per_layer,
        "always_on_min_frequency": ALWAYS_ON_MIN_FREQUENCY,
        "always_on_min_ratio": ALWAYS_ON_MIN_RATIO,
        "min_words": dictionary.MIN_WORDS,
        "n_neighbours": N_NEIGHBOURS,
    }
    used = {name: value for name, value in known.items() if f"${name}" in statement}
    connection.execute(f"INSERT INTO {table} {statement}", used)


def _insert_arrow(connection: duckdb.DuckDBPyConnection, target: str, rows: pa.Table) -> None:
    connection.register("incoming", rows)
    connection.execute(f"INSERT INTO {target} BY NAME FROM incoming")
    connection.unregister("incoming")


def _create_views(connection: duckdb.DuckDBPyConnection, run: CheckedRun) -> None:
    of_shards = shard_schemas(run.manifest)
    for table in (*DATASET_SCHEMAS, *WEIGHTS_SCHEMAS, *of_shards):
        files = sql_paths(run.files(table))
        connection.execute(f"CREATE TEMP VIEW run_{table} AS FROM read_parquet([{files}])")
    for table, schema in MORE_SHARD_SCHEMAS.items():
        if table not in of_shards:
            connection.register(f"no_{table}", schema.empty_table())
            connection.execute(f"CREATE TEMP VIEW run_{table} AS FROM no_{table}")
    create_experiment_views(connection, run)


def _load_blobs(connection: duckdb.DuckDBPyConnection, run: CheckedRun, tell: Progress) -> None:
    """Load thumbnails and heatmaps as they are: trying to compress them takes five times longer."""
    connection.execute("SET force_compression = 'uncompressed'")
    connection.execute(
        "INSERT INTO thumbnails SELECT image_id, thumbnail FROM run_captions "
        "WHERE octet_length(thumbnail) > 0 ORDER BY image_id"
    )
    connection.execute(
        "CREATE TEMP TABLE merged_exemplars "
        "(uid INTEGER, rank SMALLINT, image_id BIGINT, activation REAL, patch SMALLINT)"
    )
    blocks = exemplar_blocks(run.n_units, len(run.shards), run.n_patch)
    for done, units in enumerate(blocks):
        tell("merge exemplars", done, len(blocks))
        exemplars, heatmaps = merged_exemplars(connection, units, run.n_patch)
        _insert_arrow(connection, "merged_exemplars", exemplars)
        _insert_arrow(connection, "heatmaps", heatmaps)
        window = {"first": units.start, "stop": units.stop, "width": run.units_per_layer}
        connection.execute(f"INSERT INTO negative_exemplars {MERGED_NEGATIVE}", window)
    connection.execute("CHECKPOINT")
    connection.execute("SET force_compression = 'auto'")
    tell("merge exemplars", len(blocks), len(blocks))


def _load_python_tables(connection: duckdb.DuckDBPyConnection, run: CheckedRun) -> None:
    """Load what needs Python: sums, tokens, concepts' names, skipped images."""
    for number, sums in enumerate(merged_sums(run.files("unit_stats"), run.n_units)):
        connection.register("incoming", sums)
        create = "CREATE TEMP TABLE unit_sums AS" if number == 0 else "INSERT INTO unit_sums"
        connection.execute(f"{create} FROM incoming")
        connection.unregister("incoming")
    vocabulary = pq.read_table(run.files("vocabulary")[0]).sort_by("token_id")
    tokens = vocabulary["token"].to_pylist()
    concepts = [fold(token) for token in tokens]
    vocabulary = vocabulary.append_column("concept", pa.array(concepts, pa.string()))
    words = pa.array([dictionary.is_word(token) for token in tokens], pa.bool_())
    _insert_arrow(connection, "tokens", vocabulary.append_column("is_word", words))
    names = sorted({concept for concept in concepts if concept is not None})
    columns = {
        "concept": names,
        "slug": [slug(name) for name in names],
        "stem": [stem(name) for name in names],
    }
    schema = pa.schema([(name, pa.string()) for name in columns])
    connection.register("concept_names", pa.table(columns, schema))
    connection.register("image_stems", _image_stems(run))
    kinds = {"image_id": pa.int64(), "file": pa.string(), "reason": pa.string()}
    skipped = sorted(run.skipped, key=lambda row: row["image_id"])
    rows = {name: pa.array([row[name] for row in skipped], kind) for name, kind in kinds.items()}
    _insert_arrow(connection, "skipped_images", pa.table(rows))


def _image_stems(run: CheckedRun) -> pa.Table:
    """Give what images show: the stems of people's captions, or of the generated one.

    Rows (image_id, stem), each once; of images whose only captions are the model's, its words.
    """
    of_image: dict[int, set[str]] = {}
    for table in ("human_captions", "captions"):
        by_people = frozenset(of_image)
        for file in run.files(table):
            rows = pq.read_table(file, columns=["image_id", "caption"])
            pairs = zip(rows["image_id"].to_pylist(), rows["caption"].to_pylist(), strict=True)
            for image_id, caption in pairs:
                if image_id not in by_people:
                    of_image.setdefault(image_id, set()).update(text_stems(caption))
    counts = [len(stems) for stems in of_image.values()]
    shown = [one for stems in of_image.values() for one in stems]
    image_id = np.repeat(np.fromiter(of_image, np.int64, len(of_image)), counts)
    return pa.table({"image_id": image_id, "stem": pa.array(shown, pa.string())})


def _name(connection: duckdb.DuckDBPyConnection, run: CheckedRun) -> str:
    """Write the table `atlas`, the content hash among it, and return the hash."""
    manifest = run.manifest
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "formula": manifest["settings"]["formula"],
        "experiments": experiment_entries(run),
        **{key: manifest[key] for key in (*HASHED_KEYS, "name", "created", "command", "is_random")},
        "versions": {**manifest["versions"], "duckdb (ingest)": duckdb.__version__},
    }
    values["settings"] = {
        **manifest["settings"],
        "always_on_min_frequency": ALWAYS_ON_MIN_FREQUENCY,
        "always_on_min_ratio": ALWAYS_ON_MIN_RATIO,
        "interpretable_min_words": dictionary.MIN_WORDS,
        "dictionary": dictionary.DESCRIPTION,
    }
    for key, value in sorted(values.items()):
        text = value if isinstance(value, str) else canonical_json(value)
        connection.execute("INSERT INTO atlas VALUES (?, ?)", [key, text])
    found = content_hash(connection)
    connection.execute("INSERT INTO atlas VALUES ('content_hash', ?)", [found])
    return found
