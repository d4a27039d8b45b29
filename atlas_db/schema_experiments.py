"""The tables that experiments fill: empty in an atlas whose run had none.

`experiments` has every printed figure, one row each, also those that were left out, with the
reason. What an experiment says of single units, images or categories has a table of its own, of
the same name and columns as in the run folder (`atlas_db.experiment_format`), with `layer` and
`unit` beside `uid`. The views `unit_figures` and `unit_category_figures` put side by side what the
experiments say of a unit, and of a unit and a category; null where they did not look at it.
"""

from __future__ import annotations

from sqlalchemy import REAL
from sqlalchemy import types as sqltypes
from sqlalchemy.orm import Mapped, mapped_column

from atlas_db.schema_base import Base, Big, Double_, Int, Int_, Real, Real_, Small, Small_, Texts


class ExperimentFigure(Base, table="experiments", key="experiment number"):
    """A printed figure of an experiment, or why it was left out."""

    experiment: Mapped[str]
    number: Mapped[Int]  # its place in the report of that experiment, from 0
    figure: Mapped[str]  # what is measured, the same for all arms
    arm: Mapped[str]  # what was done or looked at; empty for the only one
    part: Mapped[str]  # of what part of the data: a category, a method; empty for all
    layer: Mapped[Small_]
    k: Mapped[Int_]  # of so many units
    value: Mapped[Double_]  # null: left out, `note` says why
    low: Mapped[Double_]  # 95 % interval; null where there is none
    high: Mapped[Double_]
    n: Mapped[Big]  # images, unless `note` says of what
    measure: Mapped[str]  # unit of measure
    p_value: Mapped[Double_]  # of the test against the control
    control: Mapped[str]  # the arm to compare with: same figure, part, layer and k; or empty
    note: Mapped[str]


class Ablation(Base, table="ablations", key="image_id target arm draw k"):
    """What an image's target is when k units are zeroed at the image's patches.

    Arms: none (k = 0, the untouched model), all, interpretable, without always-on, random,
    other image.
    """

    image_id: Mapped[Big]
    target: Mapped[Small]
    arm: Mapped[str]
    draw: Mapped[Small]
    k: Mapped[Int]
    prob: Mapped[Real]
    logit: Mapped[Real]
    relative_drop: Mapped[Real]  # 1 - prob / prob of the untouched model
    caption: Mapped[str | None]  # null: not generated anew


class UnitEffect(Base, table="unit_effects", key="uid"):
    """What targets lose when a unit alone is zeroed, beside a random unit of its layer.

    Over images in whose top 100 the unit is.
    """

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int]
    logit_drop: Mapped[Real]
    prob_drop: Mapped[Real]
    relative_drop: Mapped[Real]
    random_logit_drop: Mapped[Real]
    random_prob_drop: Mapped[Real]
    random_relative_drop: Mapped[Real]


class AdapterToken(Base, table="adapter_tokens", key="image_id patch rank"):
    """A token whose embedding is near to a projected patch."""

    image_id: Mapped[Big]
    patch: Mapped[Small]
    rank: Mapped[Small]
    token_id: Mapped[Int]
    token: Mapped[str]
    concept: Mapped[str | None]
    cosine: Mapped[Real]


class UnitAgreement(Base, table="unit_agreement", key="uid"):
    """How well a unit's decoded tokens agree with its images, and with random ones."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int]
    agreement: Mapped[Real]
    random_agreement: Mapped[Real]


class UnitScore(Base, table="unit_scores", key="uid score"):
    """How well a unit's decoded tokens agree with its images, and with random ones, by a model.

    The paper's BERTScore and CLIPScore, where their models were at hand.
    """

    uid: Mapped[Int]
    score: Mapped[str]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int]
    agreement: Mapped[Real]
    random_agreement: Mapped[Real]


class UnitMasks(Base, table="unit_masks", key="uid"):
    """How well a unit's masks overlap the objects of its images."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int]
    iou: Mapped[Real]  # each map at its own 95th percentile
    iou_unit_threshold: Mapped[Real]  # at that of the unit over all images
    object_share: Mapped[Real]  # of the image
    iou_bound: Mapped[Real]  # the greatest IoU that a mask of 5 % can have
    random_iou: Mapped[Real]  # of units of the same layer


class UnitCategoryMasks(Base, table="unit_category_masks", key="uid category_id"):
    """How well a unit's masks overlap the objects of one category."""

    uid: Mapped[Int]
    category_id: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int]
    iou: Mapped[Real]
    iou_unit_threshold: Mapped[Real]
    object_share: Mapped[Real]
    iou_bound: Mapped[Real]
    random_iou: Mapped[Real]


class CategoryUnit(Base, table="category_units", key="category_id rank"):
    """A unit among those that are in the top 100 of most images of a category."""

    category_id: Mapped[Int]
    rank: Mapped[Small]
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int]


