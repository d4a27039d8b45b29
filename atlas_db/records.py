"""What `atlas_db.queries` returns: plain records, the same for the site, the API and the terminal.

Units: probabilities and frequencies are shares in 0..1; activations and attributions are in the
model's own units (an attribution is in logits); `_px` are pixels of the original photograph.

What stands beside a field's type in `Annotated` describes it, here and in the API's description.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Row = TypeVar("Row")

HEATMAP = (
    "(n_patch,) bytes, in JSON their base64; patches row by row from the top left of the grid (the "
    "atlas has its rows and columns). The activation at patch p is "
    "heatmap_zero + heatmap_scale * byte[p]"
)


class _Summarised:
    """A record that carries a summary: the summary's fields can be asked of it, as in JSON.

    Our own code names the summary, which types can be checked of.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name != "summary" and not name.startswith("__"):
                with contextlib.suppress(AttributeError):
                    return getattr(self.summary, name)
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

        def __dir__(self) -> list[str]:
            own = set(object.__dir__(self)) | set(dir(self.summary))
            return sorted(own)


def unit_name(layer: int, unit: int) -> str:
    """Print a unit the way the paper does: `L12.U9058`."""
    return f"L{layer}.U{unit}"


@dataclass(frozen=True, slots=True)
class AtlasInfo:
    """The atlas as a whole: provenance and counts."""

    name: str
    content_hash: Annotated[
        str,
        "the same for the same inputs; the ETag of every answer rests on it",
    ]
    schema_version: int
    created: Annotated[str, "ISO 8601"]
    command: Annotated[str, "that made it"]
    is_random: Annotated[
        bool,
        "the captioner's weights are random: its captions mean nothing, and every page must say so",
    ]
    captioner: Annotated[Mapping[str, Any], "source, hash, licence and origin of each part"]
    dataset: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Annotated[Mapping[str, str], "of the packages that it was made with"]
    formula: Annotated[str, "of the attribution"]
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

    layer: Annotated[int, "counts from 0"]
    n_units: int
    n_top_units: Annotated[int, "units that are in the top 100 of one image at least"]
    n_interpretable: int
    n_top_interpretable: int
    n_top_places: Annotated[int, "places in the images' top 100 that the layer's units take"]
    share_of_top_places: Annotated[float, "0..1"]


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A decoded token of a unit."""

    rank: Annotated[int, "counts from 1"]
    token_id: int
    token: Annotated[str, "as the model writes it, leading space kept"]
    concept: Annotated[str | None, "the token folded; null where nothing is left of it"]
    logit: float
    prob: Annotated[float, "0..1"]


@dataclass(frozen=True, slots=True)
class UnitSummary:
    """A unit in a list."""

    uid: Annotated[int, "layer * units_per_layer + unit"]
    layer: int
    unit: int
    top_tokens: Annotated[tuple[str, ...], "promoted, by falling probability"]
    n_images: Annotated[int, "in whose top 100 it is"]
    image_frequency: Annotated[float, "n_images as a share of all images, 0..1"]
    is_always_on: Annotated[bool, "in the top 100 of so many images that it says little of any"]
    is_interpretable: Annotated[bool, "7 of its 10 promoted tokens at least are dictionary words"]
    n_dictionary_words: int
    best_attribution: Annotated[float | None, "in logits; null: in no image's top 100"]
    mean_attribution: Annotated[float | None, "in logits; null: in no image's top 100"]
    activation_max: float

    @property
    def name(self) -> str:
        return unit_name(self.layer, self.unit)


@dataclass(frozen=True, slots=True)
class ExemplarRecord:
    """One of the images in which a unit is most active."""

    rank: Annotated[int, "counts from 1"]
    image_id: int
    activation: Annotated[float, "the greatest over the patches"]
    patch: Annotated[int, "where it is, counts from 0"]
    caption: Annotated[str, "the model's own"]
    heatmap: Annotated[npt.NDArray[np.uint8], HEATMAP] = field(repr=False)
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
    rank: Annotated[int, "of the unit in the image's top 100"]
    attribution: Annotated[float, "in logits"]


@dataclass(frozen=True, slots=True)
class SimilarUnit:
    """A unit whose write vector points nearly the same way."""

    unit: UnitSummary
    cosine: Annotated[float, "of the two write vectors"]


@dataclass(frozen=True, slots=True)
class UnitRecord(_Summarised):
    """All that a unit's page shows."""

    summary: UnitSummary
    write_norm: Annotated[float, "of the write vector"]
    n_patches: Annotated[int, "over which the statistics run"]
    activation_mean: float
    activation_density: Annotated[float, "share of patches with an activation above 0"]
    activation_quantiles: Annotated[Mapping[str, float], "by share: 0.5, 0.9, 0.95 and 0.99"]
    histogram: Annotated[
        tuple[int, ...],
        "of activations: 64 bins a sign, 4 an octave, 2^-8 to 2^8",
    ]
    promoted: tuple[TokenRecord, ...]
    suppressed: tuple[TokenRecord, ...]
    exemplars: tuple[ExemplarRecord, ...]
    negative_exemplars: Annotated[
        tuple[ExemplarRecord, ...],
        "where its activation is least, and below 0: there it promotes what it suppresses "
        "elsewhere. Of gated MLPs alone",
    ]
    images: Annotated[tuple[UnitImage, ...], "by falling attribution, 20 at most"]
    similar: tuple[SimilarUnit, ...]
    previous_uid: int | None
    next_uid: int | None


