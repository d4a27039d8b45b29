"""What a user chooses about a site."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMAGES = ("embed", "link")

#: Megabytes up to which a file is offered for download.
DOWNLOADS_MB = 100


@dataclass(frozen=True, slots=True)
class SiteOptions:
    """Which part of an atlas becomes a site, and how.

    Raises:
        ValueError: An option is out of its range; says which.
    """

    layers: tuple[int, ...] | None = None  # all by default
    limit: int | None = None  # units that are gone through, from the first
    min_images: int = 0  # a unit in fewer images' top 100 has no page of its own
    group: int = 0  # how many of those share a page; 0: they have none
    images: str = "embed"  # "link": no photograph lies in the site
    downloads_mb: int = DOWNLOADS_MB  # files up to this size are put into the site
    site_url: str = ""  # where it will be published
    sql_page: bool = False  # SQL in the browser; fetches its engine by npm, once
    compare: Path | None = None  # a second atlas, to set beside the first

    def __post_init__(self) -> None:
        if self.images not in IMAGES:
            raise ValueError(f"images must be one of {', '.join(IMAGES)}, got {self.images!r}")
        for name in ("limit", "min_images", "group", "downloads_mb"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must be >= 0, got {value}")

    def as_json(self) -> dict[str, Any]:
        """Give the options as plain values, to be compared with those of an earlier build."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name in self.__dataclass_fields__
            for value in (getattr(self, name),)
        }
