"""A unit in another page: a small page for a frame, and the oEmbed answer that leads to it.

The frame's page is the only one of the application that others may put into a frame, and all that
it loads are its own pictures: its Content-Security-Policy holds it to both.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from apiflask import APIBlueprint
from flask import Flask, Response, current_app, render_template, request
from markupsafe import Markup

from api import schemas
from api.answers import answer, atlas, connection
from api.http_caching import tag
from api.parameters import OembedQuery
from atlas_db import queries
from atlas_db.errors import NotInAtlasError
from atlas_db.records import unit_name

blueprint = APIBlueprint("embed", __name__, tag="Units")

WIDTH_PX, HEIGHT_PX = 560, 400
_N_EXEMPLARS = 6
_PICTURE_PX = 160
#: Of a unit, here and in the static site.
_SITE_PAGE = re.compile(r".*/u/([0-9]{1,9})/([0-9]{1,9})\.html")
_ADDRESSES = (re.compile(r".*/api/v1/units/([0-9]{1,9})/([0-9]{1,9})"), _SITE_PAGE)
_SITE = "site_folder"


def register(app: Flask, site: Path | None) -> None:
    """Let frames of `app` lead to the pages of the static site in `site`, where it has them."""
    app.extensions[_SITE] = site


@cache
def _style() -> str:
    return files("api").joinpath("templates", "embed.css").read_text(encoding="utf-8")


@cache
def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(_style().encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src 'self' data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors *"
    )


def unit_frame(unit: dict[str, Any]) -> Response:
    """Draw a unit's page for a frame.

    Args:
        unit: As the API answers it in JSON.
    """
    page = render_template(
        "embed.html",
        unit=unit,
        is_random=atlas().info.is_random,
        look="overlay" if _has_photographs(unit) else "heat",
        n_exemplars=_N_EXEMPLARS,
        page=_page_of(unit["layer"], unit["unit"]),
        discovery=_discovery(unit["layer"], unit["unit"], request.base_url),
        size=_PICTURE_PX,
        style=_style(),
    )
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = _policy()
    return tag(response, atlas().etag)


def _discovery(layer: int, unit: int, address: str) -> Markup:
    """Lead from a unit's page to its oEmbed answer, for blogs that are given the page's address."""
    answer_at = f"{request.host_url}api/v1/oembed?{urlencode({'url': address})}"
    return Markup(
        '<link rel="alternate" type="application/json+oembed" href="{}" title="{}">'
    ).format(answer_at, unit_name(layer, unit))


def add_discovery(response: Response) -> Response:
    """Lead from a page of the static site to its oEmbed answer, if it is a unit's."""
    found = _SITE_PAGE.fullmatch(request.path)
    if found is not None and response.status_code == 200:
        link = _discovery(int(found[1]), int(found[2]), request.base_url)
        response.direct_passthrough = False
        page = response.get_data()
        response.set_data(page.replace(b"</head>", f"{link}</head>".encode(), 1))
    return response


def _has_photographs(unit: dict[str, Any]) -> bool:
    shown = unit["exemplars"][:1]
    return any(queries.thumbnail(connection(), one["image_id"]) is not None for one in shown)


def _page_of(layer: int, unit: int) -> str:
    """Say where the frame's heading leads, from the unit's own address."""
    address = f"u/{layer}/{unit}.html"
    site: Path | None = current_app.extensions[_SITE]
    if site is not None and (site / address).is_file():
        return f"../../../../{address}"
    return str(unit)


@blueprint.get("/oembed")
@blueprint.input(OembedQuery, location="query")
@blueprint.output(schemas.Oembed)
def show_oembed(query_data: OembedQuery) -> Response:
    """How a unit is shown in another page (oEmbed 1.0)

    For the addresses of units here and in the static site beside this API.
    """
    layer, unit = _asked(query_data.url)
    name = unit_name(layer, unit)
    width = min(WIDTH_PX, query_data.maxwidth or WIDTH_PX)
    height = min(HEIGHT_PX, query_data.maxheight or HEIGHT_PX)
    source = escape(f"{request.host_url}api/v1/units/{layer}/{unit}?embed=1")
    frame = (
        f'<iframe src="{source}" width="{width}" height="{height}" title="{name}" '
        'loading="lazy" frameborder="0"></iframe>'
    )
    return answer(
        {
            "version": "1.0",
            "type": "rich",
            "title": name,
            "provider_name": "Neuron atlas",
            "provider_url": request.host_url,
            "width": width,
            "height": height,
            "html": frame,
        }
    )


def _asked(address: str) -> tuple[int, int]:
    """Read layer and unit out of an address.

    Raises:
        NotInAtlasError: It is none of a unit here.
    """
    try:
        parts = urlsplit(address)
    except ValueError:  # such as a bracket that is not closed
        parts = urlsplit("")
    info = atlas().info
    for pattern in _ADDRESSES:
        found = pattern.fullmatch(parts.path)
        if found is None or parts.netloc != request.host:
            continue
        layer, unit = int(found[1]), int(found[2])
        if layer < info.n_layers and unit < info.units_per_layer:
            return layer, unit
    raise NotInAtlasError(
        f"{address[:200]!r} is no unit here: wanted an address such as "
        f"{request.host_url}api/v1/units/0/0 or {request.host_url}u/0/0.html."
    )
