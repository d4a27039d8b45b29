"""Units: lists of them, and all that one unit's page shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, and_, func, select

from atlas_db.concepts import fold
from atlas_db.errors import NotInAtlasError
from atlas_db.histogram import QUANTILES
from atlas_db.queries.paging import check_page, next_offset
from atlas_db.records import (
    ExemplarRecord,
    Page,
    SimilarUnit,
    TokenRecord,
    UnitImage,
    UnitRecord,
    UnitSummary,
    unit_name,
)
from atlas_db.schema import (
    ConceptUnit,
    Exemplar,
    Heatmaps,
    Image,
    Layer,
    Unit,
    UnitNeighbour,
    UnitToken,
)
from atlas_db.schema import UnitImage as UnitImageRow

#: Images that a unit's record lists.
N_UNIT_IMAGES = 20
#: A unit worth seeing is in the top 100 of this many images at least, if there are such units.
EXAMPLES_MIN_IMAGES = 3

_BLOCK = 1000

SUMMARY: tuple[Any, ...] = (
    Unit.uid, Unit.layer, Unit.unit, Unit.top_tokens, Unit.n_images, Unit.image_frequency,
    Unit.is_always_on, Unit.is_interpretable, Unit.n_dictionary_words, Unit.best_attribution,
    Unit.mean_attribution, Unit.activation_max,
)  # fmt: skip
N_SUMMARY = len(SUMMARY)
_STATISTICS: tuple[Any, ...] = (
    Unit.write_norm, Unit.n_patches, Unit.activation_mean, Unit.activation_density,
    Unit.activation_q50, Unit.activation_q90, Unit.activation_q95, Unit.activation_q99,
    Unit.histogram,
)  # fmt: skip

_SORTS: dict[str, tuple[Any, ...]] = {
    "images": (Unit.n_images.desc(), Unit.best_attribution.desc().nulls_last(), Unit.uid),
    "attribution": (Unit.best_attribution.desc().nulls_last(), Unit.uid),
    "activation": (Unit.activation_max.desc(), Unit.uid),
    "uid": (Unit.uid,),
}


def summary_of(row: Any) -> UnitSummary:
    """Make a summary of the first `N_SUMMARY` values of a row that selects `SUMMARY`."""
    uid, layer, unit, tokens, *rest = row[:N_SUMMARY]
    return UnitSummary(uid, layer, unit, tuple(tokens), *rest)


def units(
    connection: Connection,
    *,
    layer: int | None = None,
    min_images: int = 0,
    interpretable: bool | None = None,
    always_on: bool | None = None,
    concept: str | None = None,
    sort: str = "images",
    limit: int = 50,
    offset: int = 0,
) -> Page[UnitSummary]:
    """List units, filtered by whatever is given.

    Args:
        min_images: In whose top 100 a unit must be.
        concept: One that it must promote; folded before it is looked up.
        sort: images, attribution or activation (falling) or uid (rising); ties by uid.

    Raises:
        ValueError: An unknown sort, a limit below 1 or an offset below 0.
        NotInAtlasError: The layer does not exist.
    """
    if sort not in _SORTS:
        raise ValueError(f"sort must be one of {', '.join(_SORTS)}, got {sort!r}")
    check_page(limit, offset)
    if layer is not None:
        _check_layer(connection, layer)
    conditions: list[ColumnElement[bool]] = []
    if layer is not None:
        conditions.append(Unit.layer == layer)
    if min_images:
        conditions.append(Unit.n_images >= min_images)
    if interpretable is not None:
        conditions.append(Unit.is_interpretable == interpretable)
    if always_on is not None:
        conditions.append(Unit.is_always_on == always_on)
    if concept is not None:
        promoting = select(ConceptUnit.uid).where(ConceptUnit.concept == (fold(concept) or ""))
        conditions.append(Unit.uid.in_(promoting))
    total = connection.execute(select(func.count(Unit.uid)).where(*conditions)).scalar_one()
    chosen = select(*SUMMARY).where(*conditions).order_by(*_SORTS[sort])
    rows = connection.execute(chosen.limit(limit).offset(offset)).all()
    return Page(
        tuple(summary_of(row) for row in rows), total, next_offset(offset, len(rows), total)
    )


def examples(connection: Connection, limit: int = 12) -> tuple[UnitSummary, ...]:
    """Pick units worth seeing: interpretable, not always on, in the top 100 of many images.

    Those in `EXAMPLES_MIN_IMAGES` images or more come first, by their mean attribution: what
    they say, they say of several pictures and strongly.
    """
    check_page(limit, 0)
    chosen = (
        select(*SUMMARY)
        .where(Unit.is_interpretable, ~Unit.is_always_on, Unit.n_images > 0)
        .order_by(
            (Unit.n_images >= EXAMPLES_MIN_IMAGES).desc(), Unit.mean_attribution.desc(), Unit.uid
        )
        .limit(limit)
    )
    return tuple(summary_of(row) for row in connection.execute(chosen))


def unit(connection: Connection, layer: int, unit: int) -> UnitRecord:
    """Tell all that a unit's page shows.

    Raises:
        NotInAtlasError: There is no such unit; says which there are.
    """
    n_units = _check_layer(connection, layer)
    if not 0 <= unit < n_units:
        raise NotInAtlasError(
            f"{unit_name(layer, unit)} is not in this atlas: the units of layer {layer} are 0 to "
            f"{n_units - 1}."
        )
    uid = layer * n_units + unit
    (record,) = _records(connection, uid, uid + 1)
    return record


def _check_layer(connection: Connection, layer: int) -> int:
    """Return the layer's number of units, which is that of every layer."""
    rows = connection.execute(select(Layer.layer, Layer.n_units)).all()
    sizes = {row[0]: row[1] for row in rows}
    if layer not in sizes:
        raise NotInAtlasError(
            f"Layer {layer} is not in this atlas: its layers are 0 to {len(sizes) - 1}."
        )
    return sizes[layer]


