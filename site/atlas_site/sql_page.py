"""SQL in the browser: the engine and the tables as files of the site, and the page's frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas_db.browser_tables import write_browser_tables
from atlas_db.queries import UNIT_LISTS
from atlas_site.options import SiteOptions
from atlas_site.publish import Writer
from atlas_site.sql_engine import ensure_engine
from atlas_site.text import count, file_size, prose

_FOLDER = "sql-tables"
_ENGINE = "assets/duckdb"
#: Tables that a page of text has no use for.
_LEFT_OUT = ("thumbnails", "heatmaps")
_FIRST = "SELECT layer, unit, n_images, top_tokens\nFROM units\nORDER BY n_images DESC\nLIMIT 20;"


def write_sql_page(
    writer: Writer, database: Path, options: SiteOptions, scratch: Path, content_hash: str
) -> str:
    """Put engine and tables into the site; returns what the page shows.

    Raises:
        SiteError: The engine cannot be had.
    """
    if not options.sql_page:
        return (
            '<div class="admonition note"><p class="admonition-title">Not in this site</p>'
            "<p>This site was made without SQL in the browser, which costs a reader about 35 MB. "
            "<code>neuron-atlas site --sql-page</code> puts it in; the ways above need no page."
            "</p></div>"
        )
    for path in sorted(ensure_engine().iterdir()):
        writer.write(f"{_ENGINE}/{path.name}", path.read_bytes())
    index = _kept(writer, content_hash) or _write_tables(
        writer, database, options, scratch, content_hash
    )
    sizes = ", ".join(
        f"<code>{prose(name)}</code> <small>{file_size(size)}</small>"
        for name, size in index["tables"].items()
    )
    lists = [_FIRST, *(one.sql for one in UNIT_LISTS.values() if one.needs is None)]
    titles = ["Units by images", *(one.title for one in UNIT_LISTS.values() if one.needs is None)]
    examples = "".join(
        f'<button type="button" class="na-button" data-sql="{prose_sql(sql)}">{title}</button> '
        for title, sql in zip(titles, lists, strict=True)
    )
    return (
        f'<div class="na-ask" data-ask data-engine="{_ENGINE}" data-tables="{_FOLDER}">'
        f'<p class="na-examples-row">{examples}</p>'
        '<label for="na-sql">One statement of DuckDB\'s SQL</label>'
        f'<textarea id="na-sql" rows="8" spellcheck="false">{prose_sql(_FIRST)}</textarea>'
        '<p><button type="button" class="na-button" data-run>Run (Ctrl+Enter)</button> '
        '<span data-said role="status">The engine, 35 MB, is loaded with the first question; then '
        "each table that a question names.</span></p><div data-answer></div>"
        '<p class="na-hint">DuckDB-Wasm is under MIT, Apache Arrow under Apache-2.0.</p>'
        "<details class=na-more><summary>What each table costs to load</summary>"
        f"<p>{sizes}.</p>{_said_left_out(index, options.downloads_mb)}</details></div>"
    )


def _said_left_out(index: Mapping[str, Any], max_mb: int) -> str:
    names = [*index["left_out"], *index["columns_left_out"]]
    if not names:
        return ""
    shown = ", ".join(f"<code>{prose(name)}</code>" for name in names)
    return (
        f"<p>Not here, as they hold pictures or would make more than {count(max_mb)} MB: {shown}. "
        "<code>neuron-atlas sql</code> asks the whole atlas.</p>"
    )


def prose_sql(sql: str) -> str:
    """Escape a statement for an attribute or a text area, line breaks kept."""
    return "\n".join(prose(line) for line in sql.split("\n"))


def _kept(writer: Writer, content_hash: str) -> Mapping[str, Any] | None:
    """Take over an earlier build's tables of the same atlas: DuckDB never writes twice alike."""
    try:
        index = json.loads((writer.out / _FOLDER / "index.json").read_text(encoding="utf-8"))
        if index["content_hash"] != content_hash:
            return None
        if not {"left_out", "columns_left_out"} <= index.keys():
            return None
        files = {f"{name}.duckdb": size for name, size in index["tables"].items()}
        if any(
            (writer.out / _FOLDER / name).stat().st_size != size for name, size in files.items()
        ):
            return None
    except (OSError, ValueError, KeyError):
        return None
    for name in files:
        writer.write(f"{_FOLDER}/{name}", (writer.out / _FOLDER / name).read_bytes())
    writer.write(f"{_FOLDER}/index.json", _json(index))
    return dict(index)


def _write_tables(
    writer: Writer, database: Path, options: SiteOptions, scratch: Path, content_hash: str
) -> Mapping[str, Any]:
    max_bytes = options.downloads_mb * 1_000_000
    made, left_out = write_browser_tables(
        database, scratch / "browser", max_bytes=max_bytes, without=_LEFT_OUT
    )
    index: dict[str, Any] = {
        "content_hash": content_hash,
        "tables": {},
        "left_out": left_out,
        "columns_left_out": [f"{one.name}.{column}" for one in made for column in one.without],
    }
    for one in made:
        content = one.path.read_bytes()
        index["tables"][one.name] = len(content)
        writer.write(f"{_FOLDER}/{one.path.name}", content)
        one.path.unlink()
    writer.write(f"{_FOLDER}/index.json", _json(index))
    return index


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
