"""What is wrong with a query, a path or a body, in sentences: what was got and what was wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from pydantic import ValidationError

from api import parameters

_MAX_SHOWN = 60
_MAX_CLAUSES = 5
_SQL_VALUE = "must be a text, a number, true, false or null"
_BODY = 'The body must be a JSON object such as {"q": "SELECT 1"}'

#: Of pydantic's types of errors: what is said, given their context. What was got follows.
_SAID: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda _: "must be true or false",
    "dict_type": lambda _: 'must be a JSON object such as {"layer": 12}',
    "greater_than_equal": lambda context: f"must be {context['ge']} or more",
    "less_than_equal": lambda context: f"must be {context['le']} or less",
    "literal_error": lambda context: f"must be {context['expected'].replace(chr(39), '')}",
    "string_pattern_mismatch": lambda _: "must be of ASCII letters, digits and _, no digit first",
    "string_too_long": lambda context: f"must be of {context['max_length']} letters at most",
    "string_too_short": lambda context: f"must be of {context['min_length']} letter at least",
    "string_type": lambda _: "must be a text",
    "too_long": lambda context: f"must hold {context['max_length']} at most",
    "value_error": lambda context: str(context["error"]),
}


def clauses(error: ValidationError) -> list[str]:
    """Say of each parameter that is not as it must be what is wrong with it."""
    found = error.errors(include_url=False)
    said = [
        clause
        for place, errors in groupby(found, key=lambda one: _place(one["loc"]))
        for clause in _clauses(place, list(errors), error.title)
    ]
    n_more = len(said) - _MAX_CLAUSES
    return said if n_more <= 0 else [*said[:_MAX_CLAUSES], f"And {n_more} more"]


def _place(places: tuple[int | str, ...]) -> str:
    """Name what an error is about; `parameters.x.int` is one of several about `parameters.x`."""
    return ".".join(str(one) for one in places[:2])


def _clauses(place: str, errors: list[Any], model: str) -> Iterator[str]:
    first = errors[0]
    kind, got = first["type"], _shown(first["input"])
    if not place:
        yield f"{_BODY}, got {got}"
    elif kind == "extra_forbidden":
        known = ", ".join(getattr(parameters, model).model_fields)
        there = f"There are {known}" if known else "There is none at all"
        yield f"{place[:100]}: there is no such parameter here. {there}"
    elif kind == "missing":
        yield f"{place}: is missing"
    elif kind == "value_error" and not first["msg"].startswith("Value error, wanted"):
        yield f"{place}: {_SAID[kind](first['ctx'])}"  # says by itself what was got
    elif first["loc"][-1] == "[key]":
        yield f"{place}: the name {_SAID['string_pattern_mismatch']({})}, got {got}"
    elif len(first["loc"]) > 2:
        yield f"{place}: {_SQL_VALUE}, got {got}"
    elif kind in _SAID:
        for one in errors:
            yield f"{place}: {_SAID[one['type']](one.get('ctx', {}))}, got {got}"
    else:
        yield f"{place}: {first['msg']}, got {got}"


def _shown(value: Any) -> str:
    """Show what was got, and of long texts their beginning."""
    if isinstance(value, str):
        shown = value[:_MAX_SHOWN] + ("..." if len(value) > _MAX_SHOWN else "")
        length = f" (of {len(value)} letters)" if len(value) > _MAX_SHOWN else ""
        return f"{shown!r}{length}"
    text = json.dumps(value, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
