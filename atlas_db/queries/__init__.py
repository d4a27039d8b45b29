"""Every read of an atlas: functions of an open connection that return `atlas_db.records`.

with open_atlas(path).connect() as connection:
    record = unit(connection, layer=12, unit=9058)
"""

from atlas_db.queries.of_atlas import atlas_info, atlas_values, layers
from atlas_db.queries.of_concepts import concept, concept_records, concepts
from atlas_db.queries.of_experiments import (
    ablations,
    category_units,
    experiments,
    image_ablations,
    image_adapter_tokens,
    image_experiments,
    measured_texts,
    measured_units,
    replication,
    text_exemplars,
    unit_experiments,
    unit_figures,
)
from atlas_db.queries.of_explore import (
    CATEGORY_UNITS_SQL,
    COVERING_UNITS_SQL,
    UNIT_LISTS,
    CategoryRecord,
    CoveringUnit,
    ListedUnit,
    StandingUnit,
    UnitList,
    categories,
    concept_layers,
    concept_uids,
    covering_units,
    first_tokens,
    listed_units,
    unit_columns,
)
from atlas_db.queries.of_images import image, image_records, images, licences, thumbnail, thumbnails
from atlas_db.queries.of_units import examples, similar_units, unit, unit_records, units
from atlas_db.queries.own_sql import SQL_OF, select

__all__ = [
    "CATEGORY_UNITS_SQL",
    "COVERING_UNITS_SQL",
    "SQL_OF",
    "UNIT_LISTS",
    "CategoryRecord",
    "CoveringUnit",
    "ListedUnit",
    "StandingUnit",
    "UnitList",
    "ablations",
    "atlas_info",
    "atlas_values",
    "categories",
    "category_units",
    "concept",
    "concept_layers",
    "concept_records",
    "concept_uids",
    "concepts",
    "covering_units",
    "examples",
    "experiments",
    "first_tokens",
    "image",
    "image_ablations",
    "image_adapter_tokens",
    "image_experiments",
    "image_records",
    "images",
    "layers",
    "licences",
    "listed_units",
    "measured_texts",
    "measured_units",
    "replication",
    "select",
    "similar_units",
    "text_exemplars",
    "thumbnail",
    "thumbnails",
    "unit",
    "unit_columns",
    "unit_experiments",
    "unit_figures",
    "unit_records",
    "units",
]
