"""Rows of a query as text: a table for people, CSV and JSON for programs."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (list, dict, tuple)):
        return json.dumps(_plain(value), ensure_ascii=False)
    return value


def _json(names: Sequence[str], rows: Rows) -> str:
    keys = _distinct(names)
    objects = [{key: _plain(value) for key, value in zip(keys, row, strict=True)} for row in rows]
    return json.dumps(objects, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _distinct(names: Sequence[str]) -> list[str]:
    """Tell columns of one name apart, as an object must: a, a_2."""
    keys: list[str] = []
    for name in names:
        key, n = name, 1
        while key in keys:
            n += 1
            key = f"{name}_{n}"
        keys.append(key)
    return keys


def _plain(value: Any) -> Any:
    """Turn a value of DuckDB into one of JSON: bytes become base64, dates and decimals text."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)


ROW_FORMATS: Mapping[str, Callable[[Sequence[str], Rows], str]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
}
