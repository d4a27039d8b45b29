"""Lists of units out of memory: their orders, and what most filters look at.

DuckDB plans each list anew and reads its columns from the file, five milliseconds for a layer of
GPT-J's. Here each order is read once, when it is first asked for, as DuckDB gives it: eight bytes a
unit, and six for the filters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from atlas_db.queries.of_units import unit_uids
from atlas_db.queries.paging import check_page, next_offset
from atlas_db.queries.statements import arrow_table
from atlas_db.queries.unit_filters import PLAIN_SORTS, UnitFilters, order
from atlas_db.records import Page
from atlas_db.schema import Unit

_Uids = npt.NDArray[np.int32]
_FILTERED = select(Unit.n_images, Unit.is_interpretable, Unit.is_always_on).order_by(Unit.uid)


class UnitOrders:
    """Orders and filters of one atlas's units; safe to share by threads.

    Args:
        units_per_layer: Unit u of layer l has uid l * units_per_layer + u.
    """

    def __init__(self, units_per_layer: int) -> None:
        self._units_per_layer = units_per_layer
        self._lock = threading.Lock()
        self._columns: tuple[npt.NDArray[Any], ...] = ()
        self._orders: dict[str, tuple[_Uids, _Uids]] = {}

    def uids(
        self,
        connect: Callable[[], Connection],
        *,
        sort: str = "images",
        limit: int = 50,
        offset: int = 0,
        **filters: Any,
    ) -> Page[int]:
        """List units as `queries.of_units.unit_uids` does, which see.

        Args:
            connect: Gives a connection to the atlas; called where only the atlas can tell: for a
                new order, a concept's units, experiments, and what is wrong.
        """
        asked = UnitFilters(**filters)
        others = (asked.concept, asked.min_iou, asked.min_effect)
        if sort not in PLAIN_SORTS or others != (None, None, None):
            return unit_uids(connect(), sort=sort, limit=limit, offset=offset, **filters)
        check_page(limit, offset)
        in_order, places = self._order(connect, sort)
        chosen = self._chosen(places, asked)
        total = len(chosen)
        if not total:
            return unit_uids(connect(), sort=sort, limit=limit, offset=offset, **filters)
        stop = min(offset + limit, total)
        if stop < total:
            chosen = np.partition(chosen, stop)[:stop]
        shown = in_order[np.sort(chosen)[offset:]]
        return Page(tuple(shown.tolist()), total, next_offset(offset, len(shown), total))

    def _chosen(self, places: _Uids, asked: UnitFilters) -> _Uids:
        """Give the places of the units that pass the filters, in no order."""
        part = slice(None)
        if asked.layer is not None:
            if asked.layer < 0:  # a slice would count from the end
                return places[:0]
            start = asked.layer * self._units_per_layer
            part = slice(start, start + self._units_per_layer)
        n_images, interpretable, always_on = (column[part] for column in self._columns)
        passing = []
        if asked.min_images:
            passing.append(n_images >= asked.min_images)
        if asked.interpretable is not None:
            passing.append(interpretable == asked.interpretable)
        if asked.always_on is not None:
            passing.append(always_on == asked.always_on)
        return places[part][np.logical_and.reduce(passing)] if passing else places[part]

    def _order(self, connect: Callable[[], Connection], sort: str) -> tuple[_Uids, _Uids]:
        """Give the uids in order, and of each uid its place."""
        with self._lock:
            if not self._columns:
                self._columns = _columns(connect(), _FILTERED)
            if sort not in self._orders:
                connection = connect()
                chosen = select(Unit.uid).order_by(*order(connection, sort))
                (column,) = _columns(connection, chosen)
                in_order = column.astype(np.int32)
                places = np.empty_like(in_order)
                places[in_order] = np.arange(len(in_order), dtype=np.int32)
                self._orders[sort] = in_order, places
            return self._orders[sort]


def _columns(connection: Connection, statement: Any) -> tuple[npt.NDArray[Any], ...]:
    return tuple(column.to_numpy() for column in arrow_table(connection, statement).columns)
