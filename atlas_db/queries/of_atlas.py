"""The atlas as a whole: where it comes from and how much is in it."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, func, select

from atlas_db.records import AtlasInfo, LayerRecord
from atlas_db.schema import AtlasValue, Concept, Image, Layer, SkippedImage, Unit


def atlas_values(connection: Connection) -> dict[str, str]:
    """Give the table `atlas` as it is: provenance by its keys, objects and lists as JSON."""
    rows = connection.execute(select(AtlasValue.key, AtlasValue.value)).all()
    return {row[0]: row[1] for row in rows}


def atlas_info(connection: Connection) -> AtlasInfo:
    """Tell provenance and counts."""
    values = atlas_values(connection)
    parts: dict[str, Any] = {
        key: json.loads(values[key])
        for key in ("captioner", "dataset", "settings", "versions", "model", "is_random")
    }
    model = parts.pop("model")
    return AtlasInfo(
        name=values["name"],
        content_hash=values["content_hash"],
        schema_version=int(values["schema_version"]),
        created=values["created"],
        command=values["command"],
        formula=values["formula"],
        n_layers=model["n_layers"],
        units_per_layer=model["units_per_layer"],
        grid_rows=model["grid_rows"],
        grid_columns=model["grid_columns"],
        n_units=_count(connection, Unit.uid),
        n_images=_count(connection, Image.image_id),
        n_skipped_images=_count(connection, SkippedImage.image_id),
        n_concepts=_count(connection, Concept.concept),
        **parts,
    )


def _count(connection: Connection, column: Any) -> int:
    return int(connection.execute(select(func.count(column))).scalar_one())


def layers(connection: Connection) -> tuple[LayerRecord, ...]:
    """List the layers, first to last."""
    columns = [getattr(Layer, name) for name in LayerRecord.__dataclass_fields__]
    rows = connection.execute(select(*columns).order_by(Layer.layer))
    return tuple(LayerRecord(*row) for row in rows)
