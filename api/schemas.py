"""What the API answers with, as pydantic models: the OpenAPI document is made from them.

Those of records are made of `atlas_db.records`, whose fields carry their descriptions; they are
what `atlas_db.as_json` makes of a record. Answers are not validated on their way out (that costs
more than the query), so nothing here computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, create_model

from atlas_db import experiment_records, records

#: What a row of a list keeps whatever `fields=` says.
_IDENTITIES = {"uid", "concept", "image_id"}
_PRINTED = "as the paper prints it: L12.U9058"


def _about(text: str) -> Any:
    return Field(description=text)


class Record(BaseModel):
    """An object of which every field is always there and no other ever is."""

    model_config = ConfigDict(extra="forbid")


def _require_identity(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema["required"] = [name for name in model.model_fields if name in _IDENTITIES]


class Row(Record):
    """A record in a list: `fields=` may have left out all but its identity."""

    model_config = ConfigDict(json_schema_extra=_require_identity)


@cache
def of_record(kind: Any) -> type[Record]:
    """Describe what `atlas_db.as_json` makes of a record of that class."""
    name = kind.__name__.removesuffix("Record").removesuffix("Info")
    return create_model(name, __base__=Record, __doc__=kind.__doc__, **_fields(kind))


def _fields(kind: Any) -> dict[str, Any]:
    """Give the fields of a record's object; those of its summary stand beside its own."""
    fields: dict[str, Any] = {}
    if isinstance(getattr(kind, "name", None), property):
        fields["name"] = (str, _about(_PRINTED))
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, *described = _parts(hints[field.name])
        if field.name == "summary":
            fields |= _fields(hint)
        else:
            fields[field.name] = (_written(hint), Field(description=(described or [None])[0]))
    return fields


def _parts(hint: Any) -> tuple[Any, ...]:
    """Part a type from its description."""
    return get_args(hint) if get_origin(hint) is Annotated else (hint,)


def _written(hint: Any) -> Any:
    """Say of what type a field is in JSON."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        (inner,) = [one for one in get_args(hint) if one is not NoneType]
        return _written(inner) | None
    if origin is np.ndarray:
        return str
    if origin is tuple:
        return list[_written(get_args(hint)[0])]  # type: ignore[misc]
    if origin is Mapping:
        return dict[get_args(hint)]  # type: ignore[misc]
    is_record: bool = dataclasses.is_dataclass(hint)
    return of_record(hint) if is_record else hint


def _row(name: str, kind: Any) -> type[Record]:
    return create_model(name, __base__=Row, __doc__=kind.__doc__, **_fields(kind))


def _rows(name: str, row: type[Record], **more: Any) -> type[Record]:
    listed: Any = list[row]  # type: ignore[valid-type]
    return create_model(name, __base__=Record, rows=(listed, ...), **more)


def _page(name: str, row: type[Record]) -> type[Record]:
    cursor = _about("give it as `cursor` for the next rows; null at the end")
    return _rows(name, row, total=(int, ...), next_cursor=(str | None, cursor))


class ErrorDetail(Record):
    code: str = _about("for programs: one word, stable across versions")
    message: str = _about("for people: what was got and what was wanted")
    hint: str = _about("what to do")


class ErrorAnswer(Record):
    """The one shape of every answer with status 400 and above."""

    error: ErrorDetail


Atlas = of_record(records.AtlasInfo)
Layers = _rows("Layers", of_record(records.LayerRecord))
Unit = of_record(records.UnitRecord)
UnitRow = _row("UnitRow", records.UnitSummary)
UnitPage = _page("UnitPage", UnitRow)
SimilarUnits = _rows("SimilarUnits", of_record(records.SimilarUnit))
Experiments = _rows("Experiments", of_record(experiment_records.ExperimentRecord))
UnitExperiments = of_record(experiment_records.UnitExperiments)
ImageExperiments = of_record(experiment_records.ImageExperiments)
Concept = create_model(
    "Concept",
    __base__=of_record(records.ConceptRecord),
    __doc__=records.ConceptRecord.__doc__,
    next_cursor=(str | None, _about("of the next units; null at the end")),
)
ConceptRow = _row("ConceptRow", records.ConceptSummary)
ConceptPage = _page("ConceptPage", ConceptRow)
Image = of_record(records.ImageRecord)
ImageRow = _row("ImageRow", records.ImageSummary)
ImagePage = _page("ImagePage", ImageRow)


class Oembed(Record):
    """What oEmbed calls a rich answer: how a unit is shown in another page."""

    version: str
    type: str
    title: str
    provider_name: str
    provider_url: str
    width: int = _about("in pixels, of the frame")
    height: int
    html: str = _about("a frame, to be put into a page as it is")


class SqlColumn(Record):
    name: str = _about("as in each row: columns of one name are told apart as a, a_2")
    type: str = _about("DuckDB's")


class SqlResult(Record):
    columns: list[SqlColumn]
    rows: list[dict[str, Any]] = _about(
        "bytes as base64, dates and decimals as text, numbers that JSON cannot say as null"
    )
    n_rows: int
    truncated: bool = _about("there are more rows than these")


class TableColumn(Record):
    name: str
    type: str = _about("DuckDB's")
    about: str = _about("what it holds; empty where its name and the table say it")


class Table(Record):
    table: str
    about: str = _about("what one row is")
    n_rows: int | None = _about("null: a view")
    columns: list[TableColumn]


class SqlLimits(Record):
    """How much one statement may take."""

    statement_bytes: int
    deadline_s: float = _about("then it is stopped")
    memory_mb: int
    rows: int
    bytes: int = _about("of an answer")


class SqlSchema(Record):
    tables: list[Table]
    functions: list[str] = _about("all that a statement may call, beside operators and casts")
    limits: SqlLimits


class Health(Record):
    status: str
