"""SQL in the browser: the engine is the pinned one, runs offline, and is left out by a sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from atlas_site.build import build_site
from atlas_site.options import SiteOptions
from atlas_site.sql_engine import DUCKDB, engine_folder, unpack, without_imports
from site_browser import watch

from atlas_db.browser_tables import write_browser_tables
from atlas_db.connection import open_atlas
from atlas_db.errors import SiteError
from atlas_db.sql_schema import tables


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small package in the form of npm's."""
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name in DUCKDB.files:
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"hello"))
    return path


def test_another_package_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="it is not the pinned package"):
        unpack(archive, DUCKDB, tmp_path)
    pinned = dataclasses.replace(DUCKDB, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    unpack(archive, pinned, tmp_path)
    for name in DUCKDB.files.values():
        assert (tmp_path / name).read_bytes() == b"hello"


def test_the_librarys_imports_of_arrow_take_the_global() -> None:
    code = 'let x=1;import*as u from"apache-arrow";u.f();import*as d from"apache-arrow";d.g();'
    assert without_imports(code) == (
        "let x=1;const u=globalThis.Arrow;u.f();const d=globalThis.Arrow;d.g();"
    )
    with pytest.raises(SiteError, match="imports Arrow in another way"):
        without_imports("let x=1;")


def test_tables_for_the_browser_are_whole_and_small(synthetic_atlas: Path, tmp_path: Path) -> None:
    made, left_out = write_browser_tables(
        synthetic_atlas, tmp_path / "t", max_bytes=200_000, without=["thumbnails"]
    )
    names = {one.name for one in made}
    assert {"atlas", "units", "concept_units"} <= names
    assert "thumbnails" in left_out
    assert not names & set(left_out)
    with duckdb.connect(str(synthetic_atlas), read_only=True) as whole:
        for one in made:
            assert one.path.stat().st_size <= 200_000
            assert one.without == ()
            everything = f'FROM "{one.name}" ORDER BY ALL'
            with duckdb.connect(str(one.path), read_only=True) as connection:
                rows = connection.execute(everything).fetchall()
            assert rows == whole.execute(everything).fetchall()


def test_units_are_asked_without_their_histograms_where_these_are_too_large(
    synthetic_atlas: Path, tmp_path: Path
) -> None:
    # 96 units of 1,024 bytes.
    made, _ = write_browser_tables(synthetic_atlas, tmp_path / "t", max_bytes=98_303)
    (units,) = [one for one in made if one.name == "units"]
    assert units.without == ("histogram",)
    statement = "SELECT * EXCLUDE (histogram) FROM units ORDER BY uid"
    with duckdb.connect(str(synthetic_atlas), read_only=True) as whole:
        expected = whole.execute(statement).fetchall()
    with duckdb.connect(str(units.path), read_only=True) as connection:
        assert connection.execute("FROM units ORDER BY uid").fetchall() == expected
    made, _ = write_browser_tables(synthetic_atlas, tmp_path / "more", max_bytes=98_304)
    assert [one.without for one in made if one.name == "units"] == [()]


def test_without_the_engine_the_page_says_so(built_site: Any) -> None:
    page = (built_site.folder / "sql.html").read_text("utf-8")
    assert "made without SQL in the browser" in page
    assert "data-ask" not in page
    assert not (built_site.folder / "assets/duckdb").exists()


def test_the_page_lists_every_table_with_what_its_columns_hold(
    built_site: Any, synthetic_atlas: Path
) -> None:
    page = (built_site.folder / "sql.html").read_text("utf-8")
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as connection:
        found = tables(connection)
    engine.dispose()
    parts = re.split(r'<details class="na-more na-of-sql" id="table-(\w+)">', page)[1:]
    shown = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(shown) == [table.table for table in found]
    for table in found:
        rows = "view" if table.n_rows is None else f"{table.n_rows:,} row"
        assert f"<small>{rows}" in shown[table.table]
        columns = re.findall(r"<tr><td><code>(\w+)</code></td><td>([^<]+)</td>", shown[table.table])
        assert columns == [(column.name, column.type) for column in table.columns]
    assert "in whose top 100 it is" in shown["units"]
    assert "<code>image_units</code> by unit" in shown["unit_images"]


@pytest.mark.skipif(
    not engine_folder().is_dir(), reason="`neuron-atlas site --sql-page` fetches it"
)
def test_a_question_is_answered_in_the_browser(
    synthetic_atlas: Path, tmp_path: Path, browser: Any, serve_folder: Any
) -> None:
    build_site(synthetic_atlas, tmp_path / "out", SiteOptions(sql_page=True))
    index = tmp_path / "out/sql-tables/index.json"
    content = json.loads(index.read_text("utf-8"))
    assert content["columns_left_out"] == []
    index.write_text(json.dumps(content | {"columns_left_out": ["units.large"]}), "utf-8")
    base = serve_folder(tmp_path / "out")
    amiss: list[str] = []
    page = browser.new_page()
    watch(page, base, amiss)
    page.goto(f"{base}/sql.html")
    said = page.locator("[data-ask] [data-said]")
    page.locator("#na-sql").fill(
        "SELECT layer, count(*) AS n FROM units JOIN layers USING (layer) GROUP BY layer ORDER BY 1"
    )
    page.locator("[data-run]").click()
    said.get_by_text("3 rows in").wait_for(timeout=120_000)
    cells = page.locator("[data-answer] td").all_inner_texts()
    assert cells == ["0", "32", "1", "32", "2", "32"]
    page.get_by_role("button", name="Most of one category").click()
    said.get_by_text("20 rows in").wait_for()
    page.locator("#na-sql").fill("SELECT layer, unit, top_tokens FROM units WHERE uid = 36")
    page.locator("#na-sql").press("Control+Enter")
    said.get_by_text("1 rows in").wait_for()
    with duckdb.connect(str(synthetic_atlas), read_only=True) as connection:
        (tokens,) = connection.execute("SELECT top_tokens FROM units WHERE uid = 36").fetchone()
    cells = page.locator("[data-answer] td")
    assert json.loads(cells.nth(2).inner_text()) == tokens
    assert cells.nth(1).locator("a").get_attribute("href") == f"{base}/u/1/4.html"
    assert not amiss
    page.locator("#na-sql").fill("SELEC nothing")
    page.locator("[data-run]").click()
    page.locator("[data-said].na-failed").wait_for()
    assert said.inner_text().count("LINE 1: SELEC nothing") == 1
    assert amiss.pop().startswith("log: Error: Parser Error")  # the engine's own
    assert not amiss
    page.locator("#na-sql").fill("SELECT count(*) FROM heatmaps")
    page.locator("[data-run]").click()
    said.get_by_text("The table heatmaps is not on this page").wait_for()
    page.locator("#na-sql").fill("SELECT large FROM units")
    page.locator("[data-run]").click()
    said.get_by_text("The column units.large is not on this page").wait_for()
    assert "thumbnails" in page.locator("[data-ask] details").inner_html()
    amiss.clear()
    # What would need another host is an error: the policy holds the engine, too.
    page.locator("#na-sql").fill("SELECT * FROM 'https://host.example/x.parquet'")
    page.locator("[data-run]").click()
    said.get_by_text("rror").wait_for()
    page.close()
    assert amiss
    assert all("Content Security Policy" in one or "host.example" in one for one in amiss)
    assert not any("ERR_NAME_NOT_RESOLVED" in one for one in amiss)
