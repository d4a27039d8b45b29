"""A large atlas made of hashes, and the same rows in SQLite, for `benchmarks.api_load`.

The figures mean nothing; their number, types, order and indexes are those of a real atlas: 20
tokens and 16 exemplars with a 14 x 14 map a unit, 100 units an image, 20,000 concepts of which few
are promoted by many units and most by few.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy import create_engine

from atlas_db.schema import INDEXES, SCHEMA_VERSION, Base
from atlas_db.views import VIEWS

N_CONCEPTS = 20_000
N_IMAGES = 5_000
N_PATCH = 196

_SHARE = "(hash({of}) % 1000003)::DOUBLE / 1000003"


def _share(*of: str) -> str:
    """A number of 0..1 that looks random, the same at each run."""
    return _SHARE.format(of=", ".join(of))


def _noise(of: str, n_bytes: int) -> str:
    """Bytes that look random, the same at each run; a picture of them packs worse than a map."""
    hashes = f"[md5({of} || '.' || x) FOR x IN range({-(-n_bytes // 16)})]"
    return f"unhex(left(array_to_string({hashes}, ''), {2 * n_bytes}))"


#: The smallest picture.
_WEBP = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"

#: Table and statement, in the order in which they run.
_TABLES = (
    (
        "units",
        f"""
        SELECT uid, uid // $m, uid % $m,
            [' word' || hash(uid, r) % {N_CONCEPTS} FOR r IN range(10)],
            (30 * {_share("uid", "'i'")})::INT, {_share("uid", "'i'")},
            false, uid % 3 = 0, uid % 11,
            {_share("uid", "'a'")}, {_share("uid", "'m'")}, 8 * {_share("uid", "'x'")}, 1.0,
            {N_IMAGES * N_PATCH}, 0.1, 0.1, 0, 0.5, 1, 2, [x % 97 FOR x IN range(128)]
        FROM range($n) t(uid) ORDER BY uid
        """,
    ),
    (
        "unit_tokens",
        f"""
        SELECT uid, sign, rank, uid // $m, uid % $m, token_id, ' word' || token_id,
            'word' || token_id, 10 - rank, 1.0 / (rank + {_share("uid", "rank")})
        FROM (
            SELECT uid, sign, rank,
                ({N_CONCEPTS} * pow({_share("uid", "sign", "rank")}, 3))::INT AS token_id
            FROM range($n) u(uid), (VALUES (1), (-1)) s(sign), range(1, 11) r(rank)
        ) ORDER BY uid, sign, rank
        """,
    ),
    (
        "concept_units",
        """
        SELECT concept, hash(uid, concept) % 17 AS n_shown, max(prob) AS prob, uid, uid // $m,
            uid % $m, min(rank), min_by(token, rank)
        FROM unit_tokens WHERE sign = 1 GROUP BY concept, uid
        ORDER BY concept, n_shown DESC, prob DESC, uid
        """,
    ),
    (
        "concepts",
        """
        SELECT concept, concept, concept, count(*), count(DISTINCT layer), max(prob)
        FROM concept_units GROUP BY concept ORDER BY concept
        """,
    ),
    (
        "concept_neighbours",
        """
        SELECT a.concept, r, b.concept, 0.9 - r / 100
        FROM (SELECT concept, row_number() OVER (ORDER BY concept) AS i FROM concepts) a,
            range(1, 9) t(r)
        JOIN (SELECT concept, row_number() OVER (ORDER BY concept) AS i FROM concepts) b
            ON b.i = a.i + r
        ORDER BY a.concept, r
        """,
    ),
    (
        "unit_neighbours",
        "SELECT uid, r, hash(uid, r) % $n, 1 - r / 10 FROM range($n) u(uid), range(1, 9) t(r) "
        "ORDER BY uid, r",
    ),
    (
        "exemplars",
        f"""
        SELECT uid, r, uid // $m, uid % $m, hash(uid, r) % {N_IMAGES}, 8 - r / 3, r
        FROM range($n) u(uid), range(1, 17) t(r) ORDER BY uid, r
        """,
    ),
    (
        "heatmaps",
        f"""
        SELECT uid, [0.01 FOR x IN range(16)], [0.0 FOR x IN range(16)],
            {_noise("uid", 16 * N_PATCH)}
        FROM range($n) u(uid) ORDER BY uid
        """,
    ),
    (
        "images",
        f"""
        SELECT i, i || '.jpg', 'val', 640, 480, 1, '', '', 'a picture of word' || i, ['word' || i],
            ['kind' || i % 80]
        FROM range({N_IMAGES}) t(i) ORDER BY i
        """,
    ),
    (
        "thumbnails",
        f"SELECT i, from_base64('{_WEBP}') FROM range({N_IMAGES}) t(i) ORDER BY i",
    ),
    (
        "targets",
        f"""
        SELECT i, 0, i, 'word' || i, 4, 13, 9.0, 0.5 FROM range({N_IMAGES}) t(i) ORDER BY i
        """,
    ),
    (
        "image_units",
        f"""
        SELECT i, 0, r, u, u // $m, u % $m, r, 2.0 / r, 1, 1, 2.0 / r,
            CASE WHEN r <= 5 THEN {_noise("i || '.' || r", N_PATCH)} ELSE ''::BLOB END, 0.01, 0
        FROM (SELECT i, r, hash(i, r) % $n AS u FROM range({N_IMAGES}) t(i), range(1, 101) s(r))
        ORDER BY i, r
        """,
    ),
    (
        "unit_images",
        """
        SELECT uid, attribution, image_id, target, rank, 'word' FROM image_units
        ORDER BY uid, attribution DESC, image_id
        """,
    ),
    (
        "layers",
        """
        SELECT layer, count(*), count(*), count(*) FILTER (is_interpretable), 0, 0, 0 FROM units
        GROUP BY layer ORDER BY layer
        """,
    ),
)
_PROVENANCE = {
    "name": "synthesised",
    "schema_version": str(SCHEMA_VERSION),
    "created": "2026-01-01T00:00:00+00:00",
    "command": "python -m benchmarks.api_load",
    "formula": "none: the figures are hashes",
    "is_random": "true",
} | dict.fromkeys(("captioner", "dataset", "settings", "versions"), "{}")


def make_atlas(
    path: Path, n_layers: int, units_per_layer: int, *, content_hash: str = "0" * 64
) -> None:
    """Write an atlas of n_layers * units_per_layer units."""
    engine = create_engine(f"duckdb:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    model = {"n_layers": n_layers, "units_per_layer": units_per_layer}
    model |= {"grid_rows": 14, "grid_columns": 14, "d_model": 4096, "d_vocab": N_CONCEPTS}
    provenance = _PROVENANCE | {"model": json.dumps(model), "content_hash": content_hash}
    values = {"n": n_layers * units_per_layer, "m": units_per_layer}
    with duckdb.connect(str(path)) as connection:
        connection.executemany("INSERT INTO atlas VALUES (?, ?)", list(provenance.items()))
        for table, statement in _TABLES:
            used = {name: value for name, value in values.items() if f"${name}" in statement}
            connection.execute(f"INSERT INTO {table} {statement}", used)
        for table, column in INDEXES:
            connection.execute(f"CREATE INDEX {table}_{column} ON {table} ({column})")
        for view in VIEWS:
            connection.execute(view.statement)
        connection.execute("CHECKPOINT")


def copy_to_sqlite(atlas: Path, path: Path) -> None:
    """Copy an atlas's tables with its indexes, and those of the sorts; lists become JSON."""
    with duckdb.connect(str(atlas), read_only=True) as source, sqlite3.connect(path) as target:
        for name, _ in _TABLES:
            described = source.execute(f"DESCRIBE {name}").fetchall()
            names = ", ".join(row[0] for row in described)
            columns = ", ".join(
                f"to_json({row[0]})::VARCHAR" if row[1].endswith("[]") else row[0]
                for row in described
            )
            target.execute(f"CREATE TABLE {name} ({names})")
            places = ", ".join("?" * len(described))
            rows = source.execute(f"SELECT {columns} FROM {name}")
            target.executemany(f"INSERT INTO {name} VALUES ({places})", _rows(rows))
        for table, column in INDEXES:
            if table in {name for name, _ in _TABLES}:
                target.execute(f"CREATE INDEX {table}_{column} ON {table} ({column})")
        target.execute(
            "CREATE INDEX concept_shown ON concept_units (concept, n_shown DESC, prob DESC, uid)"
        )
        target.execute("CREATE INDEX layer_best ON units (layer, best_attribution DESC, uid)")
        target.execute("ANALYZE")
    target.close()


def _rows(result: Any) -> Iterator[tuple[Any, ...]]:
    while rows := result.fetchmany(10_000):
        yield from rows
