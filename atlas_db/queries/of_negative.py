"""The images in which units are most negative: of gated MLPs, and of atlases that have them."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from atlas_db.queries.statements import RangeReader, ranged
from atlas_db.records import ExemplarRecord
from atlas_db.schema import Image, NegativeExemplar

_ROW = NegativeExemplar
_NEGATIVE = ranged(
    select(
        _ROW.uid, _ROW.rank, _ROW.image_id, _ROW.activation, _ROW.patch, Image.caption,
        _ROW.heatmap, _ROW.heatmap_scale, _ROW.heatmap_zero,
    )
    .join(Image, Image.image_id == _ROW.image_id)
    .order_by(_ROW.uid, _ROW.rank),
    _ROW.uid,
)  # fmt: skip
_TABLES = func.duckdb_tables().table_valued("table_name")
_TABLE = select(_TABLES.c.table_name).where(_TABLES.c.table_name == _ROW.__tablename__)
#: Where a connection keeps whether its atlas has any.
_HAS_NEGATIVE = "has negative exemplars"


def negative_exemplars(
    reader: RangeReader, first: int, stop: int
) -> dict[int, tuple[ExemplarRecord, ...]]:
    """Give the negative exemplars of units first to stop - 1, by uid, the most negative first.

    An atlas of plain MLPs has none, nor has one that was made before they were kept.
    """
    if not has_negative(reader.connection):
        return {}
    rows = reader.rows(_NEGATIVE, first, stop)
    return {uid: tuple(map(_record, group)) for uid, group in groupby(rows, key=itemgetter(0))}


def _record(row: Any) -> ExemplarRecord:
    _, rank, image_id, activation, patch, caption, packed, scale, zero = row
    heatmap = np.frombuffer(packed, np.uint8)
    return ExemplarRecord(rank, image_id, activation, patch, caption, heatmap, scale, zero)


def has_negative(connection: Connection) -> bool:
    """Say whether the atlas keeps any; looked up once a connection."""
    if _HAS_NEGATIVE not in connection.info:
        connection.info[_HAS_NEGATIVE] = (
            connection.execute(_TABLE).first() is not None
            and connection.execute(select(_ROW.uid).limit(1)).first() is not None
        )
    return bool(connection.info[_HAS_NEGATIVE])
