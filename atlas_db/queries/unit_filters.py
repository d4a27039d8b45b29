"""Which units a list has, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, column, func, select, table

from atlas_db.concepts import fold
from atlas_db.errors import NotMeasuredError
from atlas_db.schema import ConceptUnit, Unit

#: What experiments measured of single units: table and column, and what the number is.
_MEASURED = {
    "iou": ("unit_masks", "iou", "overlap of its masks with the objects of its images"),
    "effect": (
        "unit_effects",
        "relative_drop",
        "share of the target's probability that is lost when the unit is zeroed",
    ),
}


@dataclass(frozen=True, slots=True)
class UnitFilters:
    """What a list of units is asked for; None and 0 leave a filter out."""

    layer: int | None = None
    min_images: int = 0
    interpretable: bool | None = None
    always_on: bool | None = None
    concept: str | None = None
    min_iou: float | None = None
    min_effect: float | None = None

    def conditions(self, connection: Connection) -> list[ColumnElement[bool]]:
        """Give what a row of `units` must hold.

        Raises:
            NotMeasuredError: This atlas has not what a filter asks for.
        """
        found: list[ColumnElement[bool]] = []
        if self.layer is not None:
            found.append(Unit.layer == self.layer)
        if self.min_images:
            found.append(Unit.n_images >= self.min_images)
        if self.interpretable is not None:
            found.append(Unit.is_interpretable == self.interpretable)
        if self.always_on is not None:
            found.append(Unit.is_always_on == self.always_on)
        if self.concept is not None:
            folded = fold(self.concept) or ""
            found.append(Unit.uid.in_(select(ConceptUnit.uid).where(ConceptUnit.concept == folded)))
        for name, least in (("iou", self.min_iou), ("effect", self.min_effect)):
            if least is not None:
                uid, value = _measured(connection, name)
                found.append(Unit.uid.in_(select(uid).where(value >= least)))
        return found


_SORTS: dict[str, tuple[Any, ...]] = {
    "images": (Unit.n_images.desc(), Unit.best_attribution.desc().nulls_last(), Unit.uid),
    "attribution": (Unit.best_attribution.desc().nulls_last(), Unit.uid),
    "activation": (Unit.activation_max.desc(), Unit.uid),
    "uid": (Unit.uid,),
}
#: What the table `units` itself can be sorted by.
PLAIN_SORTS = tuple(_SORTS)
SORTS = (*PLAIN_SORTS, *_MEASURED)


def order(connection: Connection, sort: str) -> tuple[Any, ...]:
    """Give the order of a list; units that were not measured come last, by uid.

    Raises:
        ValueError: An unknown sort.
        NotMeasuredError: This atlas has not what it sorts by.
    """
    if sort not in SORTS:
        raise ValueError(f"sort must be one of {', '.join(SORTS)}, got {sort!r}")
    if sort in _SORTS:
        return _SORTS[sort]
    uid, value = _measured(connection, sort)
    measured = select(value).where(uid == Unit.uid).scalar_subquery()
    return (measured.desc().nulls_last(), Unit.uid)


def _measured(connection: Connection, name: str) -> tuple[ColumnElement[int], ColumnElement[float]]:
    """Give the columns of an experiment's table: the unit's uid, and the number.

    Raises:
        NotMeasuredError: The table is missing or empty; an atlas may have no experiments.
    """
    table_name, column_name, meaning = _MEASURED[name]
    source = table(table_name, column("uid"), column(column_name))
    known = func.duckdb_tables().table_valued("table_name")
    exists = select(func.count()).select_from(known).where(known.c.table_name == table_name)
    if not (
        connection.execute(exists).scalar()
        and connection.execute(select(func.count()).select_from(source)).scalar()
    ):
        raise NotMeasuredError(
            f"This atlas has no {name} of units ({meaning}): no experiment measured it."
        )
    return source.c.uid, source.c[column_name]
