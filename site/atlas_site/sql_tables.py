"""The tables that SQL can ask, each with its columns and what they hold."""

from __future__ import annotations

from collections.abc import Sequence

from atlas_db.records import TableRecord
from atlas_site.pieces import table
from atlas_site.text import counted, prose, with_code

_HEAD = "<thead><tr><th>column</th><th>type</th><th>what it holds</th></tr></thead>"


def table_list(tables: Sequence[TableRecord]) -> str:
    """Show every table and view: what one row is, how many there are; open, its columns."""
    return "".join(_one(record) for record in tables)


def _one(record: TableRecord) -> str:
    size = "view" if record.n_rows is None else counted(record.n_rows, "row")
    rows = (
        f"<tr><td><code>{prose(column.name)}</code></td><td>{prose(column.type)}</td>"
        f"<td class=na-wrap>{with_code(column.about)}</td></tr>"
        for column in record.columns
    )
    return (
        f'<details class="na-more na-of-sql" id="table-{record.table}"><summary>'
        f"<code>{prose(record.table)}</code> <span>{with_code(record.about)}</span> "
        f"<small>{size}</small></summary>"
        f"{table(_HEAD, rows, f'Columns of {record.table}')}</details>"
    )
