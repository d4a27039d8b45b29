"""Addresses of the atlas, its layers and its units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response

from api import schemas
from api.answers import answer, answer_page, atlas, connection, paging
from api.embed import unit_frame
from api.errors import ApiError
from api.heatmap_png import render
from api.http_caching import AN_HOUR, client_has, tag
from api.parameters import (
    ExemplarPath,
    HeatmapQuery,
    NoQuery,
    SimilarQuery,
    UnitPath,
    UnitQuery,
    UnitsQuery,
)
from atlas_db import queries
from atlas_db.as_json import as_json
from atlas_db.errors import NotInAtlasError
from atlas_db.queries.of_exemplars import exemplar, negative_exemplar
from atlas_db.records import ExemplarRecord, Page

blueprint = APIBlueprint("units", __name__, tag="Units")


@blueprint.get("/atlas")
@blueprint.input(NoQuery, location="query")
@blueprint.output(schemas.Atlas)
def show_atlas(query_data: NoQuery) -> Response:
    """Where the atlas comes from, and its counts"""
    return answer(atlas().info)


@blueprint.get("/layers")
@blueprint.input(NoQuery, location="query")
@blueprint.output(schemas.Layers)
def list_layers(query_data: NoQuery) -> Response:
    """All layers, and how much of each speaks of pictures"""
    return answer({"rows": queries.layers(connection())})


@blueprint.get("/experiments")
@blueprint.input(NoQuery, location="query")
@blueprint.output(schemas.Experiments)
def list_experiments(query_data: NoQuery) -> Response:
    """The experiments that were run on this atlas, with their figures and controls"""
    return answer({"rows": queries.experiments(connection())})


@blueprint.get("/units")
@blueprint.input(UnitsQuery, location="query")
@blueprint.output(schemas.UnitPage)
def list_units(query_data: UnitsQuery) -> Response:
    """Units, filtered and sorted"""
    place = paging(query_data)
    asked: dict[str, Any] = {
        "layer": query_data.layer,
        "min_images": query_data.min_images,
        "interpretable": query_data.interpretable,
        "always_on": query_data.always_on,
        "concept": query_data.concept,
        "min_iou": query_data.min_iou,
        "min_effect": query_data.min_effect,
        "sort": query_data.sort,
        "limit": query_data.limit,
        "offset": place.offset,
    }
    page: Page[Any] | None = _from_summaries(asked) if atlas().answers.are_there() else None
    return answer_page(page or queries.units(connection(), **asked), place, "uid")


def _from_summaries(asked: Mapping[str, Any]) -> Page[dict[str, Any]] | None:
    """List units whose summaries need not be worked out; None if one is missing."""
    uids = atlas().orders.uids(connection, **asked)
    rows = atlas().answers.summaries(uids.rows)
    return None if rows is None else Page(tuple(rows), uids.total, uids.next_offset)


@blueprint.get("/units/<layer>/<unit>")
@blueprint.input(UnitPath, location="path")
@blueprint.input(UnitQuery, location="query")
@blueprint.output(schemas.Unit)
def show_unit(path_data: UnitPath, query_data: UnitQuery, **_path: str) -> Response:
    """What a unit says and sees; with `embed=1` as a small page for a frame"""
    unit = queries.unit(connection(), path_data.layer, path_data.unit)
    return answer(unit) if query_data.embed is None else unit_frame(as_json(unit))


@blueprint.get("/units/<layer>/<unit>/similar")
@blueprint.input(UnitPath, location="path")
@blueprint.input(SimilarQuery, location="query")
@blueprint.output(schemas.SimilarUnits)
def list_similar(path_data: UnitPath, query_data: SimilarQuery, **_path: str) -> Response:
    """Units whose write vectors point nearly the same way"""
    info = atlas().info
    if path_data.layer >= info.n_layers or path_data.unit >= info.units_per_layer:
        raise NotInAtlasError(
            f"There is no unit L{path_data.layer}.U{path_data.unit} in this atlas: its layers are "
            f"0 to {info.n_layers - 1}, the units of each 0 to {info.units_per_layer - 1}."
        )
    uid = path_data.layer * info.units_per_layer + path_data.unit
    return answer({"rows": queries.similar_units(connection(), uid, limit=query_data.limit)})


@blueprint.get("/units/<layer>/<unit>/experiments")
@blueprint.input(UnitPath, location="path")
@blueprint.input(NoQuery, location="query")
@blueprint.output(schemas.UnitExperiments)
def show_unit_experiments(path_data: UnitPath, query_data: NoQuery, **_path: str) -> Response:
    """What the experiments say of a unit: how much to believe it, and its passages of text"""
    return answer(queries.unit_experiments(connection(), path_data.layer, path_data.unit))


@blueprint.get("/units/<layer>/<unit>/exemplars/<rank>/heatmap.png")
@blueprint.input(ExemplarPath, location="path")
@blueprint.input(HeatmapQuery, location="query")
@blueprint.output(FileSchema(), content_type="image/png")
def draw_heatmap(path_data: ExemplarPath, query_data: HeatmapQuery, **_path: str) -> Response:
    """Where in one of its images a unit is active, as a picture

    Its colours run from the map's own least to its own greatest activation.
    """
    found = exemplar(connection(), path_data.layer, path_data.unit, path_data.rank)
    return _picture(found, query_data)


@blueprint.get("/units/<layer>/<unit>/negative_exemplars/<rank>/heatmap.png")
@blueprint.input(ExemplarPath, location="path")
@blueprint.input(HeatmapQuery, location="query")
@blueprint.output(FileSchema(), content_type="image/png")
def draw_negative_heatmap(
    path_data: ExemplarPath, query_data: HeatmapQuery, **_path: str
) -> Response:
    """Where in one of the images in which it is most negative a unit is active, as a picture

    Its dark end is where the unit is most negative. Units of plain MLPs have no such images.
    """
    found = negative_exemplar(connection(), path_data.layer, path_data.unit, path_data.rank)
    return _picture(found, query_data)


def _picture(found: ExemplarRecord, query_data: HeatmapQuery) -> Response:
    photograph = None
    if query_data.style != "heat":
        photograph = _photograph(found.image_id)
    etag = atlas().etag
    if client_has(etag):
        return tag(Response(mimetype="image/png"), etag, cache_control=AN_HOUR)
    info = atlas().info
    png = render(
        found.activations(),
        (info.grid_rows, info.grid_columns),
        style=query_data.style,
        size_px=query_data.size,
        photograph=photograph,
    )
    return tag(Response(png, mimetype="image/png"), etag, cache_control=AN_HOUR)


def _photograph(image_id: int) -> bytes:
    photograph = queries.thumbnail(connection(), image_id)
    if photograph is None:
        raise ApiError(
            404,
            "no_photograph",
            "This atlas keeps no photographs, only links to them.",
            "Ask for style=heat, and lay it over the photograph yourself.",
        )
    return photograph