def similar_units(connection: Connection, uid: int, limit: int = 8) -> tuple[SimilarUnit, ...]:
    """List the units whose write vectors are nearest by cosine, nearest first.

    The atlas keeps `run_format.N_NEIGHBOURS` of each unit. An unknown uid has none.
    """
    check_page(limit, 0)
    found = _similar(connection, UnitNeighbour.uid == uid)
    return found.get(uid, ())[:limit]


def unit_records(connection: Connection, first_uid: int, stop_uid: int) -> Iterator[UnitRecord]:
    """Give the records of units first_uid to stop_uid - 1, in order, with a few queries a 1000."""
    for start in range(first_uid, stop_uid, _BLOCK):
        yield from _records(connection, start, min(start + _BLOCK, stop_uid))


def _records(connection: Connection, first: int, stop: int) -> Iterator[UnitRecord]:
    def within(column: Any) -> ColumnElement[bool]:
        # An index serves equality alone.
        return column == first if stop == first + 1 else and_(column >= first, column < stop)

    rows = connection.execute(
        select(*SUMMARY, *_STATISTICS).where(within(Unit.uid)).order_by(Unit.uid)
    ).all()
    last = connection.execute(select(func.max(Unit.uid))).scalar_one()
    tokens = _tokens(connection, within(UnitToken.uid))
    exemplars = _exemplars(connection, within)
    images = _images(connection, within(UnitImageRow.uid))
    similar = _similar(connection, within(UnitNeighbour.uid))
    for row in rows:
        uid = row[0]
        norm, n_patches, mean, density, *quantiles, histogram = row[N_SUMMARY:]
        yield UnitRecord(
            summary_of(row), norm, n_patches, mean, density,
            {str(q): value for q, value in zip(QUANTILES, quantiles, strict=True)},
            tuple(histogram), tokens.get((uid, 1), ()), tokens.get((uid, -1), ()),
            exemplars.get(uid, ()), images.get(uid, ()), similar.get(uid, ()),
            uid - 1 if uid > 0 else None, uid + 1 if uid < last else None,
        )  # fmt: skip


