"""What every page needs to know of the atlas and of the part of it that is being built."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from atlas_db.records import AtlasInfo, UnitSummary
from atlas_site.addresses import concept_address, image_address, unit_address


@dataclass(frozen=True, slots=True)
class ConceptLink:
    """Where a concept's page lies and how many units stand on it."""

    slug: str
    n_units: int


@dataclass(frozen=True, slots=True)
class Scope:
    """Which units get pages: all, some layers, or the first `limit` of those."""

    n_layers: int
    units_per_layer: int
    layers: frozenset[int] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        wrong = sorted(layer for layer in self.layers or () if not 0 <= layer < self.n_layers)
        if wrong:
            raise ValueError(
                f"layers must be in 0..{self.n_layers - 1}, got {', '.join(map(str, wrong))}"
            )
        if self.limit is not None and self.limit < 0:
            raise ValueError(f"limit must be >= 0, got {self.limit}")

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
        """Count the units that get pages."""
        return sum(stop - first for first, stop in self.ranges())

    def merged(self) -> tuple[tuple[int, int], ...]:
        """Give the ranges of uids with those that touch joined: one for a whole atlas."""
        joined: list[tuple[int, int]] = []
        for first, stop in self.ranges():
            if joined and joined[-1][1] == first:
                joined[-1] = (joined[-1][0], stop)
            else:
                joined.append((first, stop))
        return tuple(joined)


@dataclass(frozen=True, slots=True)
class Site:
    """The atlas as pages see it."""

    info: AtlasInfo
    built: tuple[tuple[int, int], ...]  # ranges of uids that get pages
    layers: frozenset[int]  # that get pages
    concepts: Mapping[str, ConceptLink]
    pictures: Collection[int]  # images whose thumbnail lies in the site

    @property
    def grid(self) -> tuple[int, int]:
        return self.info.grid_rows, self.info.grid_columns

    def has_unit(self, uid: int) -> bool:
        """Tell whether a unit has a page in this build."""
        return any(first <= uid < stop for first, stop in self.built)

    def unit_link(self, base: str, unit: UnitSummary) -> str | None:
        """Lead to a unit's page, or None where it has none."""
        if not self.has_unit(unit.uid):
            return None
        return base + unit_address(unit.layer, unit.unit)

    def uid_link(self, uid: int) -> str | None:
        """Address a unit's page from the root, or None where it has none."""
        if not self.has_unit(uid):
            return None
        return unit_address(*divmod(uid, self.info.units_per_layer))

    def image_link(self, base: str, image_id: int) -> str:
        """Lead to an image's page."""
        return base + image_address(image_id)

    def concept_link(self, base: str, concept: str | None) -> str | None:
        """Lead to a concept's page, or None for what no unit promotes."""
        known = self.concepts.get(concept) if concept is not None else None
        return None if known is None else base + concept_address(known.slug)
