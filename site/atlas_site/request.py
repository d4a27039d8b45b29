"""What a site is filled from, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from atlas_site.options import SiteOptions

#: Called with the name of a stage, the steps of it that are done and how many it has.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class FillRequest:
    """Which atlas to fill a site from, and how."""

    database: Path
    options: SiteOptions = field(default_factory=SiteOptions)
    processes: int | None = None
    with_policy: bool = True  # off where a development server adds scripts of its own
    stamp: str = ""  # of all that the site is made of; "" where it is not known
    progress: Progress | None = None

    def tell(self, stage: str, done: int, total: int) -> None:
        """Report progress, if anybody listens."""
        if self.progress is not None:
            self.progress(stage, done, total)


@dataclass(frozen=True, slots=True)
class SiteReport:
    """What a build made."""

    out: Path
    n_units: int  # with pages of their own
    n_grouped: int  # on shared pages
    n_images: int
    n_concepts: int
    n_layers: int
    n_written: int
    n_unchanged: int
    n_removed: int
    n_bytes: int
    seconds: float
    is_as_before: bool = False  # nothing was made anew: no input and no file has changed

    def __str__(self) -> str:
        if self.is_as_before:
            return (
                f"nothing has changed since the last build: {self.n_unchanged:,} files, "
                f"{self.n_bytes / 1e6:,.1f} MB, looked through in {self.seconds:.1f} s"
            )
        shared = f" and {self.n_grouped:,} on shared pages" if self.n_grouped else ""
        return (
            f"{self.n_units:,} units{shared}, {self.n_images:,} images, "
            f"{self.n_concepts:,} concepts, {self.n_layers:,} layers; {self.n_written:,} files "
            f"written, {self.n_unchanged:,} unchanged, {self.n_removed:,} removed, "
            f"{self.n_bytes / 1e6:,.1f} MB in {self.seconds:.1f} s"
        )
