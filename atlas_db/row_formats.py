"""Rows of a query as text that programs read: CSV, JSON and NDJSON."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def distinct(names: Sequence[str]) -> list[str]:
    """Tell columns of one name apart, as an object must: a, a_2."""
    keys: list[str] = []
    seen: set[str] = set()
    for name in names:
        key, n = name, 1
        while key in seen:
            n += 1
            key = f"{name}_{n}"
        keys.append(key)
        seen.add(key)
    return keys


def plain(value: Any) -> Any:
    """Turn a value of DuckDB into one of JSON: bytes become base64, dates and decimals text.

    A number that JSON cannot say (infinite, not a number) becomes None.
    """
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def json_object(keys: Sequence[str], row: Sequence[Any]) -> str:
    """Print a row as a JSON object on one line."""
    values = {key: plain(value) for key, value in zip(keys, row, strict=True)}
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def csv_line(row: Sequence[Any]) -> str:
    """Print a row of CSV (RFC 4180), its line's end included.

    Lists and objects are JSON, bytes base64, NULL is empty.
    """
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow([_csv_cell(value) for value in row])
    return file.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (list, dict, tuple)):
        return json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
