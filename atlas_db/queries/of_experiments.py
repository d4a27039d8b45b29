"""What the experiments measured: of the atlas as a whole, of a unit, of an image, of a category."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select, text

from atlas_db.experiment_records import (
    AblationRecord,
    AdapterTokenRecord,
    CategoryUnitRecord,
    ExperimentRecord,
    FigureRecord,
    ImageExperiments,
    ReplicationRecord,
    TextExemplarRecord,
    UnitExperiments,
    UnitFigures,
)
from atlas_db.queries.of_atlas import atlas_values
from atlas_db.queries.of_exemplars import uid_of
from atlas_db.queries.of_images import image
from atlas_db.queries.statements import bulk_rows
from atlas_db.schema import Image
from atlas_db.schema_experiments import (
    Ablation,
    AdapterToken,
    CategoryUnit,
    ExperimentFigure,
    Replication,
    TextExemplar,
)


def experiments(connection: Connection) -> tuple[ExperimentRecord, ...]:
    """List the experiments that were run, in the order of the report, with their figures."""
    names = tuple(FigureRecord.__dataclass_fields__)
    columns = [getattr(ExperimentFigure, name) for name in names]
    rows = connection.execute(
        select(ExperimentFigure.experiment, *columns).order_by(
            ExperimentFigure.experiment, ExperimentFigure.number
        )
    ).all()
    figures = {
        name: tuple(FigureRecord(*row[1:]) for row in group)
        for name, group in groupby(rows, key=lambda row: row[0])
    }
    entries = json.loads(atlas_values(connection).get("experiments", "[]"))
    return tuple(
        ExperimentRecord(
            name=entry["name"],
            title=entry["title"],
            settings=entry["settings"],
            created=entry["created"],
            seconds=entry.get("seconds"),
            device=entry["device"],
            figures=figures.get(entry["name"], ()),
        )
        for entry in entries
    )


def unit_figures(connection: Connection, uid: int) -> UnitFigures | None:
    """Tell what the experiments say of a unit; None where none looked at it."""
    names = tuple(UnitFigures.__dataclass_fields__)
    row = connection.execute(
        text(f"SELECT {', '.join(names)} FROM unit_figures WHERE uid = :uid"), {"uid": uid}
    ).first()
    if row is None or all(value is None for value in row[1:]):
        return None
    return UnitFigures(*row)


def unit_experiments(connection: Connection, layer: int, unit: int) -> UnitExperiments:
    """Tell all that the experiments say of a unit.

    Raises:
        NotInAtlasError: There is no such unit.
    """
    uid = uid_of(connection, layer, unit)
    return UnitExperiments(unit_figures(connection, uid), text_exemplars(connection, uid))


def measured_units(connection: Connection, first: int, stop: int) -> dict[int, UnitFigures]:
    """Tell what the experiments say of the units first <= uid < stop, of those they looked at."""
    names = tuple(UnitFigures.__dataclass_fields__)
    known = ", ".join(names[1:])
    rows = connection.execute(
        text(
            f"SELECT {', '.join(names)} FROM unit_figures WHERE uid >= :first AND uid < :stop "
            f"AND coalesce({known}) IS NOT NULL"
        ),
        {"first": first, "stop": stop},
    )
    return {row[0]: UnitFigures(*row) for row in rows}


def measured_texts(
    connection: Connection, first: int, stop: int, limit: int
) -> dict[int, tuple[TextExemplarRecord, ...]]:
    """Give the first `limit` passages of each of the units first <= uid < stop that have any."""
    names = tuple(TextExemplarRecord.__dataclass_fields__)
    rows = connection.execute(
        select(TextExemplar.uid, *(getattr(TextExemplar, name) for name in names))
        .where(TextExemplar.uid >= first, TextExemplar.uid < stop, TextExemplar.rank <= limit)
        .order_by(TextExemplar.uid, TextExemplar.rank)
    )
    return {
        uid: tuple(_passage(row[1:]) for row in group)
        for uid, group in groupby(rows, key=lambda row: row[0])
    }


def _passage(row: Sequence[Any]) -> TextExemplarRecord:
    rank, source, passage, activation, position, tokens, activations = row
    return TextExemplarRecord(
        rank, source, passage, activation, position, tuple(tokens), tuple(activations)
    )


def image_ablations(connection: Connection, image_id: int) -> tuple[AblationRecord, ...]:
    """Give an image's ablation curve: the untouched model first, then by arm, draw and k."""
    return ablations(connection, image_id, image_id).get(image_id, ())


