"""Look before building: is there an atlas to make a site of?"""

from __future__ import annotations

from pathlib import Path

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.errors import AtlasFileError


def check_atlas(database: Path) -> dict[str, str]:
    """Open the atlas once, so that a build fails before anything is rendered.

    Returns:
        What it says of itself: the keys and values of its table `atlas`.

    Raises:
        AtlasFileError: It is missing, damaged or of another schema version.
    """
    if not database.is_file():
        raise AtlasFileError(
            f"There is no atlas at {database}. Make one with `neuron-atlas build --captioner DIR "
            "--coco DIR --db atlas.duckdb`, or name another: NEURON_ATLAS_DB=FILE mkdocs build."
        )
    engine = open_atlas(database)
    try:
        with engine.connect() as connection:
            return queries.atlas_values(connection)
    finally:
        engine.dispose()
