"""Every read of an atlas: functions of an open connection that return `atlas_db.records`.

with open_atlas(path).connect() as connection:
    record = unit(connection, layer=12, unit=9058)
"""

from atlas_db.queries.atlas import atlas_info, layers
from atlas_db.queries.concepts import concept, concept_records, concepts
from atlas_db.queries.images import image, image_records, images, thumbnail
from atlas_db.queries.sql import SQL_OF, select
from atlas_db.queries.units import examples, similar_units, unit, unit_records, units

__all__ = [
    "SQL_OF",
    "atlas_info",
    "concept",
    "concept_records",
    "concepts",
    "examples",
    "image",
    "image_records",
    "images",
    "layers",
    "select",
    "similar_units",
    "thumbnail",
    "unit",
    "unit_records",
    "units",
]
