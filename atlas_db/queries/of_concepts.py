"""Concepts: which units promote a word, its family, and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from atlas_db.concepts import fold, stem
from atlas_db.errors import NotInAtlasError
from atlas_db.queries.of_units import summaries
from atlas_db.queries.paging import check_page, next_offset
from atlas_db.queries.statements import bulk_rows, collector_paused
from atlas_db.records import (
    ConceptRecord,
    ConceptSummary,
    ConceptUnit,
    Page,
    RelatedConcept,
)
from atlas_db.schema import Concept, ConceptNeighbour
from atlas_db.schema import ConceptUnit as ConceptUnitRow

#: Edits (of letters left out, added, changed or swapped) that a fuzzy search forgives.
MAX_EDITS = 2
MATCHES = ("exact", "family", "related")
#: Orders of a concept's units: those that show it in most exemplars first, or by probability.
CONCEPT_SORTS = ("shown", "prob")
#: Units that each record of `concept_records` lists.
N_CONCEPT_UNITS = 100

_BLOCK = 500
_N_SUGGESTIONS = 5

_SUMMARY: tuple[Any, ...] = (
    Concept.concept, Concept.slug, Concept.stem, Concept.n_units, Concept.n_layers,
    Concept.best_prob,
)  # fmt: skip


def concepts(
    connection: Connection,
    *,
    prefix: str = "",
    fuzzy: bool = False,
    limit: int = 50,
    offset: int = 0,
) -> Page[ConceptSummary]:
    """List concepts that begin with a prefix, those of most units first.

    Args:
        prefix: Folded before it is looked up; without one, all concepts.
        fuzzy: List instead concepts within `MAX_EDITS` edits of the whole word (one edit for
            words of up to four letters), nearest first.

    Raises:
        ValueError: A limit below 1 or an offset below 0.
    """
    check_page(limit, offset)
    folded = fold(prefix)
    order: tuple[Any, ...] = (Concept.n_units.desc(), Concept.concept)
    condition: ColumnElement[bool] = Concept.concept.startswith(folded or "", autoescape=True)
    if fuzzy and folded is not None:
        condition, distance = _near(folded)
        order = (distance, *order)
    elif prefix and folded is None:
        return Page((), 0, None)
    total = connection.execute(select(func.count()).select_from(Concept).where(condition))
    n_concepts = int(total.scalar_one())
    rows = connection.execute(
        select(*_SUMMARY).where(condition).order_by(*order).limit(limit).offset(offset)
    ).all()
    return Page(
        tuple(ConceptSummary(*row) for row in rows),
        n_concepts,
        next_offset(offset, len(rows), n_concepts),
    )


def _near(word: str) -> tuple[ColumnElement[bool], ColumnElement[int]]:
    edits = 1 if len(word) <= 4 else MAX_EDITS
    distance = func.damerau_levenshtein(Concept.concept, word)
    length = func.length(Concept.concept)
    # Lengths are compared first: they are cheap, and rule out most concepts.
    alike = and_(length >= len(word) - edits, length <= len(word) + edits, distance <= edits)
    return alike, distance


def concept(
    connection: Connection,
    word: str,
    *,
    match: str = "exact",
    sort: str = "shown",
    limit: int = 100,
    offset: int = 0,
) -> ConceptRecord:
    """Tell which units promote a word, those first that are also most active where it is shown.

    Args:
        word: Folded before it is looked up.
        match: "exact"; "family" adds the units of concepts of the same stem, and answers for a
            word that is no concept but has a family; "related" adds the units of the concepts
            that lie near in the unembedding.
        sort: "shown": by falling `n_shown`, then probability; "prob": by falling probability.
        limit: How many units to list, from `offset`.

    Raises:
        ValueError: An unknown match or sort, a limit below 1 or an offset below 0.
        NotInAtlasError: No unit promotes it; the message suggests what is near.
    """
    if match not in MATCHES:
        raise ValueError(f"match must be one of {', '.join(MATCHES)}, got {match!r}")
    if sort not in CONCEPT_SORTS:
        raise ValueError(f"sort must be one of {', '.join(CONCEPT_SORTS)}, got {sort!r}")
    check_page(limit, offset)
    folded = fold(word)
    if folded is None:
        raise NotInAtlasError(f"{word!r} has nothing to look up: give a word with letters.")
    kin = _summaries(connection, Concept.stem == stem(folded))
    own = next((one for one in kin if one.concept == folded), None)
    if own is None and not (match == "family" and kin):
        raise NotInAtlasError(_no_unit_promotes(connection, folded, kin))
    summary = own or kin[0]
    related = _related(connection, ConceptNeighbour.concept == summary.concept)
    family = tuple(one for one in kin if one.concept != summary.concept)
    wanted = {summary.concept}
    if match == "family":
        wanted |= {one.concept for one in family}
    elif match == "related":
        wanted |= {one.concept for one in related.get(summary.concept, ())}
    found = _units(connection, wanted, _order(sort), limit=limit, offset=offset)
    return ConceptRecord(summary, found, family, related.get(summary.concept, ()))


def _summaries(connection: Connection, condition: ColumnElement[bool]) -> list[ConceptSummary]:
    order = (Concept.n_units.desc(), Concept.concept)
    rows = connection.execute(select(*_SUMMARY).where(condition).order_by(*order))
    return [ConceptSummary(*row) for row in rows]


def _no_unit_promotes(connection: Connection, folded: str, kin: list[ConceptSummary]) -> str:
    near = concepts(connection, prefix=folded, fuzzy=True, limit=_N_SUGGESTIONS).rows
    begun = concepts(connection, prefix=folded, limit=_N_SUGGESTIONS).rows
    names = list(dict.fromkeys(one.concept for one in (*kin, *near, *begun)))[:_N_SUGGESTIONS]
    hint = f"Near it: {', '.join(names)}." if names else "Try a shorter or more common word."
    return f"No unit promotes {folded!r}. {hint}"


def _order(sort: str) -> tuple[str, ...]:
    """Name the columns of `concept_units` that an order of units falls by."""
    return ("n_shown", "prob") if sort == "shown" else ("prob",)


def _units(
    connection: Connection, wanted: set[str], falling: tuple[str, ...], *, limit: int, offset: int
) -> tuple[ConceptUnit, ...]:
    """List the units that promote any of some concepts, each once, by its best."""
    row = ConceptUnitRow
    columns = (row.uid, row.concept, row.rank, row.token, row.prob, row.n_shown)
    chosen: Any = select(*columns).where(row.concept.in_(sorted(wanted)))
    if len(wanted) > 1:
        best = (*(getattr(row, name).desc() for name in falling), row.concept)
        place = func.row_number().over(partition_by=row.uid, order_by=best)
        every = chosen.add_columns(place.label("place")).subquery()
        chosen = select(*every.c[: len(columns)]).where(every.c.place == 1)
    of = chosen.selected_columns
    order = (*(of[name].desc() for name in falling), of.uid)
    rows = bulk_rows(connection, chosen.order_by(*order).limit(limit).offset(offset))
    units = summaries(connection, {row[0] for row in rows})
    return tuple(ConceptUnit(units[row[0]], *row[1:]) for row in rows)


def _related(
    connection: Connection, condition: ColumnElement[bool]
) -> dict[str, tuple[RelatedConcept, ...]]:
    near = ConceptNeighbour
    rows = connection.execute(
        select(near.concept, near.neighbour, Concept.slug, near.cosine, Concept.n_units)
        .join(Concept, Concept.concept == near.neighbour)
        .where(condition)
        .order_by(near.concept, near.rank)
    ).all()
    return {
        key: tuple(RelatedConcept(*row[1:]) for row in group)
        for key, group in groupby(rows, key=itemgetter(0))
    }


def concept_records(
    connection: Connection, first: str | None = None, last: str | None = None
) -> Iterator[ConceptRecord]:
    """Give the records of concepts in their order, each with its first 100 units.

    Args:
        first, last: Between which concepts by code point, both included; all by default.
    """
    wanted: ColumnElement[bool] = Concept.concept.is_not(None)
    if first is not None:
        wanted = and_(wanted, Concept.concept >= first)
    if last is not None:
        wanted = and_(wanted, Concept.concept <= last)
    kin = _summaries(connection, Concept.stem.in_(select(Concept.stem).where(wanted)))
    families: dict[str, list[ConceptSummary]] = {}
    for one in kin:
        families.setdefault(one.stem, []).append(one)
    chosen = sorted(_summaries(connection, wanted), key=lambda one: one.concept.encode())
    for start in range(0, len(chosen), _BLOCK):
        with collector_paused():
            block = _block(connection, chosen[start : start + _BLOCK], families)
        yield from block


def _block(
    connection: Connection, ones: list[ConceptSummary], families: dict[str, list[ConceptSummary]]
) -> list[ConceptRecord]:
    """Make the records of concepts that follow one another."""
    first, last = ones[0].concept, ones[-1].concept
    units = _first_units(connection, first, last)
    related = _related(connection, ConceptNeighbour.concept.between(first, last))
    return [
        ConceptRecord(
            one,
            units.get(one.concept, ()),
            tuple(other for other in families[one.stem] if other.concept != one.concept),
            related.get(one.concept, ()),
        )
        for one in ones
    ]


def _first_units(
    connection: Connection, first: str, last: str
) -> dict[str, tuple[ConceptUnit, ...]]:
    row = ConceptUnitRow
    order = (*(getattr(row, name).desc() for name in _order("shown")), row.uid)
    place = func.row_number().over(partition_by=row.concept, order_by=order).label("place")
    ranked = (
        select(row.concept, row.uid, row.rank, row.token, row.prob, row.n_shown, place)
        .where(row.concept.between(first, last))
        .subquery()
    )
    rows = bulk_rows(
        connection,
        select(*ranked.c[:6])
        .where(ranked.c.place <= N_CONCEPT_UNITS)
        .order_by(ranked.c.concept, ranked.c.place),
    )
    units = summaries(connection, {row[1] for row in rows})
    return {
        key: tuple(ConceptUnit(units[row[1]], key, *row[2:]) for row in group)
        for key, group in groupby(rows, key=itemgetter(0))
    }
