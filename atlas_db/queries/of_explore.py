"""What the site's explore page is made of: columns over all units, lists, categories.

The lists are statements that the page shows word for word, so that a reader can run them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Connection, func, select

from atlas_db.queries.of_units import summaries
from atlas_db.queries.statements import FIRST, STOP, arrow_table, bulk_rows
from atlas_db.records import UnitSummary
from atlas_db.schema import ConceptUnit, Unit

#: Bits of the column `flags`.
IS_INTERPRETABLE = 1
IS_ALWAYS_ON = 2

_BLOCK = 1 << 16

_FIGURES: Mapping[str, Any] = MappingProxyType(
    {
        "images": Unit.n_images,
        "attribution": Unit.best_attribution,
        "mean_attribution": Unit.mean_attribution,
        "activation": Unit.activation_max,
        "density": Unit.activation_density,
        "words": Unit.n_dictionary_words,
        "norm": Unit.write_norm,
    }
)


@dataclass(frozen=True, slots=True)
class UnitList:
    """A question about all units, as a statement whose rows begin with uid and one figure."""

    title: str
    meaning: str
    figure: str  # what the second column is called
    sql: str
    needs: str | None = None  # a table that only atlases with experiments have


#: The lists of the explore page. A list whose table an atlas does not have is left out.
UNIT_LISTS: Mapping[str, UnitList] = MappingProxyType(
    {
        "frequent": UnitList(
            "Most frequent",
            "In the top 100 of most images, those that are always on left out.",
            "images",
            """\
SELECT uid, n_images, layer, unit, top_tokens
FROM units
WHERE n_images > 0 AND NOT is_always_on
ORDER BY n_images DESC, uid
LIMIT 20;""",
        ),
        "strongest": UnitList(
            "Strongest",
            "Greatest mean attribution, in logits, over at least three images.",
            "mean attribution",
            """\
SELECT uid, mean_attribution, layer, unit, n_images, top_tokens
FROM units
WHERE n_images >= 3 AND NOT is_always_on
ORDER BY mean_attribution DESC, uid
LIMIT 20;""",
        ),
        "specific": UnitList(
            "Most specific",
            "Their heatmaps, cut at the 95th percentile, overlap the thing in the picture better "
            "than those of random units of the same layer: by how much, over three images or more.",
            "IoU above random",
            """\
SELECT uid, iou - random_iou AS above_random, iou, random_iou, iou_bound, object_share,
  unit_masks.n_images
FROM unit_masks JOIN units USING (uid)
WHERE unit_masks.n_images >= 3 AND NOT is_always_on
ORDER BY above_random DESC, uid
LIMIT 20;""",
            "unit_masks",
        ),
        "causal": UnitList(
            "Most causal",
            "Setting the unit alone to zero lowers the logit of the target word more than doing "
            "so to a random unit of its layer: by how much, over three images or more.",
            "logit lost above random",
            """\
SELECT uid, logit_drop - random_logit_drop AS above_random, logit_drop, random_logit_drop,
  unit_effects.n_images
FROM unit_effects JOIN units USING (uid)
WHERE unit_effects.n_images >= 3 AND NOT is_always_on
ORDER BY above_random DESC, uid
LIMIT 20;""",
            "unit_effects",
        ),
        "gathered": UnitList(
            "Most of one category",
            "Their images show one category most often, beyond what its share of all images says: "
            "n · KL(share ‖ usual share), the logarithm of a bound on chance.",
            "evidence",
            """\
WITH kinds AS (
  SELECT category_id, count(*) / (SELECT count(*) FROM images) AS usual
  FROM categories JOIN (SELECT unnest(categories) AS name FROM images) USING (name)
  GROUP BY category_id
), shares AS (
  SELECT uid, category_id, units.n_images AS n, usual,
    unit_categories.n_images / units.n_images AS share
  FROM unit_categories JOIN units USING (uid) JOIN kinds USING (category_id)
)
SELECT uid, n * (share * ln(share / usual)
    + if(share < 1, (1 - share) * ln((1 - share) / (1 - usual)), 0)) AS evidence,
  name, n, share, usual
FROM shares JOIN categories USING (category_id)
WHERE share > usual
QUALIFY row_number() OVER (PARTITION BY uid ORDER BY evidence DESC, category_id) = 1
ORDER BY evidence DESC, uid
LIMIT 20;""",
        ),
        "readable": UnitList(
            "Best read",
            "All ten promoted tokens are dictionary words, and it is on top of most images.",
            "images",
            """\
