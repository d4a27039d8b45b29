"""Tables as files that can be sent: whole, hashed, and none above the size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb

from atlas_db.downloads import export_small_tables


def test_small_tables_are_written_whole(synthetic_atlas: Path, tmp_path: Path) -> None:
    files, left = export_small_tables(
        synthetic_atlas, tmp_path / "tables", max_bytes=20_000, without=["thumbnails"]
    )
    names = {file.table.table for file in files}
    large = {one.table.table for one in left}
    assert {"atlas", "units", "layers"} <= names
    assert "heatmaps" in large
    assert not names & large
    assert "thumbnails" not in names | large
    assert all(one.estimated_bytes > 20_000 for one in left)
    for file in files:
        path = tmp_path / "tables" / file.name
        assert path.stat().st_size == file.size_bytes <= 20_000
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
        (n_rows,) = duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchone()
        assert n_rows == file.table.n_rows


def test_no_table_may_be_small_enough(synthetic_atlas: Path, tmp_path: Path) -> None:
    files, left = export_small_tables(synthetic_atlas, tmp_path / "tables", max_bytes=1)
    assert not files
    assert {"units", "heatmaps"} <= {one.table.table for one in left}
