"""Watch a page in Chromium: whatever a script prints, fails to fetch or asks of another host."""

from __future__ import annotations

from typing import Any

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1440, "height": 900}
WALL = {"width": 1600, "height": 1000}

#: One page of each kind, of the synthetic atlas's site.
KINDS = [
    "index.html", "layers.html", "concepts.html", "images.html", "explore.html",
    "categories.html", "report.html", "method.html", "sql.html", "downloads.html", "compare.html",
    "api.html", "about.html", "u/1/4.html", "i/139.html", "i/139-all.html", "c/water.html",
    "l/1.html", "build.html", "own-model.html", "families.html", "scale.html",
]  # fmt: skip


def watch(page: Any, site_url: str, amiss: list[str]) -> None:
    """Add to `amiss` all that should not happen on `page`."""
    page.on("console", lambda message: amiss.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: amiss.append(f"error: {error}"))
    page.on("requestfailed", lambda request: _check_failure(request, amiss))
    page.on("request", lambda request: _check_host(request.url, site_url, amiss))


def _check_failure(request: Any, amiss: list[str]) -> None:
    # Leaving a page ends what was still on its way.
    if request.failure != "net::ERR_ABORTED":
        amiss.append(f"failed: {request.url} {request.failure}")


def _check_host(address: str, site_url: str, amiss: list[str]) -> None:
    if not address.startswith((site_url, f"blob:{site_url}", "data:")):
        amiss.append(f"foreign request: {address}")