SELECT uid, n_images, layer, unit, top_tokens
FROM units
WHERE n_dictionary_words = 10 AND n_images > 0 AND NOT is_always_on
ORDER BY n_images DESC, uid
LIMIT 20;""",
        ),
    }
)

#: Which units stand for a category: n images of the category of which the unit is on top of k,
#: while it is on top of a share f of all images. By Chernoff and Hoeffding at least k of n come
#: by chance with a probability of at most exp(-n KL(k/n || f)); over all units and categories
#: less than one in twenty such finds is expected by chance.
CATEGORY_UNITS_SQL = """\
WITH kinds AS (
  SELECT category_id, count(*) AS n_category
  FROM categories JOIN (SELECT unnest(categories) AS name FROM images) USING (name)
  GROUP BY category_id
), shares AS (
  SELECT category_id, uid, unit_categories.n_images AS n_images, n_category,
    unit_categories.n_images / n_category AS share,
    units.n_images / (SELECT count(*) FROM images) AS usual
  FROM unit_categories JOIN units USING (uid) JOIN kinds USING (category_id)
)
SELECT category_id, uid, n_images, share, usual,
  n_category * (share * ln(share / usual)
    + if(share < 1, (1 - share) * ln((1 - share) / (1 - usual)), 0)) AS evidence
FROM shares
WHERE share > usual
  AND evidence > ln((SELECT count(*) FROM units) * (SELECT count(*) FROM kinds) / 0.05)
QUALIFY row_number() OVER (PARTITION BY category_id ORDER BY evidence DESC, uid) <= 8
ORDER BY category_id, evidence DESC, uid;"""

#: The units that say and show a category, the best of each category and each for one alone.
COVERING_UNITS_SQL = """\
WITH best AS (
  SELECT category_id, uid, n_words, n_exemplars
  FROM category_coverage
  WHERE n_exemplars > 0
  QUALIFY row_number() OVER (
    PARTITION BY category_id ORDER BY n_exemplars DESC, n_words DESC, uid) = 1
)
SELECT uid, name AS category, n_words, n_exemplars
FROM best JOIN categories USING (category_id)
QUALIFY row_number() OVER (
  PARTITION BY uid ORDER BY n_exemplars DESC, n_words DESC, category_id) = 1