@dataclass(frozen=True, slots=True)
class ConceptSummary:
    """A folded token that one unit at least promotes."""

    concept: str
    slug: Annotated[str, "for addresses of pages: [a-z0-9-]+, unique in the atlas"]
    stem: Annotated[str, "shared by the concepts of one family"]
    n_units: int
    n_layers: int
    best_prob: Annotated[float, "0..1"]


@dataclass(frozen=True, slots=True)
class ConceptUnit:
    """A unit that promotes a concept."""

    unit: UnitSummary
    concept: str
    rank: Annotated[int, "of the token among the unit's promoted tokens"]
    token: str
    prob: Annotated[float, "0..1"]
    n_shown: Annotated[
        int, "of the unit's exemplars, in how many captions say a word of the concept's stem"
    ]


@dataclass(frozen=True, slots=True)
class RelatedConcept:
    """A concept whose token lies near in the model's own unembedding."""

    concept: str
    slug: str
    cosine: Annotated[float, "of the two rows of the unembedding"]
    n_units: int


@dataclass(frozen=True, slots=True)
class ConceptRecord(_Summarised):
    """All that a concept's page shows."""

    summary: ConceptSummary
    units: Annotated[tuple[ConceptUnit, ...], "by falling probability"]
    family: Annotated[tuple[ConceptSummary, ...], "other concepts of the same stem"]
    related: Annotated[tuple[RelatedConcept, ...], "near in the model's own unembedding"]


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """An image in a list."""

    image_id: int
    file: str
    caption: Annotated[str, "the model's own"]
    target_words: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """A word of the generated caption whose logit was attributed."""

    target: int
    token_id: int
    word: str
    position: Annotated[int, "in the caption's tokens"]
    char_start: Annotated[int, "of the word in the caption"]
    logit: float
    prob: Annotated[float, "0..1"]


@dataclass(frozen=True, slots=True)
class AttributionRecord:
    """A unit at one patch, or at its best patch, and what it adds to the target's logit."""

    target: int
    rank: Annotated[int, "counts from 1"]
    uid: int
    layer: int
    unit: int
    patch: int
    attribution: Annotated[float, "in logits"]
    z: Annotated[float, "pre-activation"]
    a: Annotated[float, "activation"]
    gradient: float
    top_tokens: tuple[str, ...]
    heatmap: Annotated[npt.NDArray[np.uint8] | None, HEATMAP + "; null where none is kept"] = field(
        default=None, repr=False
    )
    heatmap_scale: float = 0.0
    heatmap_zero: float = 0.0

    @property
    def name(self) -> str:
        return unit_name(self.layer, self.unit)


@dataclass(frozen=True, slots=True)
class ImageRecord(_Summarised):
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
    units: Annotated[
        tuple[AttributionRecord, ...],
        "distinct units, each at its best patch, by target and rank; the first have maps",
    ]
    pairs: Annotated[tuple[AttributionRecord, ...], "(unit, patch) pairs, by target and rank"]
    previous_id: int | None
    next_id: int | None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A part of a list and where the next begins."""

    rows: tuple[Row, ...]
    total: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class ColumnRecord:
    """A column, its type in DuckDB, and what it holds (empty: the name says it)."""

    name: str
    type: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class TableRecord:
    """A table or view, and what one row of it is."""

    table: str
    about: str
    n_rows: int | None  # None: a view
    columns: tuple[ColumnRecord, ...]
