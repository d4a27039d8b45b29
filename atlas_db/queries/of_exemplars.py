"""One exemplar or negative exemplar of a unit, without all else that the unit's page shows."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Connection, func, literal, select

from atlas_db.errors import NotInAtlasError
from atlas_db.queries.of_negative import negative_exemplars
from atlas_db.queries.statements import RangeReader
from atlas_db.records import ExemplarRecord, unit_name
from atlas_db.schema import Exemplar, Heatmaps, Image, Layer


def exemplar(connection: Connection, layer: int, unit: int, rank: int) -> ExemplarRecord:
    """Give the image in which a unit is rank-most active, and its map there.

    Args:
        rank: Counts from 1.

    Raises:
        NotInAtlasError: There is no such unit, or it has no exemplar of that rank.
    """
    uid = literal(uid_of(connection, layer, unit), literal_execute=True)
    found = connection.execute(
        select(Exemplar.rank, Exemplar.image_id, Exemplar.activation, Exemplar.patch, Image.caption)
        .join(Image, Image.image_id == Exemplar.image_id)
        .where(Exemplar.uid == uid)
        .order_by(Exemplar.rank)
    ).all()
    if not 1 <= rank <= len(found):
        raise NotInAtlasError(
            f"{unit_name(layer, unit)} has no exemplar {rank}: it has {len(found)}."
        )
    scales, zeros, packed = connection.execute(
        select(Heatmaps.scales, Heatmaps.zeros, Heatmaps.maps).where(Heatmaps.uid == uid)
    ).one()
    maps = np.frombuffer(packed, np.uint8).reshape(len(scales), -1)
    row = found[rank - 1]
    return ExemplarRecord(*row, maps[rank - 1], scales[rank - 1], zeros[rank - 1])


def negative_exemplar(connection: Connection, layer: int, unit: int, rank: int) -> ExemplarRecord:
    """Give the image in which a unit is rank-most negative, and its map there.

    Args:
        rank: Counts from 1.

    Raises:
        NotInAtlasError: There is no such unit, or it has no negative exemplar of that rank.
    """
    uid = uid_of(connection, layer, unit)
    found = negative_exemplars(RangeReader(connection), uid, uid + 1).get(uid, ())
    for one in found:
        if one.rank == rank:
            return one
    raise NotInAtlasError(
        f"{unit_name(layer, unit)} has no negative exemplar {rank}: it has {len(found)}."
    )


def uid_of(connection: Connection, layer: int, unit: int) -> int:
    """Give a unit's uid.

    Raises:
        NotInAtlasError: There is no such unit; says which there are.
    """
    shape = select(func.count(Layer.layer), func.max(Layer.n_units))
    n_layers, n_units = connection.execute(shape).one()
    if not (0 <= layer < n_layers and 0 <= unit < n_units):
        raise NotInAtlasError(
            f"{unit_name(layer, unit)} is not in this atlas: its layers are 0 to {n_layers - 1}, "
            f"the units of each 0 to {n_units - 1}."
        )
    return int(layer * n_units + unit)