ORDER BY n_exemplars DESC, n_words DESC, uid;"""

_CATEGORIES_SQL = """
SELECT category_id, name, supercategory, coalesce(n_images, 0)
FROM categories LEFT JOIN (
    SELECT name, count(*) AS n_images
    FROM (SELECT unnest(categories) AS name FROM images) GROUP BY name
) USING (name)
ORDER BY supercategory, name
"""


@dataclass(frozen=True, slots=True)
class ListedUnit:
    """A unit of a list and the figure that it is listed by."""

    unit: UnitSummary
    figure: float


@dataclass(frozen=True, slots=True)
class CoveringUnit:
    """A unit that says and shows a category: of ten tokens, and of 16 exemplars, so many."""

    unit: UnitSummary
    category: str
    n_words: int
    n_exemplars: int


@dataclass(frozen=True, slots=True)
class StandingUnit:
    """A unit that stands for a category."""

    unit: UnitSummary
    n_images: int  # of the category, in whose top 100 it is
    share: float  # of the category's images
    usual: float  # of all images


@dataclass(frozen=True, slots=True)
class CategoryRecord:
    """A category and the units that stand for it, the clearest first; often none."""

    category_id: int
    name: str
    supercategory: str
    n_images: int
    units: tuple[StandingUnit, ...]


def unit_columns(
    connection: Connection, first: int = 0, stop: int | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Read one figure a unit, by uid: float32, NaN where there is none; `flags` is uint8.

    Args:
        first, stop: Of the units first <= uid < stop; of all by default.
    """
    chosen: Any = select(*_FIGURES.values(), Unit.is_interpretable, Unit.is_always_on)
    chosen = chosen.where(Unit.uid >= FIRST, Unit.uid < STOP).order_by(Unit.uid)
    blocks: list[dict[str, npt.NDArray[Any]]] = []
    for start, end in _blocks(first, stop):
        table = arrow_table(connection, chosen, {"first": start, "stop": end})
        if blocks and not table.num_rows:
            break
        blocks.append(_figures_of(table))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _figures_of(table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    *figures, interpretable, always_on = table.columns
    columns: dict[str, npt.NDArray[Any]] = {
        name: np.asarray(column.cast(pa.float32()).to_numpy(), np.float32)
        for name, column in zip(_FIGURES, figures, strict=True)
    }
    flags = IS_INTERPRETABLE * np.asarray(interpretable).astype(np.uint8)
    columns["flags"] = flags | IS_ALWAYS_ON * np.asarray(always_on).astype(np.uint8)
    return columns


def _blocks(first: int, stop: int | None) -> Iterator[tuple[int, int]]:
    """Cut first <= uid < stop into ranges; without end where there is no stop."""
    if stop is None:
        return ((start, start + _BLOCK) for start in itertools.count(first, _BLOCK))
    # At least one, be it empty.
    starts = range(first, max(stop, first + 1), _BLOCK)
    return ((start, min(start + _BLOCK, stop)) for start in starts)


def first_tokens(
    connection: Connection, first: int = 0, stop: int | None = None
) -> Iterator[list[str]]:
    """Give the promoted tokens of the units first <= uid < stop, by uid; of all by default."""
    statement: Any = select(Unit.uid, Unit.top_tokens).where(Unit.uid >= FIRST, Unit.uid < STOP)
    for start, end in _blocks(first, stop):
        rows = bulk_rows(connection, statement.order_by(Unit.uid), {"first": start, "stop": end})
        if not rows:
            return
        yield from (row[1] for row in rows)


def concept_uids(connection: Connection, first: str, last: str) -> dict[str, npt.NDArray[np.int32]]:
    """List the units that promote each concept of first..last (by code point), uids rising."""
    row = ConceptUnit
    uids: Any = func.list_sort(func.list(row.uid))
    chosen = select(row.concept, uids).where(row.concept.between(first, last))
    table = arrow_table(connection, chosen.group_by(row.concept).order_by(row.concept))
    names, lists = table.columns
    return {
        name: np.asarray(values.values.to_numpy(), np.int32)
        for name, values in zip(names.to_pylist(), lists, strict=True)
    }


def concept_layers(connection: Connection, concepts: Collection[str]) -> dict[str, dict[int, int]]:
    """Count the units that promote each of some concepts by layer: {concept: {layer: units}}."""
    row = ConceptUnit
    chosen = select(row.concept, row.layer, func.count()).where(row.concept.in_(sorted(concepts)))
    found: dict[str, dict[int, int]] = {}
    for concept, layer, n_units in connection.execute(chosen.group_by(row.concept, row.layer)):
        found.setdefault(concept, {})[layer] = n_units
    return found


def listed_units(connection: Connection, chosen: UnitList) -> tuple[ListedUnit, ...]:
    """Run the statement of a list; empty where the atlas lacks the experiment that it needs."""
    tables = "SELECT table_name FROM duckdb_tables()"
    if chosen.needs and chosen.needs not in connection.exec_driver_sql(tables).scalars().all():
        return ()
    rows = connection.exec_driver_sql(chosen.sql).all()
    units = summaries(connection, {row[0] for row in rows})
    return tuple(ListedUnit(units[row[0]], float(row[1])) for row in rows)


def covering_units(connection: Connection, limit: int) -> tuple[CoveringUnit, ...]:
    """List units that say and show a category by `COVERING_UNITS_SQL`, the first `limit` of them.

    Empty where no experiment looked for them.
    """
    tables = "SELECT table_name FROM duckdb_tables()"
    if "category_coverage" not in connection.exec_driver_sql(tables).scalars().all():
        return ()
    rows = connection.exec_driver_sql(COVERING_UNITS_SQL).fetchmany(limit)
    units = summaries(connection, {row[0] for row in rows})
    return tuple(CoveringUnit(units[row[0]], *row[1:4]) for row in rows)


def categories(connection: Connection) -> tuple[CategoryRecord, ...]:
    """List the categories by their kind, each with the units that stand for it."""
    rows = connection.exec_driver_sql(CATEGORY_UNITS_SQL).all()
    units = summaries(connection, {row[1] for row in rows})
    standing = {
        key: tuple(StandingUnit(units[row[1]], *row[2:5]) for row in group)
        for key, group in groupby(rows, key=itemgetter(0))
    }
    found = connection.exec_driver_sql(_CATEGORIES_SQL)
    return tuple(
        CategoryRecord(row[0], row[1], row[2], row[3], standing.get(row[0], ())) for row in found
    )
