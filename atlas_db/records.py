"""What `atlas_db.queries` returns: plain records, the same for the site, the API and the terminal.

Units: probabilities and frequencies are shares in 0..1; activations and attributions are in the
model's own units (an attribution is in logits); `_px` are pixels of the original photograph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Row = TypeVar("Row")


def unit_name(layer: int, unit: int) -> str:
    """Print a unit the way the paper does: `L12.U9058`."""
    return f"L{layer}.U{unit}"


@dataclass(frozen=True, slots=True)
class AtlasInfo:
    """The atlas as a whole: provenance and counts."""

    name: str
    content_hash: str
    schema_version: int
    created: str
    command: str
    is_random: bool  # the captioner's weights are random: every page must say so
    captioner: Mapping[str, Any]
    dataset: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    formula: str
    n_layers: int
    units_per_layer: int
    grid_rows: int
    grid_columns: int
    n_units: int
    n_images: int
    n_skipped_images: int
    n_concepts: int

    @property
    def n_patch(self) -> int:
        return self.grid_rows * self.grid_columns


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """A layer and how much of it speaks of pictures."""

    layer: int
    n_units: int
    n_top_units: int  # units that are in the top 100 of one image at least
    n_interpretable: int
    n_top_interpretable: int
    n_top_places: int  # places in the images' top 100 that the layer's units take
    share_of_top_places: float


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A decoded token of a unit."""

    rank: int
    token_id: int
    token: str  # as the model writes it, leading space kept
    concept: str | None  # folded; None where nothing is left of it
    logit: float
    prob: float


@dataclass(frozen=True, slots=True)
class UnitSummary:
    """A unit in a list."""

    uid: int
    layer: int
    unit: int
    top_tokens: tuple[str, ...]  # promoted, by falling probability
    n_images: int  # in whose top 100 it is
    image_frequency: float
    is_always_on: bool
    is_interpretable: bool
    n_dictionary_words: int
    best_attribution: float | None  # None: in no image's top 100
    mean_attribution: float | None
    activation_max: float

    @property
    def name(self) -> str:
        return unit_name(self.layer, self.unit)


@dataclass(frozen=True, slots=True)
class ExemplarRecord:
    """One of the images in which a unit is most active."""

    rank: int
    image_id: int
    activation: float
    patch: int
    caption: str  # the model's own
    heatmap: npt.NDArray[np.uint8] = field(repr=False)  # (n_patch,)
    heatmap_scale: float = 1.0
    heatmap_zero: float = 0.0

    def activations(self) -> npt.NDArray[np.float32]:
        """Give the heatmap in the model's units: float32, shape (n_patch,)."""
        return self.heatmap.astype(np.float32) * np.float32(self.heatmap_scale) + np.float32(
            self.heatmap_zero
        )


@dataclass(frozen=True, slots=True)
class UnitImage:
    """An image in whose top 100 a unit is."""

    image_id: int
    target_word: str
    rank: int
    attribution: float


@dataclass(frozen=True, slots=True)
class SimilarUnit:
    """A unit whose write vector points nearly the same way."""

    unit: UnitSummary
    cosine: float


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """All that a unit's page shows."""

    summary: UnitSummary
    write_norm: float
    n_patches: int  # over which the statistics run
    activation_mean: float
    activation_density: float  # share of patches with an activation above 0
    activation_quantiles: Mapping[str, float]  # "0.5", "0.9", "0.95", "0.99"
    histogram: tuple[int, ...]  # atlas_db.run_format.N_HISTOGRAM_BINS counts
    promoted: tuple[TokenRecord, ...]
    suppressed: tuple[TokenRecord, ...]
    exemplars: tuple[ExemplarRecord, ...]
    negative_exemplars: tuple[ExemplarRecord, ...]  # of gated MLPs: by rising activation, below 0
    images: tuple[UnitImage, ...]  # by falling attribution, 20 at most
    similar: tuple[SimilarUnit, ...]
    previous_uid: int | None
    next_uid: int | None


@dataclass(frozen=True, slots=True)
class ConceptSummary:
    """A folded token that one unit at least promotes."""

    concept: str
    slug: str  # for addresses: [a-z0-9-]+, unique in the atlas
    stem: str
    n_units: int
    n_layers: int
    best_prob: float


@dataclass(frozen=True, slots=True)
class ConceptUnit:
    """A unit that promotes a concept."""

    unit: UnitSummary
    concept: str
    rank: int
    token: str
    prob: float


@dataclass(frozen=True, slots=True)
class RelatedConcept:
    """A concept whose token lies near in the model's own unembedding."""

    concept: str
    slug: str
    cosine: float
    n_units: int


@dataclass(frozen=True, slots=True)
class ConceptRecord:
    """All that a concept's page shows."""

    summary: ConceptSummary
    units: tuple[ConceptUnit, ...]
    family: tuple[ConceptSummary, ...]  # others of the same stem
    related: tuple[RelatedConcept, ...]


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """An image in a list."""

    image_id: int
    file: str
    caption: str
    target_words: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """A word of the generated caption whose logit was attributed."""

    target: int
    token_id: int
    word: str
    position: int
    char_start: int
    logit: float
    prob: float


@dataclass(frozen=True, slots=True)
class AttributionRecord:
    """A unit at one patch, or at its best patch, and what it adds to the target's logit."""

    target: int
    rank: int
    uid: int
    layer: int
    unit: int
    patch: int
    attribution: float
    z: float
    a: float
    gradient: float
    top_tokens: tuple[str, ...]
    heatmap: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    heatmap_scale: float = 0.0
    heatmap_zero: float = 0.0

    @property
    def name(self) -> str:
        return unit_name(self.layer, self.unit)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """All that an image's page shows."""

    summary: ImageSummary
    split: str
    width_px: int
    height_px: int
    licence_name: str
    licence_url: str
    source_url: str
    coco_url: str
    human_captions: tuple[str, ...]
    targets: tuple[TargetRecord, ...]
    units: tuple[AttributionRecord, ...]  # distinct units, by target and rank; the first have maps
    pairs: tuple[AttributionRecord, ...]  # (unit, patch) pairs, by target and rank
    previous_id: int | None
    next_id: int | None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A part of a list and where the next begins."""

    rows: tuple[Row, ...]
    total: int
    next_offset: int | None
