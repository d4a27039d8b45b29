"""What a reader can take away: the DuckDB file and its tables as Parquet, with sizes and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas_db.downloads import export_small_tables
from atlas_db.records import AtlasInfo
from atlas_site.options import SiteOptions
from atlas_site.pieces import code_block, table
from atlas_site.publish import Writer
from atlas_site.text import count, file_size, prose, web_address, with_code

_FOLDER = "data"

#: Tables that hold photographs.
_PICTURES = ("thumbnails",)


@dataclass(frozen=True, slots=True)
class Download:
    """A file of the atlas, in the site or too large for it."""

    name: str
    about: str
    n_rows: int | None
    size_bytes: int
    sha256: str  # "" for a table that was not written
    address: str | None  # None: not in the site


def write_downloads(
    writer: Writer, database: Path, options: SiteOptions, scratch: Path
) -> list[Download]:
    """Put the files that are small enough into the site and list all, the whole atlas first."""
    if options.downloads_mb == 0:
        return []
    max_bytes = options.downloads_mb * 1_000_000
    is_linked = options.images == "link"
    found = [_whole(writer, database, max_bytes, is_linked=is_linked)]
    folder = scratch / "tables"
    without = _PICTURES if is_linked else ()
    files, left = export_small_tables(database, folder, max_bytes=max_bytes, without=without)
    for file in files:
        address = f"{_FOLDER}/{file.name}"
        writer.write(address, (folder / file.name).read_bytes())
        record = file.table
        found.append(
            Download(file.name, record.about, record.n_rows, file.size_bytes, file.sha256, address)
        )
    for one in left:
        name = f"{one.table.table}.parquet"
        found.append(
            Download(name, one.table.about, one.table.n_rows, one.estimated_bytes, "", None)
        )
    return found


def _whole(writer: Writer, database: Path, max_bytes: int, *, is_linked: bool) -> Download:
    digest = hashlib.sha256()
    with database.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    size = database.stat().st_size
    address = None
    if size <= max_bytes and not is_linked:
        address = f"{_FOLDER}/atlas.duckdb"
        writer.write(address, database.read_bytes())
    about = "The whole atlas, one DuckDB file."
    if is_linked:
        about += " It holds photographs, so it is not offered here."
    return Download("atlas.duckdb", about, None, size, digest.hexdigest(), address)


def download_table(downloads: Sequence[Download], options: SiteOptions) -> str:
    """Show the files with their sizes and hashes."""
    if not downloads:
        return '<p class="na-none">This site was made without files to take away.</p>'
    head = (
        "<thead><tr><th>file</th><th class=na-figure>size</th><th>one row is</th>"
        "<th class=na-figure>rows</th><th>SHA-256</th></tr></thead>"
    )
    rows = "".join(_row(one) for one in downloads)
    larger = sum(1 for one in downloads if one.address is None)
    note = (
        f'<p class="na-hint">Of {count(larger)} the site holds none: larger than '
        f"{count(options.downloads_mb)} MB, or not to be passed on. Ask whoever made the atlas; "
        "<code>neuron-atlas export</code> makes the tables of its file.</p>"
        if larger
        else ""
    )
    return f'<div class="na-stacked">{table(head, [rows], "Files")}</div>{note}'


def _row(one: Download) -> str:
    name = prose(one.name)
    if one.address is not None:
        name = f'<a href="{one.address}" download>{name}</a>'
    rows = "" if one.n_rows is None else count(one.n_rows)
    size = file_size(one.size_bytes) if one.sha256 else f"about {file_size(one.size_bytes)}"
    digest = f"<code>{one.sha256}</code>" if one.sha256 else "–"
    return (
        f"<tr><td>{name}</td><td class=na-figure>{size}</td>"
        f"<td class=na-wrap>{with_code(one.about)}</td>"
        f'<td class=na-figure data-label="rows">{rows or "–"}</td>'
        f"<td class=na-digest>{digest}</td></tr>"
    )


def licence_table(info: AtlasInfo, licences: Sequence[tuple[str, str, int]]) -> str:
    """Show the licences of the parts of the captioner and of the photographs."""
    rows = []
    for key, title in (
        ("language_model", "Language model"), ("encoder", "Encoder"), ("adapter", "Adapter"),
    ):  # fmt: skip
        part = info.captioner.get(key)
        part = part if isinstance(part, dict) else {}
        licence = prose(str(part.get("licence") or "not stated"))
        rows.append(
            f"<tr><td>{title}</td><td>{licence}</td><td class=na-wrap>"
            f"{prose(str(part.get('origin') or part.get('source') or '–'))}</td></tr>"
        )
    for name, url, n_images in licences:
        address = web_address(url)
        shown = prose(name) or "not stated"
        shown = f'<a href="{address}" rel="license noopener">{shown}</a>' if address else shown
        rows.append(f"<tr><td>{count(n_images)} photographs</td><td>{shown}</td><td></td></tr>")
    head = "<thead><tr><th>part</th><th>licence</th><th>from</th></tr></thead>"
    return table(head, rows, "Licences")


def check_command(downloads: Sequence[Download]) -> str:
    """Show how a file is held against its hash."""
    lines = [f"{one.sha256}  {one.name}" for one in downloads if one.address is not None][:1]
    if not lines:
        return ""
    return code_block(f'echo "{lines[0]}" | sha256sum --check', "Check")
