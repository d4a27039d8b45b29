"""SQL for people: the statements behind the pages, and a way to run one's own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from atlas_db.queries.paging import check_page

#: What each kind of page shows, as SQL to run on the DuckDB file. Fill the {placeholders} with
#: `str.format`; `{concept}` is folded (lower case, no leading space), its ' written as ''.
SQL_OF: Mapping[str, str] = MappingProxyType(
    {
        "unit": """\
SELECT sign, rank, token, prob
FROM unit_tokens
WHERE layer = {layer} AND unit = {unit}
ORDER BY sign DESC, rank;""",
        "exemplars": """\
SELECT rank, image_id, activation, file, caption
FROM exemplars JOIN images USING (image_id)
WHERE layer = {layer} AND unit = {unit}
ORDER BY rank;""",
        "heatmaps": """\
SELECT rank, image_id, activations
FROM exemplar_activations
WHERE layer = {layer} AND unit = {unit}
ORDER BY rank;""",
        "concept": """\
SELECT layer, unit, rank, token, prob, n_shown
FROM concept_units
WHERE concept = '{concept}'
ORDER BY n_shown DESC, prob DESC, uid;""",
        "image": """\
SELECT target, rank, layer, unit, patch, attribution, top_tokens
FROM image_units JOIN units USING (uid, layer, unit)
WHERE image_id = {image_id}
ORDER BY target, rank;""",
        "layer": """\
SELECT unit, n_images, best_attribution, top_tokens
FROM units
WHERE layer = {layer}
ORDER BY n_images DESC, best_attribution DESC NULLS LAST, uid;""",
    }
)


def select(
    connection: Connection, statement: str, *, limit: int
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a statement of the owner's and return its columns and at most `limit` rows.

    Not for strangers: SQL can read and write this machine's files.

    Raises:
        ValueError: The statement is wrong, or gives no rows; says where.
    """
    check_page(limit, 0)
    try:
        result = connection.exec_driver_sql(statement)
    except DBAPIError as error:
        raise ValueError(f"the statement cannot be run: {error.orig}") from None
    if not result.returns_rows:
        return [], []
    rows = [tuple(row) for row in result.fetchmany(limit)]
    return list(result.keys()), rows
