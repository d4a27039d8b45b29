"""An atlas in Python: from its file, or over HTTP from whoever serves it; the same calls.

    atlas = Atlas("atlas.duckdb")            # or Atlas("https://atlas.example.org")
    atlas.concept("water").units[0].unit.name
    atlas.concept("water").units.to_pandas()
    atlas.unit("L12.U9058").promoted
    atlas.image(139).units
    atlas.units(layer=12, interpretable=True).to_pandas()
    atlas.tables()                           # what can be asked in SQL, column by column
    atlas.sql("SELECT * FROM units WHERE layer = $layer", layer=12).to_arrow()

Importing this loads neither DuckDB nor SQLAlchemy; a file's first call does, HTTP never.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from atlas_db.client_rows import ROW_KINDS, Records, SqlRows, with_tables
from atlas_db.experiment_records import ExperimentRecord, ImageExperiments, UnitExperiments
from atlas_db.records import (
    AtlasInfo,
    ConceptRecord,
    ConceptSummary,
    ImageRecord,
    ImageSummary,
    LayerRecord,
    Page,
    TableRecord,
    UnitRecord,
    UnitSummary,
)

#: Rows that a list asks for at once.
_PAGE_ROWS = 500
_NAME = re.compile(r"L?([0-9]{1,9})[./]U?([0-9]{1,9})", re.IGNORECASE)


class _Source(Protocol):
    """Where an atlas is read from."""

    def info(self) -> AtlasInfo: ...
    def layers(self) -> Sequence[LayerRecord]: ...
    def unit(self, layer: int, unit: int) -> UnitRecord: ...
    def concept(self, word: str, match: str, sort: str, limit: int) -> ConceptRecord: ...
    def image(self, image_id: int) -> ImageRecord: ...
    def rows(self, kind: str, filters: dict[str, Any], limit: int, start: Any) -> Page[Any]: ...
    def thumbnail(self, image_id: int) -> bytes | None: ...
    def sql(self, statement: str, parameters: dict[str, Any], limit: int) -> SqlRows: ...
    def tables(self) -> Sequence[TableRecord]: ...
    def experiments(self) -> Sequence[ExperimentRecord]: ...
    def unit_experiments(self, layer: int, unit: int) -> UnitExperiments: ...
    def image_experiments(self, image_id: int) -> ImageExperiments: ...
    def close(self) -> None: ...


class Atlas:
    """An atlas to ask.

    Args:
        source: The path of a DuckDB file, or the address of a server such as
            "https://atlas.example.org" (with or without "/api/v1").

    Raises:
        ValueError: It is an address, and not of HTTP.
        AtlasFileError: The file is missing, no atlas or of another version.
        AtlasError: The server cannot be reached.
    """

    def __init__(self, source: str | Path) -> None:
        self._source: _Source
        scheme = re.match(r"([a-z][a-z0-9+.-]+)://", str(source), re.IGNORECASE)
        if scheme is not None and scheme[1].lower() not in ("http", "https"):
            raise ValueError(f"an address begins with http:// or https://, got {source!r}")
        if scheme is not None and isinstance(source, str):
            from atlas_db.client_http import HttpSource

            self._source = HttpSource(source)
        else:
            from atlas_db.client_file import FileSource

            self._source = FileSource(Path(source))

    def __enter__(self) -> Atlas:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    @property
    def info(self) -> AtlasInfo:
        """Where the atlas comes from, and its counts."""
        return self._source.info()

    def layers(self) -> Records[LayerRecord]:
        """List all layers, and how much of each speaks of pictures."""
        return Records(LayerRecord, self._source.layers())

    def unit(self, name: str | int, unit: int | None = None) -> UnitRecord:
        """Tell all about a unit: `unit("L12.U9058")` or `unit(12, 9058)`.

        Raises:
            ValueError: The name is not of that form, or a number below 0.
            NotInAtlasError: There is no such unit.
        """
        record: UnitRecord = with_tables(self._source.unit(*_place(name, unit)))
        return record

    def unit_experiments(self, name: str | int, unit: int | None = None) -> UnitExperiments:
        """Tell what the experiments say of a unit; its `figures` are None if none looked at it.

        Raises:
            ValueError: The name is not of that form, or a number below 0.
            NotInAtlasError: There is no such unit.
        """
        record: UnitExperiments = with_tables(self._source.unit_experiments(*_place(name, unit)))
        return record

    def concept(
        self, word: str, *, match: str = "exact", sort: str = "shown", limit: int = 100
    ) -> ConceptRecord:
        """Tell which units promote a word, as `atlas_db.queries.concept` does.

        `match` is exact, family or related; `sort` is shown or prob.

        Raises:
            NotInAtlasError: No unit promotes it; says what is near.
        """
        if limit < 1:
            raise ValueError(f"limit must be >= 1, got {limit}")
        record: ConceptRecord = with_tables(self._source.concept(word, match, sort, int(limit)))
        return record

    def experiments(self) -> Records[ExperimentRecord]:
        """List the experiments that were run on this atlas, with their figures."""
        found = [with_tables(one) for one in self._source.experiments()]
        return Records(ExperimentRecord, found)

    def image(self, image_id: int) -> ImageRecord:
        """Tell all about an image.

        Raises:
            NotInAtlasError: It is not in the atlas.
        """
        if image_id < 0:
            raise ValueError(f"the number of an image is 0 or more, got {image_id}")
        record: ImageRecord = with_tables(self._source.image(int(image_id)))
        return record

    def image_experiments(self, image_id: int) -> ImageExperiments:
        """Tell what the experiments say of an image; empty where none looked at it.

        Raises:
            NotInAtlasError: It is not in the atlas.
        """
        found = self._source.image_experiments(int(image_id))
        record: ImageExperiments = with_tables(found)
        return record

    def thumbnail(self, image_id: int) -> bytes | None:
        """Give what the model saw of an image as WebP; None if the atlas keeps no photographs."""
        return self._source.thumbnail(int(image_id))

    def units(
        self,
        *,
        layer: int | None = None,
        min_images: int = 0,
        interpretable: bool | None = None,
        always_on: bool | None = None,
        concept: str | None = None,
        min_iou: float | None = None,
        min_effect: float | None = None,
        sort: str = "images",
        limit: int | None = 100,
    ) -> Records[UnitSummary]:
        """List units, filtered by whatever is given; `limit=None` gives all.

        Args:
            min_iou: Of its masks with the objects of its images, where an experiment measured it.
            min_effect: Share of their probability that targets lose without it, likewise.
            sort: images, attribution, activation, iou or effect (falling) or uid (rising).

        Raises:
            NotMeasuredError: This atlas has no such experiment.
        """
        filters = {
            "layer": layer,
            "min_images": min_images,
            "interpretable": interpretable,
            "always_on": always_on,
            "concept": concept,
            "min_iou": min_iou,
            "min_effect": min_effect,
            "sort": sort,
        }
        return self._all("units", filters, limit)

    def concepts(
        self, *, prefix: str = "", fuzzy: bool = False, limit: int | None = 100
    ) -> Records[ConceptSummary]:
        """List concepts by their beginning, or spelt nearly so; `limit=None` gives all."""
        return self._all("concepts", {"prefix": prefix, "fuzzy": fuzzy}, limit)

    def images(
        self, *, category: str | None = None, limit: int | None = 100
    ) -> Records[ImageSummary]:
        """List images, all or of one category; `limit=None` gives all."""
        return self._all("images", {"category": category}, limit)

    def sql(self, statement: str, *, limit: int = 10_000, **parameters: Any) -> SqlRows:
        """Ask one statement of DuckDB's SQL; `$name` in it is the argument `name`.

        A server takes one SELECT within its limits. A file is read with your own rights.

        Raises:
            ValueError: The statement is wrong or refused; says why.
        """
        if not statement.strip(" \t\r\n;"):
            raise ValueError("the statement is empty: try 'SELECT * FROM units LIMIT 10'")
        if limit < 1:
            raise ValueError(f"limit must be >= 1, got {limit}")
        return self._source.sql(statement, _plain(parameters), int(limit))

    def tables(self) -> Records[TableRecord]:
        """List what SQL can ask: each table or view, what a row of it is, and its columns.

        Raises:
            NotInAtlasError: A server answers no SQL.
        """
        return Records(TableRecord, [with_tables(table) for table in self._source.tables()])

    def _all(self, kind: str, filters: dict[str, Any], limit: int | None) -> Records[Any]:
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be >= 1 or None, got {limit}")
        rows: list[Any] = []
        given = _plain({name: value for name, value in filters.items() if value is not None})
        start: Any = None
        while limit is None or len(rows) < limit:
            wanted = _PAGE_ROWS if limit is None else min(_PAGE_ROWS, limit - len(rows))
            page = self._source.rows(kind, given, wanted, start)
            rows += page.rows
            start = page.next_offset
            if start is None:
                break
        return Records(ROW_KINDS[kind], rows)


def _place(name: str | int, unit: int | None) -> tuple[int, int]:
    """Read which unit is meant.

    Raises:
        ValueError: The name is none, or a number below 0.
    """
    if unit is not None:
        layer, unit = int(name), int(unit)
    else:
        found = _NAME.fullmatch(str(name))
        if found is None:
            raise ValueError(
                f"a unit is written like 'L12.U9058' or given as (12, 9058), got {name!r}"
            )
        layer, unit = int(found[1]), int(found[2])
    if layer < 0 or unit < 0:
        raise ValueError(f"layers and units count from 0, got ({layer}, {unit})")
    return layer, unit


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Make Python's own of numbers that come out of a NumPy array or a data frame."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }
