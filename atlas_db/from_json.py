"""Records from the JSON that `atlas_db.as_json` makes of them: the way back."""

from __future__ import annotations

import base64
import dataclasses
import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np


def from_json(kind: Any, value: Any) -> Any:
    """Make a record (or a tuple, mapping or scalar of records' fields) of its JSON.

    Fields that a record does not have are passed over, so that an older program reads a newer
    server.

    Args:
        kind: A record's class, or the type of one of its fields.
        value: Of `json.loads`.

    Raises:
        KeyError: A field without a default is missing.
    """
    origin = get_origin(kind)
    if value is None:
        return None
    if origin in (Union, types.UnionType):
        (inner,) = [one for one in get_args(kind) if one is not type(None)]
        return from_json(inner, value)
    if origin is np.ndarray:
        return np.frombuffer(base64.b64decode(value), np.uint8)
    if origin is tuple:
        return tuple(from_json(get_args(kind)[0], item) for item in value)
    if dataclasses.is_dataclass(kind):
        return _record(kind, value)
    return float(value) if kind is float else value


def _record(kind: Any, value: Mapping[str, Any]) -> Any:
    fields: dict[str, Any] = {}
    for name, hint, has_default in _fields(kind):
        if name == "summary":
            fields[name] = from_json(hint, value)  # its fields stand beside the record's own
        elif name in value or not has_default:
            fields[name] = from_json(hint, value[name])
    return kind(**fields)


@lru_cache(maxsize=64)
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(kind)
    missing = dataclasses.MISSING
    return tuple(
        (field.name, hints[field.name], field.default is not missing)
        for field in dataclasses.fields(kind)
    )
