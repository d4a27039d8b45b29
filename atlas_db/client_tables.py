"""Records as Arrow tables: a column for each field, as in the API's JSON, and for no row too."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from atlas_db.as_json import as_json

_PLAIN: Mapping[Any, Any] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    np.ndarray: pa.string(),  # its base64
}


def to_table(kind: Any, rows: Sequence[Any]) -> pa.Table:
    """Make a table of records of one class; one without rows has the same columns.

    The fields of a record within a record are columns of their own: `unit.name`. A mapping, or a
    list of records, is JSON in its cell.
    """
    schema = pa.schema(list(_columns(kind)))
    return pa.Table.from_pylist([dict(_cells(kind, as_json(row))) for row in rows], schema)


def _columns(kind: Any) -> Iterator[pa.Field]:
    for name, hint in _fields(kind):
        if dataclasses.is_dataclass(hint):
            for field in _columns(hint):
                yield field.with_name(f"{name}.{field.name}")
        else:
            yield pa.field(name, _type(hint))


def _cells(kind: Any, row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, hint in _fields(kind):
        if dataclasses.is_dataclass(hint):
            for inner, value in _cells(hint, row[name]):
                yield f"{name}.{inner}", value
        else:
            yield name, row[name] if _is_told(hint) else json.dumps(row[name])


def _fields(kind: Any) -> Iterator[tuple[str, Any]]:
    """Give the names and types of a record's fields in JSON."""
    hints = get_type_hints(kind)
    if isinstance(getattr(kind, "name", None), property):
        yield "name", str
    for field in dataclasses.fields(kind):
        yield field.name, _without_none(hints[field.name])


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = [one for one in get_args(hint) if one is not type(None)]
    return hint


def _is_told(hint: Any) -> bool:
    """Say whether a type of Arrow says what a field holds."""
    inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
    return (get_origin(inner) or inner) in _PLAIN


def _type(hint: Any) -> pa.DataType:
    if not _is_told(hint):
        return pa.string()
    if get_origin(hint) is tuple:
        return pa.list_(_type(get_args(hint)[0]))
    return _PLAIN[get_origin(hint) or hint]
