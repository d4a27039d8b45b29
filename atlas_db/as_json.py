"""Records as plain JSON: the one shape that the API answers with and that `--json` prints.

A record becomes an object with the record's own names. Three things differ, so that the text is
short and pleasant to read:

- a record that has a `summary` carries the summary's fields beside its own;
- what has a printed name (`L12.U9058`) carries it as `name`;
- a heatmap is the base64 text of its n_patch bytes; with its two neighbours
  `activation[p] = heatmap_zero + heatmap_scale * byte[p]`, patches row by row::

      levels = np.frombuffer(base64.b64decode(record["heatmap"]), np.uint8)
      activation = record["heatmap_zero"] + record["heatmap_scale"] * levels
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

#: What `json.dumps` takes as it is; a float may be infinite, so it is not among them.
_PLAIN = frozenset({int, str, bool, type(None)})
_PLAIN_HINTS = (int, str, bool, int | None, str | None)


def as_json(value: Any) -> Any:
    """Turn a record, or a tuple or mapping of them, into what `json.dumps` takes.

    A number that JSON cannot say (infinite, not a number) becomes None.
    """
    if value is None or isinstance(value, (str, int)):  # bool is an int
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return base64.b64encode(value.astype(np.uint8, copy=False).tobytes()).decode("ascii")
    if isinstance(value, np.generic):
        return as_json(value.item())
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_json(item) for item in value]
    return _object(value)


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Print a record as JSON text; a final newline is the caller's."""
    return dumps_plain(as_json(value), indent=indent)


def dumps_plain(value: Any, *, indent: int | None = None) -> str:
    """Print what `as_json` gave as JSON text."""
    separators = (",", ":") if indent is None else None
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )


def _object(record: Any) -> dict[str, Any]:
    fields, has_name = _shape(record.__class__)
    result: dict[str, Any] = {"name": record.name} if has_name else {}
    for field, convert in fields:
        value = getattr(record, field)
        if field == "summary":
            result.update(_object(value))
        else:
            result[field] = convert(value)
    return result


@lru_cache(maxsize=64)
def _shape(kind: type) -> tuple[tuple[tuple[str, Callable[[Any], Any]], ...], bool]:
    """Say which fields a record's class has, how each is converted, and if `name` is a property."""
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"as_json takes records, mappings, tuples and scalars, got {kind.__name__}")
    hints = get_type_hints(kind)
    fields = tuple(
        (field.name, _converter(hints[field.name])) for field in dataclasses.fields(kind)
    )
    has_name = "name" not in hints and isinstance(getattr(kind, "name", None), property)
    return fields, has_name


def _converter(hint: Any) -> Callable[[Any], Any]:
    """Choose the quickest conversion for a field's type: answers are made of thousands of them."""
    if hint in _PLAIN_HINTS:
        return _plain
    if hint in (float, float | None):
        return _number
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        if inner in _PLAIN_HINTS:
            return lambda items: [_plain(item) for item in items]
        if dataclasses.is_dataclass(inner):
            return lambda items: [_object(item) for item in items]
    return as_json


def _plain(value: Any) -> Any:
    return value if value.__class__ in _PLAIN else as_json(value)


def _number(value: Any) -> Any:
    return value if value.__class__ is float and math.isfinite(value) else as_json(value)
