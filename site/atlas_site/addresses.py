"""Where each page lies in the site: short, stable, made of numbers and slugs alone.

Every address is relative to the site's root and has no leading slash; `base_of` gives what leads
from a page back to the root, so that the site works from any folder of any host.
"""

from __future__ import annotations

#: The hand-written pages that filled pages point at.
FRONT_PAGE = "index.html"
LAYERS_PAGE = "layers.html"
EXPLORE_PAGE = "explore.html"
CATEGORIES_PAGE = "categories.html"
CONCEPTS_PAGE = "concepts.html"
IMAGES_PAGE = "images.html"
METHOD_PAGE = "method.html"
REPORT_PAGE = "report.html"
SQL_PAGE = "sql.html"
ABOUT_PAGE = "about.html"

#: The page that MkDocs renders for the filler.
SHELL_PAGE = "shell.html"


def unit_address(layer: int, unit: int) -> str:
    """Name a unit's page."""
    return f"u/{layer}/{unit}.html"


def group_address(layer: int, group_index: int) -> str:
    """Name a page that units without one of their own share."""
    return f"u/{layer}/g{group_index}.html"


def grouped_address(layer: int, unit: int, group: int) -> str:
    """Name a unit's place on the page that it shares with those around it."""
    return f"{group_address(layer, unit // group)}#U{unit}"


def image_address(image_id: int) -> str:
    """Name an image's page."""
    return f"i/{image_id}.html"


def attributions_address(image_id: int) -> str:
    """Name the page of all attributions of an image."""
    return f"i/{image_id}-all.html"


def thumbnail_address(image_id: int) -> str:
    """Name an image's picture."""
    return f"img/{image_id}.webp"


def concept_address(slug: str) -> str:
    """Name a concept's page."""
    return f"c/{slug}.html"


def layer_address(layer: int) -> str:
    """Name a layer's page."""
    return f"l/{layer}.html"


def list_address(first_page: str, number: int) -> str:
    """Name part `number`, from 1, of a list whose first part is a hand-written page."""
    return first_page if number == 1 else f"browse/{first_page.removesuffix('.html')}-{number}.html"


def base_of(address: str) -> str:
    """Lead from a page to the site's root: `""`, `"../"` or `"../../"`."""
    return "../" * address.count("/")
