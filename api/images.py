"""Addresses of images."""

from __future__ import annotations

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response

from api import schemas
from api.answers import answer, answer_page, atlas, connection, paging
from api.errors import ApiError
from api.http_caching import AN_HOUR, tag
from api.parameters import ImagePath, ImagesQuery, NoQuery
from atlas_db import queries

blueprint = APIBlueprint("images", __name__, tag="Images")


@blueprint.get("/images")
@blueprint.input(ImagesQuery, location="query")
@blueprint.output(schemas.ImagePage)
def list_images(query_data: ImagesQuery) -> Response:
    """Images, all or of one category"""
    place = paging(query_data)
    page = queries.images(
        connection(), category=query_data.category, limit=query_data.limit, offset=place.offset
    )
    return answer_page(page, place, "image_id")


@blueprint.get("/images/<image_id>")
@blueprint.input(ImagePath, location="path")
@blueprint.input(NoQuery, location="query")
@blueprint.output(schemas.Image)
def show_image(path_data: ImagePath, query_data: NoQuery, **_path: str) -> Response:
    """An image: its caption, its targets and the units that spoke of it"""
    return answer(queries.image(connection(), path_data.image_id))


@blueprint.get("/images/<image_id>/experiments")
@blueprint.input(ImagePath, location="path")
@blueprint.input(NoQuery, location="query")
@blueprint.output(schemas.ImageExperiments)
def show_image_experiments(path_data: ImagePath, query_data: NoQuery, **_path: str) -> Response:
    """What the experiments say of an image: its targets with units zeroed, its patches' tokens"""
    return answer(queries.image_experiments(connection(), path_data.image_id))


@blueprint.get("/images/<image_id>/thumbnail.webp")
@blueprint.input(ImagePath, location="path")
@blueprint.input(NoQuery, location="query")
@blueprint.output(FileSchema(), content_type="image/webp")
def show_thumbnail(path_data: ImagePath, query_data: NoQuery, **_path: str) -> Response:
    """The part of the photograph that the model saw, so that a heatmap lies over it exactly"""
    thumbnail = queries.thumbnail(connection(), path_data.image_id)
    if thumbnail is None:
        queries.image(connection(), path_data.image_id)  # or it is not in the atlas at all
        raise ApiError(
            404,
            "no_photograph",
            "This atlas keeps no photographs, only links to them.",
            "The image's record has `coco_url` and `source_url`.",
        )
    response = Response(thumbnail, mimetype="image/webp")
    return tag(response, atlas().etag, cache_control=AN_HOUR)
