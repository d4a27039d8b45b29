"""The static site on the API's own port: files of one folder, and nothing outside of it."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from apiflask import APIFlask
from flask import Response, redirect, request, send_file, url_for
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

from api import embed

#: Told here because they differ between operating systems, or are missing there.
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}


def register(app: APIFlask, folder: Path | None) -> None:
    """Serve `folder` under `/`; without one, `/` leads to the API's own page."""
    if folder is None:

        @app.get("/")
        @app.doc(hide=True)
        def lead_to_docs() -> Response:
            return redirect(url_for("show_docs"))  # type: ignore[return-value]

        return
    root = folder.resolve()

    @app.get("/")
    @app.get("/<path:path>")
    @app.doc(hide=True)
    def send_site_file(path: str = "") -> Response:
        if path == "api" or path.startswith("api/"):
            raise NotFound
        return _send(root, path)


def _send(root: Path, path: str) -> Response:
    """Send the file at `path` below `root`; the site's own 404.html if there is none."""
    found = _find(root, path)
    if found is None:
        return _not_found(root)
    if found.is_dir():
        if path and not path.endswith("/"):
            return redirect(f"{request.path.rsplit('/', 1)[-1]}/")  # type: ignore[return-value]
        found = found / "index.html"
        if not found.is_file():
            return _not_found(root)
    return embed.add_discovery(_file(found))


def _find(root: Path, path: str) -> Path | None:
    joined = safe_join(str(root), path) if path else str(root)
    if joined is None or "\0" in path:
        return None
    found = Path(joined)
    try:
        there = found.is_dir() if path.endswith("/") else found.exists()
        return found if there else None
    except OSError:  # a name longer than the file system takes
        return None


def _file(path: Path) -> Response:
    kind = _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
    response = send_file(path, mimetype=kind or "application/octet-stream", conditional=True)
    response.headers["Cache-Control"] = "public, no-cache"
    return response


def _not_found(root: Path) -> Response:
    page = root / "404.html"
    if not page.is_file():
        raise NotFound
    return Response(page.read_bytes(), 404, mimetype="text/html")
