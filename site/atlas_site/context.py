"""What every page needs to know of the atlas and of the part of it that is being built."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from atlas_db.records import AtlasInfo, UnitSummary
from atlas_site.addresses import concept_address, grouped_address, image_address, unit_address

#: What kind of page a unit has; also bits of `explore/flags.u8`.
NO_PAGE = 0
OWN_PAGE = 4
GROUPED = 8


@dataclass(frozen=True, slots=True)
class ConceptLink:
    """Where a concept's page lies and how many units stand on it."""

    slug: str
    n_units: int


@dataclass(frozen=True, slots=True)
class Scope:
    """Which units get pages: all, some layers, or the first `limit` of those.

    Units in fewer than `min_images` images' top 100 get none; or, where `group` is not 0, they
    share pages of `group` units that follow one another (the cut is then one image at least).
    """

    n_layers: int
    units_per_layer: int
    layers: frozenset[int] | None = None
    limit: int | None = None
    min_images: int = 0
    group: int = 0

    def __post_init__(self) -> None:
        wrong = sorted(layer for layer in self.layers or () if not 0 <= layer < self.n_layers)
        if wrong:
            raise ValueError(
                f"layers must be in 0..{self.n_layers - 1}, got {', '.join(map(str, wrong))}"
            )
        for name in ("limit", "min_images", "group"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")

    def chosen_layers(self) -> list[int]:
        """List the layers whose pages are built, rising."""
        return sorted(self.layers) if self.layers is not None else list(range(self.n_layers))

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Give, layer by layer, the uids to build as (first, stop)."""
        left = self.limit if self.limit is not None else self.n_layers * self.units_per_layer
        for layer in self.chosen_layers():
            first = layer * self.units_per_layer
            size = min(left, self.units_per_layer)
            if size > 0:
                yield first, first + size
            left -= size

    def n_units(self) -> int:
        """Count the units that are gone through."""
        return sum(stop - first for first, stop in self.ranges())

    def page_kinds(self, n_images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Say for every unit, by uid, which kind of page it has.

        Args:
            n_images: In how many images' top 100 each unit is, shape (n_units,).
        """
        kinds = np.zeros(len(n_images), np.uint8)
        cut = max(self.min_images, 1) if self.group else self.min_images
        for first, stop in self.ranges():
            below = GROUPED if self.group else NO_PAGE
            kinds[first:stop] = np.where(n_images[first:stop] >= cut, OWN_PAGE, below)
        return kinds


@dataclass(frozen=True, slots=True)
class Site:
    """The atlas as pages see it."""

    info: AtlasInfo
    kinds: npt.NDArray[np.uint8]  # of each unit's page, by uid
    group: int  # units on a shared page
    layers: frozenset[int]  # that get pages
    concepts: Mapping[str, ConceptLink]
    pictures: Collection[int]  # images whose thumbnail lies in the site
    #: `kinds` once more: a byte of bytes is had in a third of the time of one of an array.
    _kind_of: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_kind_of", self.kinds.astype(np.uint8).tobytes())

    @property
    def grid(self) -> tuple[int, int]:
        return self.info.grid_rows, self.info.grid_columns

    def unit_link(self, base: str, unit: UnitSummary) -> str | None:
        """Lead to a unit's page, or None where it has none."""
        address = self.uid_link(unit.uid)
        return None if address is None else base + address

    def uid_link(self, uid: int) -> str | None:
        """Address a unit's page from the root, or None where it has none."""
        kind = self._kind_of[uid]
        if kind == NO_PAGE:
            return None
        layer, unit = divmod(uid, self.info.units_per_layer)
        if kind == GROUPED:
            return grouped_address(layer, unit, self.group)
        return unit_address(layer, unit)

    def image_link(self, base: str, image_id: int) -> str:
        """Lead to an image's page."""
        return base + image_address(image_id)

    def concept_link(self, base: str, concept: str | None) -> str | None:
        """Lead to a concept's page, or None for what no unit promotes."""
        known = self.concepts.get(concept) if concept is not None else None
        return None if known is None else base + concept_address(known.slug)
