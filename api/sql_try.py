"""The page on which SQL is tried: files of this package alone, held to that by their policy."""

from __future__ import annotations

from importlib.resources import files

from apiflask import APIFlask
from flask import Response, redirect, send_from_directory, url_for
from werkzeug.exceptions import NotFound

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = ("page.css", "page.js")


def register(app: APIFlask) -> None:
    """Show the page at `/api/sql`."""
    folder = files("api") / "sql_page"

    @app.get("/api/sql")
    @app.doc(hide=True)
    def show_sql_page() -> Response:
        page = folder.joinpath("index.html").read_text(encoding="utf-8")
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "public, no-cache"}
        return Response(page, mimetype="text/html", headers=headers)

    @app.get("/api/sql/")
    @app.doc(hide=True)
    def lead_to_sql_page() -> Response:
        return redirect(url_for("show_sql_page"))  # type: ignore[return-value]

    @app.get("/api/sql/<name>")
    @app.doc(hide=True)
    def send_sql_page_file(name: str) -> Response:
        if name not in _FILES:
            raise NotFound
        return send_from_directory(str(folder), name)
