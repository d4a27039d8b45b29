"""Addresses of concepts: the words that units promote."""

from __future__ import annotations

from dataclasses import replace

from apiflask import APIBlueprint
from flask import Response

from api import schemas
from api.answers import answer, answer_page, connection, link_to_next, paging
from api.parameters import ConceptPath, ConceptQuery, ConceptsQuery
from atlas_db import queries
from atlas_db.as_json import as_json

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

    Those first in most of whose exemplars' captions it is said (`n_shown`), then by falling
    probability. With `match=family` the units of all concepts of its stem, with `match=related`
    those of the concepts that lie near in the model's own unembedding.
    """
    place = paging(query_data)
    limit = query_data.limit
    record = queries.concept(
        connection(),
        path_data.concept,
        match=query_data.match,
        sort=query_data.sort,
        limit=limit + 1,  # one more, to see whether there are more
        offset=place.offset,
    )
    more = len(record.units) > limit
    cursor = place.next_cursor(place.offset + limit if more else None)
    shown = replace(record, units=record.units[:limit])
    return link_to_next(answer({**as_json(shown), "next_cursor": cursor}), cursor)
