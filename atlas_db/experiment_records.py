"""What `atlas_db.queries` returns of experiments: plain records, as those of `atlas_db.records`.

The names of fields are those of the tables' columns (`atlas_db.schema_experiments`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FigureRecord:
    """A printed figure; `value` is None where it was left out, and `note` says why."""

    number: int
    figure: str
    arm: str
    part: str
    layer: int | None
    k: int | None
    value: float | None
    low: float | None
    high: float | None
    n: int
    measure: str
    p_value: float | None
    control: str
    note: str

    @property
    def is_left_out(self) -> bool:
        return self.value is None


@dataclass(frozen=True, slots=True)
class ExperimentRecord:
    """An experiment: what it asks, with what settings it was run, and what it found."""

    name: str
    title: str
    settings: Mapping[str, Any]
    created: str
    seconds: float | None  # what it took
    device: str
    figures: tuple[FigureRecord, ...]


@dataclass(frozen=True, slots=True)
class UnitFigures:
    """What the experiments say of a unit; None where one did not look at it."""

    uid: int
    n_zeroed_images: int | None
    logit_drop: float | None
    prob_drop: float | None
    relative_drop: float | None
    random_logit_drop: float | None
    random_prob_drop: float | None
    random_relative_drop: float | None
    n_mask_images: int | None
    iou: float | None
    iou_unit_threshold: float | None
    object_share: float | None
    iou_bound: float | None
    random_iou: float | None
    n_categories: int | None
    entropy: float | None  # nats
    entropy_p: float | None
    best_category_id: int | None
    n_agreement_images: int | None
    agreement: float | None
    random_agreement: float | None
    n_concepts: int | None
    rank_correlation: float | None
    auc: float | None
    auc_p: float | None


@dataclass(frozen=True, slots=True)
class AblationRecord:
    """An image's target with k units zeroed; arm "none" is the untouched model."""

    target: int
    arm: str
    draw: int
    k: int
    prob: float
    logit: float
    relative_drop: float
    caption: str | None


@dataclass(frozen=True, slots=True)
class AdapterTokenRecord:
    """A token whose embedding is near to a projected patch."""

    patch: int
    rank: int
    token: str
    concept: str | None
    cosine: float


@dataclass(frozen=True, slots=True)
class TextExemplarRecord:
    """A passage of text on which a unit is most active."""

    rank: int
    source: str
    passage: int
    activation: float
    position: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class UnitExperiments:
    """What the experiments say of a unit."""

    figures: UnitFigures | None  # None: none looked at it
    texts: tuple[TextExemplarRecord, ...]  # by rank


@dataclass(frozen=True, slots=True)
class ImageExperiments:
    """What the experiments say of an image; empty where none looked at it."""

    ablations: tuple[AblationRecord, ...]
    adapter_tokens: tuple[AdapterTokenRecord, ...]


@dataclass(frozen=True, slots=True)
class CategoryUnitRecord:
    """A unit that is in the top 100 of many images of a category."""

    rank: int
    uid: int
    layer: int
    unit: int
    n_images: int


@dataclass(frozen=True, slots=True)
class ReplicationRecord:
    """A value that the paper prints, and ours."""

    number: int
    section: str
    item: str
    printed: str
    ours: str
    agrees: bool | None
    note: str
