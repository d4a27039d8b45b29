"""How much DuckDB may take of the memory while a site is filled."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from atlas_site import fill
from atlas_site.build import build_site
from atlas_site.options import SiteOptions

from atlas_db.connection import open_atlas


@pytest.mark.parametrize(
    ("options", "bound_mb"),
    [
        (SiteOptions(downloads_mb=0), 64),
        (SiteOptions(downloads_mb=100), 464),  # Parquet needs room for its groups of rows
    ],
)
def test_the_leading_process_opens_the_atlas_with_a_bound(
    synthetic_atlas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: SiteOptions,
    bound_mb: int,
) -> None:
    found = []
    open_atlas: Callable[..., Any] = fill.open_atlas

    def opened(*given: Any, **more: Any) -> Any:
        engine = open_atlas(*given, **more)
        with engine.connect() as connection:
            limit = "SELECT current_setting('memory_limit')"
            found.append(connection.exec_driver_sql(limit).scalar())
        return engine

    monkeypatch.setattr(fill, "open_atlas", opened)
    # A file of its own: whoever has one open in a process shares its memory.
    own = shutil.copy(synthetic_atlas, tmp_path / "own.duckdb")
    build_site(own, tmp_path / "out", options)
    value, unit = found[0].split()
    assert unit == "MiB"
    assert float(value) == pytest.approx(bound_mb * 1e6 / 2**20, abs=0.1)


def test_an_atlas_that_is_open_beside_keeps_its_memory(
    synthetic_atlas: Path, tmp_path: Path
) -> None:
    limit = "SELECT current_setting('memory_limit')"
    own = shutil.copy(synthetic_atlas, tmp_path / "own.duckdb")
    engine = open_atlas(own)
    with engine.connect() as connection:
        before = connection.exec_driver_sql(limit).scalar()
        build_site(own, tmp_path / "out", SiteOptions(downloads_mb=0))
        assert connection.exec_driver_sql(limit).scalar() == before
    engine.dispose()


def test_one_that_holds_more_than_the_bound_stands_in_nobodys_way(
    synthetic_atlas: Path, tmp_path: Path
) -> None:
    own = shutil.copy(synthetic_atlas, tmp_path / "own.duckdb")
    engine = open_atlas(own)
    with engine.connect() as connection:
        # 80 MB that cannot be put elsewhere, as long as there is the table.
        connection.exec_driver_sql("SET temp_directory = ''")
        connection.exec_driver_sql(
            "CREATE TEMP TABLE held AS SELECT hash(i) FROM range(10000000) t(i)"
        )
        build_site(own, tmp_path / "out", SiteOptions(downloads_mb=0))
        assert connection.exec_driver_sql("SELECT count(*) FROM held").scalar() == 10_000_000
    engine.dispose()