class UnitCategoryActivation(Base, table="unit_category_activations", key="uid category_id"):
    """A unit's greatest activation over the patches, averaged over a category's images."""

    uid: Mapped[Int]
    category_id: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int]
    activation: Mapped[Real]


class UnitSelectivity(Base, table="unit_selectivity", key="uid"):
    """How unevenly a unit's activation is spread over categories."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_categories: Mapped[Int]
    entropy: Mapped[Real]  # nats; 0: one category alone
    entropy_p: Mapped[Real_]
    best_category_id: Mapped[Int]


class CategoryCoverage(Base, table="category_coverage", key="category_id uid"):
    """A unit that says a category: how many of its ten tokens are the category's words.

    And in how many of its 16 exemplars the category is.
    """

    category_id: Mapped[Int]
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_words: Mapped[Small]
    n_exemplars: Mapped[Small]


class AttributionMethod(Base, table="attribution_methods", key="image_id target uid"):
    """What each way of attributing says of a unit on an image, beside really zeroing it."""

    image_id: Mapped[Big]
    target: Mapped[Small]
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    z_gradient: Mapped[Real]
    a_gradient: Mapped[Real]
    gradient_free: Mapped[Real]
    activation: Mapped[Real]
    integrated_gradients: Mapped[Real_]
    zeroing: Mapped[Real]  # the logit that is lost


class TextExemplar(Base, table="text_exemplars", key="uid rank"):
    """A passage of text on which a unit is most active, with its activation at each token."""

    uid: Mapped[Int]
    rank: Mapped[Small]
    layer: Mapped[Small]
    unit: Mapped[Int]
    source: Mapped[str]
    passage: Mapped[Int]
    activation: Mapped[Real]
    position: Mapped[Small]  # of the greatest activation
    tokens: Mapped[Texts]
    activations: Mapped[list[float]] = mapped_column(sqltypes.ARRAY(REAL))


class UnitText(Base, table="unit_text", key="uid"):
    """Whether a unit that fires on the picture of a thing fires on its words."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_concepts: Mapped[Int]
    rank_correlation: Mapped[Real_]
    auc: Mapped[Real_]
    auc_p: Mapped[Real_]


class Replication(Base, table="replication", key="number"):
    """A value that the paper prints, ours, and whether they agree (null: no yes or no)."""

    number: Mapped[Int]
    section: Mapped[str]
    item: Mapped[str]
    printed: Mapped[str]
    ours: Mapped[str]
    agrees: Mapped[bool | None]
    note: Mapped[str]


#: Table and column of each index. `ablations` and `adapter_tokens` lie in the order of their images
#: and are read some 60 and 1,000 rows at once: DuckDB skips to them faster than an index fetches
#: them, row by row (benchmarks/LOG.md).
EXPERIMENT_INDEXES = (
    ("unit_effects", "uid"),
    ("unit_agreement", "uid"),
    ("unit_scores", "uid"),
    ("unit_masks", "uid"),
    ("unit_category_masks", "uid"),
    ("unit_category_activations", "uid"),
    ("unit_selectivity", "uid"),
    ("attribution_methods", "image_id"),
    ("text_exemplars", "uid"),
    ("unit_text", "uid"),
)

UNIT_FIGURES = """
CREATE VIEW unit_figures AS
SELECT units.uid, units.layer, units.unit,
    unit_effects.n_images AS n_zeroed_images, logit_drop, prob_drop, relative_drop,
    random_logit_drop, random_prob_drop, random_relative_drop,
    unit_masks.n_images AS n_mask_images, iou, iou_unit_threshold, object_share, iou_bound,
    random_iou, n_categories, entropy, entropy_p, best_category_id,
    unit_agreement.n_images AS n_agreement_images, agreement, random_agreement,
    n_concepts, rank_correlation, auc, auc_p
FROM units
LEFT JOIN unit_effects USING (uid)
LEFT JOIN unit_masks USING (uid)
LEFT JOIN unit_selectivity USING (uid)
LEFT JOIN unit_agreement USING (uid)
LEFT JOIN unit_text USING (uid)
"""

UNIT_CATEGORY_FIGURES = """
CREATE VIEW unit_category_figures AS
SELECT uid, category_id, coalesce(unit_categories.n_images, 0) AS n_images, mean_activation,
    unit_category_masks.n_images AS n_mask_images, iou, iou_unit_threshold, object_share,
    iou_bound, random_iou,
    unit_category_activations.n_images AS n_category_images, activation AS category_activation
FROM unit_categories
FULL JOIN unit_category_masks USING (uid, category_id)
FULL JOIN unit_category_activations USING (uid, category_id)
"""

#: Statements that make views, and what one row of each is.
EXPERIMENT_VIEWS = (UNIT_FIGURES, UNIT_CATEGORY_FIGURES)
VIEW_TEXTS = {
    "unit_figures": "What the experiments say of a unit, side by side; null: did not look.",
    "unit_category_figures": "What is known of a unit and a category, side by side.",
}