def ablations(
    connection: Connection, first_id: int, last_id: int
) -> dict[int, tuple[AblationRecord, ...]]:
    """Give `image_ablations` of each of the images first_id..last_id that has a curve."""
    names = tuple(AblationRecord.__dataclass_fields__)
    chosen: Any = select(Ablation.image_id, *(getattr(Ablation, name) for name in names))
    rows = bulk_rows(
        connection,
        chosen.where(Ablation.image_id.between(first_id, last_id)).order_by(
            Ablation.image_id, Ablation.k > 0, Ablation.arm, Ablation.draw, Ablation.k
        ),
    )
    return {
        image_id: tuple(AblationRecord(*row[1:]) for row in group)
        for image_id, group in groupby(rows, key=lambda row: row[0])
    }


def image_adapter_tokens(connection: Connection, image_id: int) -> tuple[AdapterTokenRecord, ...]:
    """Give the tokens nearest to each projected patch of an image, by patch and rank."""
    columns = [getattr(AdapterToken, name) for name in AdapterTokenRecord.__dataclass_fields__]
    chosen: Any = select(*columns).where(AdapterToken.image_id == image_id)
    rows = bulk_rows(connection, chosen.order_by(AdapterToken.patch, AdapterToken.rank))
    return tuple(AdapterTokenRecord(*row) for row in rows)


def image_experiments(connection: Connection, image_id: int) -> ImageExperiments:
    """Tell all that the experiments say of an image.

    Raises:
        NotInAtlasError: There is no such image.
    """
    if connection.execute(select(Image.image_id).where(Image.image_id == image_id)).first() is None:
        image(connection, image_id)  # says which there are
    return ImageExperiments(
        image_ablations(connection, image_id), image_adapter_tokens(connection, image_id)
    )


def text_exemplars(connection: Connection, uid: int) -> tuple[TextExemplarRecord, ...]:
    """Give the passages of text on which a unit is most active, by rank."""
    rows = _rows(
        connection, TextExemplar, TextExemplarRecord, TextExemplar.uid == uid,
        order=(TextExemplar.rank,),
    )  # fmt: skip
    return tuple(_passage(row) for row in rows)


def category_units(connection: Connection, category_id: int) -> tuple[CategoryUnitRecord, ...]:
    """Give the units that are in the top 100 of most images of a category, by rank."""
    rows = _rows(
        connection, CategoryUnit, CategoryUnitRecord, CategoryUnit.category_id == category_id,
        order=(CategoryUnit.rank,),
    )  # fmt: skip
    return tuple(CategoryUnitRecord(*row) for row in rows)


def replication(connection: Connection) -> tuple[ReplicationRecord, ...]:
    """Give the paper's printed values beside ours; none where the captioner is another."""
    rows = _rows(connection, Replication, ReplicationRecord, None, order=(Replication.number,))
    return tuple(ReplicationRecord(*row) for row in rows)


def _rows(
    connection: Connection, table: Any, record: Any, condition: Any, *, order: tuple[Any, ...]
) -> list[Any]:
    """Select the columns that a record's fields name."""
    columns = [getattr(table, name) for name in record.__dataclass_fields__]
    statement = select(*columns).order_by(*order)
    if condition is not None:
        statement = statement.where(condition)
    return list(connection.execute(statement))
