"""The one error shape: {"error": {"code", "message", "hint"}} for whatever goes wrong.

No answer holds a stack trace or the name of a file on the server; the server's log has both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from apiflask import APIFlask, HTTPError
from flask import Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from atlas_db.as_json import dumps
from atlas_db.errors import AtlasFileError, NotInAtlasError, NotMeasuredError

LOG = logging.getLogger("neuron_atlas.api")

#: Of statuses that Flask raises by itself: code and hint.
_KNOWN = {
    400: ("bad_request", 'Send a JSON object such as {"q": "SELECT 1"}; see /api/docs.'),
    404: ("unknown_address", "All addresses are listed at /api/docs."),
    405: ("method_not_allowed", "The API is read-only: use GET or HEAD (POST at /api/v1/sql)."),
    413: ("body_too_long", "Shorten the body: a statement is of 10 kB at most."),
    415: ("not_json", "Send JSON, with the header Content-Type: application/json."),
    414: ("address_too_long", "Shorten the address."),
}


class ApiError(Exception):
    """An answer other than the one that was asked for.

    Attributes:
        status: Of HTTP, 400 and above.
        code: One word for programs.
        message: For people: what was got and what was wanted.
        hint: What to do.
        headers: Of the answer, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint

    def response(self, headers: Any = None) -> Response:
        """Make the answer; `headers` are added (such as Allow)."""
        body = {"error": {"code": self.code, "message": self.message, "hint": self.hint}}
        response = Response(dumps(body) + "\n", self.status, mimetype="application/json")
        response.headers.extend(headers or {})
        response.headers.extend(self.headers)
        response.headers["Content-Type"] = "application/json"
        response.headers["Cache-Control"] = "no-store"
        return response


def register(app: APIFlask, clauses: Callable[[ValidationError], list[str]]) -> None:
    """Answer in the one shape whatever is raised while `app` handles a request.

    Args:
        app: Its views raise.
        clauses: Says what is wrong with what does not validate (`api.validation`).
    """
    app.register_error_handler(ApiError, lambda error: error.response())
    app.register_error_handler(NotInAtlasError, _not_in_atlas)
    app.register_error_handler(NotMeasuredError, _not_measured)
    app.register_error_handler(AtlasFileError, _no_atlas)
    app.register_error_handler(Exception, _unexpected)
    # APIFlask's own, of a request that does not validate.
    app.error_processor(lambda error: _invalid(error, clauses))
    app.register_error_handler(HTTPException, _http_exception)  # last: the line above sets one too


def _not_in_atlas(error: NotInAtlasError) -> Response:
    hint = "List what there is at /api/v1/units, /api/v1/concepts and /api/v1/images."
    return ApiError(404, "not_in_atlas", str(error), hint).response()


def _not_measured(error: NotMeasuredError) -> Response:
    hint = "Leave that filter or sort out; an atlas has what its experiments measured."
    return ApiError(422, "not_measured", str(error), hint).response()


def _no_atlas(error: AtlasFileError) -> Response:
    LOG.error("the atlas cannot be read: %s", error)
    return ApiError(
        503,
        "no_atlas",
        "This server has no atlas that it can read at the moment.",
        "Try again later. Its operator finds the reason in the server's log.",
    ).response({"Retry-After": "10"})


def _invalid(error: HTTPError, clauses: Callable[[ValidationError], list[str]]) -> Response:
    """Say what is wrong with a query, a path or a body, one clause for each parameter."""
    cause = error.__cause__
    found = clauses(cause) if isinstance(cause, ValidationError) else ()
    return ApiError(
        error.status_code,
        "bad_parameter",
        (". ".join(found) or error.message or "The request is not understood") + ".",
        "All parameters and what they take are listed at /api/docs.",
    ).response()


def _http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect is an answer, not an error
        return error.get_response(request.environ)  # type: ignore[return-value]
    phrase = HTTPStatus(status).phrase
    code, hint = _KNOWN.get(status, (phrase.lower().replace(" ", "_"), "See /api/docs."))
    message = f"{request.method} {request.path[:200]}: {phrase.lower()}."
    if status == 400 and request.method == "POST":
        message = f"The body is not JSON: {_beginning(request.get_data())}."
    return ApiError(status, code, message, hint).response(error.get_headers(request.environ))


def _beginning(body: bytes) -> str:
    return f"it begins with {body[:60].decode('utf-8', 'replace')!r}" if body else "it is empty"


def _unexpected(error: Exception) -> Response:
    LOG.exception("%s %s failed", request.method, request.path, exc_info=error)
    return ApiError(
        500,
        "internal_error",
        "The server failed to answer; this is a fault of its own.",
        "Try again. If it stays so, report the address and the time.",
    ).response()
