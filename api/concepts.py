"""Addresses of concepts: the words that units promote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from apiflask import APIBlueprint
from flask import Response

from api import schemas
from api.answers import (
    Paging,
    answer,
    answer_page,
    atlas,
    connection,
    link_to_next,
    paging,
    ready_response,
)
from api.parameters import ConceptPath, ConceptQuery, ConceptsQuery
from atlas_db import queries
from atlas_db.as_json import as_json
from atlas_db.concepts import fold
from atlas_db.ready_answers import N_CONCEPT_UNITS

blueprint = APIBlueprint("concepts", __name__, tag="Concepts")


@blueprint.get("/concepts")
@blueprint.input(ConceptsQuery, location="query")
@blueprint.output(schemas.ConceptPage)
def list_concepts(query_data: ConceptsQuery) -> Response:
    """Concepts by their beginning, or spelt nearly so"""
    place = paging(query_data)
    page = queries.concepts(
        connection(),
        prefix=query_data.prefix,
        fuzzy=query_data.fuzzy,
        limit=query_data.limit,
        offset=place.offset,
    )
    return answer_page(page, place, "concept")


@blueprint.get("/concepts/<text:concept>")
@blueprint.input(ConceptPath, location="path")
@blueprint.input(ConceptQuery, location="query")
@blueprint.output(schemas.Concept)
def show_concept(path_data: ConceptPath, query_data: ConceptQuery, **_path: str) -> Response:
    """A concept and the units that promote it

    With `match=family` the units of all concepts of its stem, with `match=related` those of the
    concepts that lie near in the model's own unembedding.
    """
    place = paging(query_data)
    limit = query_data.limit
    ready = _ready(path_data.concept, query_data, place)
    if ready is not None:
        return ready
    record = queries.concept(
        connection(),
        path_data.concept,
        match=query_data.match,
        limit=limit + 1,  # one more, to see whether there are more
        offset=place.offset,
    )
    more = len(record.units) > limit
    cursor = place.next_cursor(place.offset + limit if more else None)
    shown = replace(record, units=record.units[:limit])
    return link_to_next(answer({**as_json(shown), "next_cursor": cursor}), cursor)


def _ready(word: str, query: Any, place: Paging) -> Response | None:
    """Answer the plain question for a concept, without filters, from what is ready."""
    folded = fold(word)
    is_plain = query.match == "exact" and query.cursor is None and query.limit == N_CONCEPT_UNITS
    if folded is None or not is_plain:
        return None
    found = atlas().answers.concept(folded)
    if found is None:
        return None
    cursor = place.next_cursor(query.limit if found.n_units > query.limit else None)
    return link_to_next(ready_response(found.packed, last={"next_cursor": cursor}), cursor)
