"""`atlas_db.client.Atlas` over a file: the same queries as the site's and the API's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from atlas_db import queries
from atlas_db.client_rows import SqlRows
from atlas_db.connection import open_atlas
from atlas_db.experiment_records import ExperimentRecord, ImageExperiments, UnitExperiments
from atlas_db.records import (
    AtlasInfo,
    ConceptRecord,
    ImageRecord,
    LayerRecord,
    Page,
    TableRecord,
    UnitRecord,
)
from atlas_db.sql_schema import tables

_LISTS: dict[str, Any] = {
    "units": queries.units,
    "concepts": queries.concepts,
    "images": queries.images,
}


_BATCH_ROWS = 10_000


class FileSource:
    """An atlas's file, open read-only."""

    def __init__(self, path: Path) -> None:
        self._engine = open_atlas(path)

    def close(self) -> None:
        self._engine.dispose()

    def _ask(self, query: Any, *arguments: Any, **options: Any) -> Any:
        with self._engine.connect() as connection:
            return query(connection, *arguments, **options)

    def info(self) -> AtlasInfo:
        info: AtlasInfo = self._ask(queries.atlas_info)
        return info

    def layers(self) -> Sequence[LayerRecord]:
        layers: Sequence[LayerRecord] = self._ask(queries.layers)
        return layers

    def unit(self, layer: int, unit: int) -> UnitRecord:
        record: UnitRecord = self._ask(queries.unit, layer, unit)
        return record

    def concept(self, word: str, match: str, sort: str, limit: int) -> ConceptRecord:
        record: ConceptRecord = self._ask(
            queries.concept, word, match=match, sort=sort, limit=limit
        )
        return record

    def image(self, image_id: int) -> ImageRecord:
        record: ImageRecord = self._ask(queries.image, image_id)
        return record

    def experiments(self) -> Sequence[ExperimentRecord]:
        found: Sequence[ExperimentRecord] = self._ask(queries.experiments)
        return found

    def unit_experiments(self, layer: int, unit: int) -> UnitExperiments:
        record: UnitExperiments = self._ask(queries.unit_experiments, layer, unit)
        return record

    def image_experiments(self, image_id: int) -> ImageExperiments:
        record: ImageExperiments = self._ask(queries.image_experiments, image_id)
        return record

    def tables(self) -> Sequence[TableRecord]:
        found: Sequence[TableRecord] = self._ask(tables)
        return found

    def thumbnail(self, image_id: int) -> bytes | None:
        picture: bytes | None = self._ask(queries.thumbnail, image_id)
        if picture is None:
            self.image(image_id)  # or it is not in the atlas at all
        return picture

    def rows(self, kind: str, filters: dict[str, Any], limit: int, start: Any) -> Page[Any]:
        page: Page[Any] = self._ask(_LISTS[kind], **filters, limit=limit, offset=start or 0)
        return page

    def sql(self, statement: str, parameters: dict[str, Any], limit: int) -> SqlRows:
        with self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            try:
                reader = raw.execute(statement, parameters or None).to_arrow_reader(_BATCH_ROWS)
                table = _first_rows(reader, limit + 1)  # one more, to see whether there are more
            except duckdb.Error as error:
                raise ValueError(f"the statement cannot be run: {error}") from None
        return SqlRows(table.slice(0, limit), table.num_rows > limit)


def _first_rows(reader: pa.RecordBatchReader, n_rows: int) -> pa.Table:
    batches, n_read = [], 0
    for batch in reader:
        batches.append(batch)
        n_read += batch.num_rows
        if n_read >= n_rows:
            break
    return pa.Table.from_batches(batches, reader.schema).slice(0, n_rows)
