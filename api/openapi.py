"""The OpenAPI document, made from the views and schemas, and its page.

The page is Swagger UI from the package that bundles it: it is served from here and asks no other
host for anything, and its Content-Security-Policy holds it to that.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import flask_swagger_ui
from apiflask import APIFlask
from flask import Response, redirect, send_from_directory, url_for
from werkzeug.exceptions import NotFound

from api import schemas

DESCRIPTION = """\
Units of a language model that turn what a picture shows into words: what each says, what each
sees, and in which images it spoke.

* A unit is `layer` and `unit`, both counted from 0, and printed `L12.U9058`.
* Lists give `rows`, their `total` and a `next_cursor`; give it back as `cursor` for the next rows.
* Whatever goes wrong is answered with `{"error": {"code", "message", "hint"}}`.
* A heatmap in JSON is the base64 text of its bytes; as a picture it is at
  `/api/v1/units/{layer}/{unit}/exemplars/{rank}/heatmap.png`.
* Answers have an ETag that changes with the atlas alone.
"""
_ERRORS = {
    "400": "a parameter is unknown or not as it must be",
    "404": "it is not in this atlas",
    "414": "the address is too long",
    "429": "too many requests; the header Retry-After says when to try again",
    "503": "the server has no atlas that it can read at the moment",
}
_OF_CURSORS = {"409": "the cursor belongs to another query or another atlas"}
_OF_EXPERIMENTS = {"422": "no experiment measured what a filter or the sort asks for"}
_OF_SQL = {
    "403": "the statement is none that this server runs",
    "409": "the statement is wrong, or takes too much time or memory",
}
_OF_BODIES = {"413": "the body is too long", "415": "the body is not JSON"}
_ROWS_ALONE = ("text/csv", "application/x-ndjson")
#: Content types beside JSON, by operation.
_OTHER_TYPES = {
    "sql": (*_ROWS_ALONE, "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"),
    "units": _ROWS_ALONE,
    "units/{layer}/{unit}": ("text/html",),
    "concepts": _ROWS_ALONE,
    "images": _ROWS_ALONE,
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_BUNDLE = Path(flask_swagger_ui.__file__).parent / "dist"
_BUNDLED = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_OURS = ("page.css", "page.js")


def register(app: APIFlask) -> None:
    """Describe `app` at `/api/openapi.json`, and show it at `/api/docs`."""
    app.spec_processor(complete)  # type: ignore[arg-type]

    @app.get("/api/docs")
    @app.doc(hide=True)
    def show_docs() -> Response:
        page = files("api").joinpath("docs_page", "index.html").read_text(encoding="utf-8")
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "public, no-cache"}
        return Response(page, mimetype="text/html", headers=headers)

    @app.get("/api/")
    @app.get("/api/docs/")
    @app.doc(hide=True)
    def lead_from_slash() -> Response:
        return redirect(url_for("show_docs"))  # type: ignore[return-value]

    @app.get("/api/docs/<name>")
    @app.doc(hide=True)
    def send_docs_file(name: str) -> Response:
        if name in _BUNDLED:
            return send_from_directory(_BUNDLE, name)
        if name in _OURS:
            return send_from_directory(str(files("api") / "docs_page"), name)
        raise NotFound


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add the errors that every address shares, name each schema once, drop second addresses.

    APIFlask names a nested model `Parent.Child`, once for each parent; all of them are the same
    model, so the parent is dropped.
    """
    components = document["components"]["schemas"]
    for model in (schemas.ErrorDetail, schemas.ErrorAnswer):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        components[model.__name__] = schema
    paths = document["paths"]
    document["paths"] = {path: paths[path] for path in paths if path.startswith("/api/v1/")}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _add_shared_answers(operation)
            _add_types(operation, path.removeprefix("/api/v1/"))
            operation["parameters"] = [_parameter(one) for one in operation["parameters"]]
            operation["parameters"].sort(key=lambda one: one["in"] != "path")
    document["components"]["schemas"] = {
        name.rpartition(".")[2]: schema for name, schema in sorted(components.items())
    }
    text = re.sub(r"(#/components/schemas/)\w+\.(\w+)", r"\1\2", json.dumps(document))
    result: dict[str, Any] = json.loads(text)
    return result


def _parameter(described: dict[str, Any]) -> dict[str, Any]:
    """Move a description from a parameter's schema to the parameter, where pages show it.

    A parameter that is an object is written as JSON, which OpenAPI says in `content`.
    """
    schema = described.pop("schema")
    schema.pop("title", None)
    described["description"] = schema.pop("description", "")
    if schema.get("type") == "object":
        return {**described, "content": {"application/json": {"schema": schema}}}
    return {**described, "schema": schema}


def _add_types(operation: dict[str, Any], name: str) -> None:
    content = operation["responses"]["200"].get("content", {})
    for kind in _OTHER_TYPES.get(name, ()):
        content[kind] = {"schema": {"type": "string"}}


def _add_shared_answers(operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    errors = dict(_ERRORS)
    if any(one["name"] == "cursor" for one in operation["parameters"]):
        errors |= _OF_CURSORS
    if any(one["name"] == "min_iou" for one in operation["parameters"]):
        errors |= _OF_EXPERIMENTS
    if operation["operationId"].endswith("_sql"):
        errors |= _OF_SQL
    if "requestBody" in operation:
        operation["requestBody"]["required"] = True
        errors |= _OF_BODIES
    else:
        answers["304"] = {"description": "the client has it already (If-None-Match)"}
    for status, description in errors.items():
        answers[status] = {
            "description": description,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}
            },
        }
