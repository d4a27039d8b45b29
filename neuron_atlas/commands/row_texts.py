"""Rows of a query as text: a table for people, CSV and JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atlas_db.row_formats import csv_line, distinct, json_object
from neuron_atlas.commands.terminal import table

Rows = Sequence[Sequence[Any]]


def _table(names: Sequence[str], rows: Rows) -> str:
    numeric = [
        i
        for i in range(len(names))
        if rows and all(isinstance(row[i], (int, float, type(None))) for row in rows)
    ]
    cells = [[_cell(value) for value in row] for row in rows]
    count = f"({len(rows)} row{'' if len(rows) == 1 else 's'})"
    return f"{table(names, cells, right=numeric)}\n{count}\n"


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _csv(names: Sequence[str], rows: Rows) -> str:
    return csv_line(names) + "".join(csv_line(row) for row in rows)


def _json(names: Sequence[str], rows: Rows) -> str:
    keys = distinct(names)
    return f"[{','.join(json_object(keys, row) for row in rows)}]\n"


ROW_FORMATS: Mapping[str, Callable[[Sequence[str], Rows], str]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
}