def _tokens(
    connection: Connection, condition: ColumnElement[bool]
) -> dict[tuple[int, int], tuple[TokenRecord, ...]]:
    statement = (
        select(
            UnitToken.uid, UnitToken.sign, UnitToken.rank, UnitToken.token_id, UnitToken.token,
            UnitToken.concept, UnitToken.logit, UnitToken.prob,
        )
        .where(condition)
        .order_by(UnitToken.uid, UnitToken.sign.desc(), UnitToken.rank)
    )  # fmt: skip
    rows = connection.execute(statement).all()
    return {
        key: tuple(TokenRecord(*row[2:]) for row in group)
        for key, group in groupby(rows, key=itemgetter(0, 1))
    }


def _exemplars(connection: Connection, within: Any) -> dict[int, tuple[ExemplarRecord, ...]]:
    statement = (
        select(
            Exemplar.uid, Exemplar.rank, Exemplar.image_id, Exemplar.activation, Exemplar.patch,
            Image.caption,
        )
        .join(Image, Image.image_id == Exemplar.image_id)
        .where(within(Exemplar.uid))
        .order_by(Exemplar.uid, Exemplar.rank)
    )  # fmt: skip
    rows = connection.execute(statement).all()
    maps = connection.execute(
        select(Heatmaps.uid, Heatmaps.scales, Heatmaps.zeros, Heatmaps.maps).where(
            within(Heatmaps.uid)
        )
    )
    unpacked = {
        uid: (np.frombuffer(packed, np.uint8).reshape(len(scales), -1), scales, zeros)
        for uid, scales, zeros, packed in maps
    }
    return {
        uid: tuple(_exemplar(row, *unpacked[uid]) for row in group)
        for uid, group in groupby(rows, key=itemgetter(0))
    }


def _exemplar(row: Any, maps: Any, scales: list[float], zeros: list[float]) -> ExemplarRecord:
    _uid, rank, image_id, activation, patch, caption = row
    place = rank - 1
    return ExemplarRecord(
        rank, image_id, activation, patch, caption, maps[place], scales[place], zeros[place]
    )


def _images(
    connection: Connection, condition: ColumnElement[bool]
) -> dict[int, tuple[UnitImage, ...]]:
    order = (UnitImageRow.attribution.desc(), UnitImageRow.image_id, UnitImageRow.target)
    place = func.row_number().over(partition_by=UnitImageRow.uid, order_by=order).label("place")
    ranked = (
        select(
            UnitImageRow.uid, UnitImageRow.image_id, UnitImageRow.target_word, UnitImageRow.rank,
            UnitImageRow.attribution, place,
        )
        .where(condition)
        .subquery()
    )  # fmt: skip
    rows = connection.execute(
        select(ranked).where(ranked.c.place <= N_UNIT_IMAGES).order_by(ranked.c.uid, ranked.c.place)
    ).all()
    return {
        uid: tuple(UnitImage(*row[1:5]) for row in group)
        for uid, group in groupby(rows, key=itemgetter(0))
    }


def _similar(
    connection: Connection, condition: ColumnElement[bool]
) -> dict[int, tuple[SimilarUnit, ...]]:
    rows = connection.execute(
        select(UnitNeighbour.uid, UnitNeighbour.neighbour_uid, UnitNeighbour.cosine)
        .where(condition)
        .order_by(UnitNeighbour.uid, UnitNeighbour.rank)
    ).all()
    found = summaries(connection, {row[1] for row in rows})
    return {
        uid: tuple(SimilarUnit(found[row[1]], row[2]) for row in group)
        for uid, group in groupby(rows, key=itemgetter(0))
    }


def summaries(connection: Connection, uids: Iterable[int]) -> dict[int, UnitSummary]:
    """Look up the summaries of some units, by uid."""
    statement = select(*SUMMARY).where(Unit.uid.in_(sorted(uids)))
    return {row[0]: summary_of(row) for row in connection.execute(statement)}
