"""What the API takes, as pydantic models: each address's query and its places in the path.

Numbers and flags are read strictly (`limit=1e1`, `limit= 5` and `fuzzy=yes` are refused), and a
name that an address does not know is refused rather than passed over, so that a misspelt filter
never looks like an answer.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
)

from api import schemas
from api.cursors import CURSOR_PATTERN
from atlas_db.run_format import N_EXEMPLARS, N_NEIGHBOURS
from atlas_db.sql_rules import MAX_STATEMENT_BYTES

MAX_LIMIT = 500
MAX_SQL_ROWS = 10_000
MAX_WORD = 500
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

HeatmapStyle = Literal["heat", "overlay", "mask"]
UnitSort = Literal["images", "attribution", "activation", "uid", "iou", "effect"]
ListFormat = Literal["json", "csv", "ndjson"]
SqlFormat = Literal["json", "csv", "ndjson", "parquet", "arrow"]
ParameterName = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
SqlValue = StrictStr | StrictInt | StrictFloat | StrictBool | None
SqlValues = Annotated[
    dict[ParameterName, SqlValue],
    Field(max_length=50, json_schema_extra={"additionalProperties": False}),
]
ConceptMatch = Literal["exact", "family", "related"]
ConceptSort = Literal["shown", "prob"]


def _whole_number(text: Any) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", str(text)):
        raise ValueError("wanted a whole number")
    return int(text)


def _number(text: Any) -> float:
    if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?", str(text)):
        raise ValueError("wanted a number such as 0.05")
    return float(text)


def _json_whole_number(value: Any) -> int:
    # To JSON, 5.0 is a whole number too.
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        raise ValueError("wanted a whole number")
    return int(value)


def _flag(text: Any) -> bool:
    if text not in ("true", "false"):
        raise ValueError("wanted true or false")
    return bool(text == "true")


def _json_object(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise ValueError('wanted a JSON object such as {"layer": 12}') from error


Whole = Annotated[int, BeforeValidator(_whole_number)]
JsonWhole = Annotated[int, BeforeValidator(_json_whole_number)]
Index = Annotated[int, Field(ge=0, le=INT32_MAX), BeforeValidator(_whole_number)]
Pixels = Annotated[int, Field(ge=1, le=INT32_MAX), BeforeValidator(_whole_number)]
Share = Annotated[float, Field(ge=-1, le=1), BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]


def _optional(text: str, *, pattern: str | None = None, **limits: Any) -> Any:
    """A parameter that may be left out, and is None then.

    Args:
        text: Its description.
        pattern: Shown in its schema; what does not fit is refused elsewhere, in better words.
        limits: Of pydantic's `Field`.
    """

    def describe(schema: dict[str, Any]) -> None:
        del schema["default"]
        for choice in schema.pop("anyOf"):
            if choice != {"type": "null"}:  # an address has no way to write it
                schema.update(choice)
        if pattern is not None:
            schema["pattern"] = pattern

    return Field(default=None, description=text, json_schema_extra=describe, **limits)


def _fields(row: type[BaseModel]) -> Any:
    name = f"({'|'.join(row.model_fields)})"
    return _optional(
        "names of the fields to keep of each row, separated by commas",
        pattern=f"^{name}(,{name})*$",
    )


def _limit(default: int = 50, most: int = MAX_LIMIT) -> Any:
    return Field(default=default, ge=1, le=most, description="rows at most")


def _cursor() -> Any:
    return _optional(
        "`next_cursor` of the answer before; only with the query that it was given for",
        pattern=CURSOR_PATTERN,
    )


class Parameters(BaseModel):
    """Names that are not listed are refused."""

    model_config = ConfigDict(extra="forbid")


class ListQuery(Parameters):
    """A query of rows of which some fields may be left out."""

    row: ClassVar[type[BaseModel]]

    format: ListFormat = Field(
        default="json",
        description="csv and ndjson: rows alone, with the headers Link (the next rows) and X-Total",
    )

    @field_validator("fields", check_fields=False)
    @classmethod
    def _know_all_fields(cls, text: str) -> str:
        unknown = set(text.split(",")) - set(cls.row.model_fields)
        if unknown:
            raise ValueError(
                f"there is no field {min(unknown)[:60]!r}; "
                f"there are {', '.join(cls.row.model_fields)}"
            )
        return text


class NoQuery(Parameters):
    pass


class UnitsQuery(ListQuery):
    row = schemas.UnitRow

    layer: Index | None = _optional("of this layer alone")
    min_images: Index = Field(default=0, description="in the top 100 of that many images at least")
    interpretable: Flag | None = _optional("true: interpretable; false: the others")
    always_on: Flag | None = _optional("false: leave out the always-on units")
    concept: str | None = _optional(
        "that promote this concept; case and space around it do not matter", max_length=MAX_WORD
    )
    min_iou: Share | None = _optional(
        "whose masks overlap the objects of their images so well at least; 422 in an atlas "
        "without that experiment"
    )
    min_effect: Share | None = _optional(
        "without which targets lose that share of their probability at least; 422 in an atlas "
        "without that experiment"
    )
    sort: UnitSort = Field(
        default="images",
        description="falling; uid: rising; iou and effect: 422 in an atlas without experiments",
    )
    limit: Whole = _limit()
    cursor: str | None = _cursor()
    fields: str | None = _fields(schemas.UnitRow)


class UnitQuery(Parameters):
    embed: Literal["1"] | None = _optional("1: as a page of HTML, for a frame in another page")


class OembedQuery(Parameters):
    url: str = Field(
        min_length=1, max_length=MAX_WORD, description="of a unit, here or in the site"
    )
    maxwidth: Pixels | None = _optional("pixels at most")
    maxheight: Pixels | None = _optional("pixels at most")
    format: Literal["json"] = Field(default="json", description="of this answer")
    dnt: str | None = _optional("taken and passed over: nobody is followed", max_length=10)


class SimilarQuery(Parameters):
    limit: Whole = _limit(N_NEIGHBOURS, N_NEIGHBOURS)


class HeatmapQuery(Parameters):
    style: HeatmapStyle = Field(
        default="heat",
        description="heat: the map alone; overlay: over the photograph; mask: the photograph, "
        "dark outside of the map's highest 5 %",
    )
    size: Whole = Field(default=448, ge=14, le=1024, description="pixels a side")


class ConceptsQuery(ListQuery):
    row = schemas.ConceptRow

    prefix: str = Field(default="", max_length=MAX_WORD, description="what the concepts begin with")
    fuzzy: Flag = Field(
        default=False, description="true: spelt nearly like `prefix`, nearest first"
    )
    limit: Whole = _limit()
    cursor: str | None = _cursor()
    fields: str | None = _fields(schemas.ConceptRow)


class ConceptQuery(Parameters):
    match: ConceptMatch = Field(
        default="exact",
        description="exact: the concept; family: all of its stem; related: near in the unembedding",
    )
    sort: ConceptSort = Field(
        default="shown",
        description="shown: units first whose exemplars show it, as people say; prob: by "
        "falling probability",
    )
    limit: Whole = _limit(100)
    cursor: str | None = _cursor()


class SqlBody(Parameters):
    q: str = Field(
        min_length=1,
        max_length=MAX_STATEMENT_BYTES,
        description="one SELECT of DuckDB's SQL, with named parameters written `$name`",
        examples=["SELECT * FROM units WHERE layer = $layer LIMIT 10"],
    )
    parameters: SqlValues = Field(default={}, description="values of the named parameters")
    format: SqlFormat = Field(
        default="json",
        description="json: an object with columns, rows and truncated; the others: rows alone, and "
        "the header X-Truncated",
    )
    limit: JsonWhole = _limit(1000, MAX_SQL_ROWS)


class SqlQuery(SqlBody):
    parameters: Annotated[SqlValues, BeforeValidator(_json_object)] = Field(
        default={},
        description='values of the named parameters, a JSON object such as `{"layer": 12}`',
    )
    limit: Whole = _limit(1000, MAX_SQL_ROWS)


class ImagesQuery(ListQuery):
    row = schemas.ImageRow

    category: str | None = _optional("that show an object of this category", max_length=MAX_WORD)
    limit: Whole = _limit()
    cursor: str | None = _cursor()
    fields: str | None = _fields(schemas.ImageRow)


class UnitPath(Parameters):
    layer: Index = Field(description="counts from 0")
    unit: Index = Field(description="within its layer, counts from 0")


class ExemplarPath(UnitPath):
    rank: Whole = Field(ge=1, le=N_EXEMPLARS, description="of the exemplar, counts from 1")


class ConceptPath(Parameters):
    concept: str = Field(
        min_length=1,
        max_length=MAX_WORD,
        description="any text; write a slash as %2F. Case and space around it do not matter",
    )


class ImagePath(Parameters):
    image_id: Whole = Field(ge=0, le=INT64_MAX, description="the data set's own")
