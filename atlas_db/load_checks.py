"""Does a run folder agree with itself? Each question counts the rows that speak against it."""

from __future__ import annotations

import duckdb

from atlas_db.errors import RunError
from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from atlas_db.run_check import CheckedRun

#: What is wrong, and how many rows of which table show it.
_CONTRADICTIONS = (
    (
        "captions of images that the data set does not have",
        "FROM run_captions ANTI JOIN run_images USING (image_id)",
    ),
    (
        "images that two shards hold",
        "FROM (FROM run_captions SELECT image_id GROUP BY image_id HAVING count(*) > 1)",
    ),
    (
        "units missing from or added to weights/units.parquet",
        "FROM run_units FULL JOIN (SELECT range AS uid FROM range($n_units)) AS wanted "
        "ON run_units.uid = wanted.uid WHERE run_units.uid IS NULL OR wanted.uid IS NULL",
    ),
    (
        "decoded tokens that the vocabulary does not have",
        "FROM run_unit_tokens ANTI JOIN run_vocabulary USING (token_id)",
    ),
    (
        "decoded tokens of units that do not exist",
        "FROM run_unit_tokens WHERE uid NOT BETWEEN 0 AND $n_units - 1",
    ),
    (
        "neighbours of units that do not exist",
        "FROM run_unit_neighbours WHERE uid NOT BETWEEN 0 AND $n_units - 1 "
        "OR neighbour_uid NOT BETWEEN 0 AND $n_units - 1",
    ),
    (
        "top units that do not exist",
        "FROM run_image_units WHERE uid NOT BETWEEN 0 AND $n_units - 1",
    ),
    (
        "top units of targets that do not exist",
        "FROM run_image_units ANTI JOIN run_targets USING (image_id, target)",
    ),
    (
        "targets of images that have no caption",
        "FROM run_targets ANTI JOIN run_captions USING (image_id)",
    ),
    (
        "heatmaps that are not of one byte a patch",
        "FROM run_image_units WHERE octet_length(heatmap) NOT IN (0, $n_patch)",
    ),
    (
        "negative exemplars that are of no unit, above 0, or without a byte a patch",
        "FROM run_negative_exemplars WHERE uid NOT BETWEEN 0 AND $n_units - 1 OR activation >= 0 "
        "OR octet_length(heatmap) <> $n_patch",
    ),
    *(
        (
            f"rows of the experiments' {table} of units that do not exist",
            f"FROM run_{table} WHERE uid NOT BETWEEN 0 AND $n_units - 1",
        )
        for table, schema in EXPERIMENT_SCHEMAS.items()
        if "uid" in schema.names
    ),
    *(
        (
            f"rows of the experiments' {table} of images that were not read",
            f"FROM run_{table} ANTI JOIN run_captions USING (image_id)",
        )
        for table, schema in EXPERIMENT_SCHEMAS.items()
        if "image_id" in schema.names
    ),
    (
        "units without an exemplar",
        "FROM run_units ANTI JOIN run_exemplars USING (uid)",
    ),
)


def refuse_contradictions(connection: duckdb.DuckDBPyConnection, run: CheckedRun) -> None:
    """Check what the shards' hashes cannot show, over the views `run_TABLE`.

    Raises:
        RunError: No image was read, or tables contradict one another.
    """
    n_read = _count(connection, "FROM run_captions", run)
    if n_read == 0:
        raise RunError(
            f"{run.path} has no image: all {len(run.skipped)} were skipped. The manifest's "
            "`skipped` says why of each; check the folder of photographs and build again."
        )
    n_images = _count(connection, "FROM run_images", run)
    if n_read + len(run.skipped) != n_images:
        raise RunError(
            f"{run.path} has {n_read} captions and {len(run.skipped)} skipped images, wanted "
            f"{n_images} together. Build it again into a new folder."
        )
    for what, rows in _CONTRADICTIONS:
        if found := _count(connection, rows, run):
            raise RunError(
                f"{run.path} contradicts itself: {found} {what}. Build it again into a new folder."
            )


def _count(connection: duckdb.DuckDBPyConnection, rows: str, run: CheckedRun) -> int:
    known = {"n_units": run.n_units, "n_patch": run.n_patch}
    used = {name: value for name, value in known.items() if f"${name}" in rows}
    found = connection.execute(f"SELECT count(*) {rows}", used).fetchone()
    assert found is not None
    return int(found[0])
