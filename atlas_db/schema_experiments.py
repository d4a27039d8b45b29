"""The tables that experiments fill: empty in an atlas whose run had none.

`experiments` has every printed figure, one row each, also those that were left out, with the
reason. What an experiment says of single units, images or categories has a table of its own, of
the same name and columns as in the run folder (`atlas_db.experiment_format`), with `layer` and
`unit` beside `uid`. Views put side by side what they say of a unit, and of a unit and a category
(`atlas_db.views`).
"""

from __future__ import annotations

from sqlalchemy import REAL
from sqlalchemy import types as sqltypes
from sqlalchemy.orm import Mapped

from atlas_db.schema_base import (
    Base,
    Big,
    Double_,
    Int,
    Int_,
    Real,
    Real_,
    Small,
    Small_,
    Texts,
    about,
)


class ExperimentFigure(Base, table="experiments", key="experiment number"):
    """A printed figure of an experiment, or why it was left out."""

    experiment: Mapped[str] = about("its name, as in `neuron-atlas report --only`")
    number: Mapped[Int] = about("its place in the report of that experiment, from 0")
    figure: Mapped[str] = about("what is measured, the same for all arms")
    arm: Mapped[str] = about("what was done or looked at; empty for the only one")
    part: Mapped[str] = about("of what part of the data: a category, a method; empty for all")
    layer: Mapped[Small_] = about("of units of that layer; null: of all")
    k: Mapped[Int_] = about("of so many units; null: not by number")
    value: Mapped[Double_] = about("null: left out, `note` says why")
    low: Mapped[Double_] = about("of the 95 % interval; null where there is none")
    high: Mapped[Double_] = about("of the 95 % interval; null where there is none")
    n: Mapped[Big] = about("images, unless `note` says of what")
    measure: Mapped[str] = about("unit of measure")
    p_value: Mapped[Double_] = about("of the test against the control")
    control: Mapped[str] = about("the arm to compare with, of the same figure, part, layer and k")
    note: Mapped[str] = about("a remark for the reader")


class Ablation(Base, table="ablations", key="image_id target arm draw k"):
    """What an image's target is when k units are zeroed at the image's patches.

    Arms: none (k = 0, the untouched model), all, interpretable, without always-on, random,
    other image.
    """

    image_id: Mapped[Big]
    target: Mapped[Small]
    arm: Mapped[str] = about("none, all, interpretable, without always-on, random or other image")
    draw: Mapped[Small] = about("of random units, from 0")
    k: Mapped[Int] = about("units that are zeroed")
    prob: Mapped[Real] = about("of the target")
    logit: Mapped[Real] = about("of the target")
    relative_drop: Mapped[Real] = about("1 - prob / prob of the untouched model")
    caption: Mapped[str | None] = about("written without the units; null: not generated anew")


class UnitEffect(Base, table="unit_effects", key="uid"):
    """What targets lose when a unit alone is zeroed, beside a random unit of its layer.

    Over images in whose top 100 the unit is.
    """

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int] = about("images that were looked at")
    logit_drop: Mapped[Real] = about("of the target, averaged")
    prob_drop: Mapped[Real] = about("of the target, averaged")
    relative_drop: Mapped[Real] = about("of the target's prob, averaged")
    random_logit_drop: Mapped[Real] = about("the same of the random unit")
    random_prob_drop: Mapped[Real] = about("the same of the random unit")
    random_relative_drop: Mapped[Real] = about("the same of the random unit")


class AdapterToken(Base, table="adapter_tokens", key="image_id patch rank"):
    """A token whose embedding is near to a projected patch."""

    image_id: Mapped[Big]
    patch: Mapped[Small]
    rank: Mapped[Small] = about("1: the nearest")
    token_id: Mapped[Int]
    token: Mapped[str]
    concept: Mapped[str | None]
    cosine: Mapped[Real] = about("of the projected patch and the token's embedding")


class UnitAgreement(Base, table="unit_agreement", key="uid"):
    """How well a unit's decoded tokens agree with its images, and with random ones."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int] = about("images that it was found on")
    agreement: Mapped[Real] = about("share of its words that people's captions have")
    random_agreement: Mapped[Real] = about("the same of images that it was not found on")


class UnitScore(Base, table="unit_scores", key="uid score"):
    """How well a unit's decoded tokens agree with its images, and with random ones, by a model.

    The paper's BERTScore and CLIPScore, where their models were at hand.
    """

    uid: Mapped[Int]
    score: Mapped[str] = about("BERTScore or CLIPScore")
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int] = about("images that it was found on")
    agreement: Mapped[Real] = about("the score, averaged over these images")
    random_agreement: Mapped[Real] = about("the same of images drawn at random")


class UnitMasks(Base, table="unit_masks", key="uid"):
    """How well a unit's masks overlap the objects of its images."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int] = about("images that were looked at")
    iou: Mapped[Real]
    iou_unit_threshold: Mapped[Real]
    object_share: Mapped[Real]
    iou_bound: Mapped[Real]
    random_iou: Mapped[Real]


class UnitCategoryMasks(Base, table="unit_category_masks", key="uid category_id"):
    """How well a unit's masks overlap the objects of one category."""

    uid: Mapped[Int]
    category_id: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int] = about("images that were looked at")
    iou: Mapped[Real]
    iou_unit_threshold: Mapped[Real]
    object_share: Mapped[Real]
    iou_bound: Mapped[Real]
    random_iou: Mapped[Real]


class CategoryUnit(Base, table="category_units", key="category_id rank"):
    """A unit among those that are in the top 100 of most images of a category."""

    category_id: Mapped[Int]
    rank: Mapped[Small] = about("1: in the top 100 of most of the category's images")
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int] = about("images of the category in whose top 100 it is")


class UnitCategoryActivation(Base, table="unit_category_activations", key="uid category_id"):
    """A unit's greatest activation over the patches, averaged over a category's images."""

    uid: Mapped[Int]
    category_id: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int] = about("images of the category that were looked at")
    activation: Mapped[Real] = about("in the model's units")


class UnitSelectivity(Base, table="unit_selectivity", key="uid"):
    """How unevenly a unit's activation is spread over categories."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_categories: Mapped[Int] = about("of how many categories it is among the units")
    entropy: Mapped[Real] = about("nats; 0: one category alone")
    entropy_p: Mapped[Real_] = about("share of shuffles of the images with an entropy as low")
    best_category_id: Mapped[Int] = about("on which it is most active")


class CategoryCoverage(Base, table="category_coverage", key="category_id uid"):
    """A unit that says a category: how many of its ten tokens are the category's words.

    And in how many of its 16 exemplars the category is.
    """

    category_id: Mapped[Int]
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_words: Mapped[Small] = about("of its ten tokens that are the category's words")
    n_exemplars: Mapped[Small] = about("of its 16 exemplars that show the category")


class AttributionMethod(Base, table="attribution_methods", key="image_id target uid"):
    """What each way of attributing says of a unit on an image, beside really zeroing it."""

    image_id: Mapped[Big]
    target: Mapped[Small]
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    z_gradient: Mapped[Real] = about("of the best patch: z * its gradient, as the paper does")
    a_gradient: Mapped[Real] = about("sum over the patches of a * its gradient")
    gradient_free: Mapped[Real] = about("a times the target's logit of the write vector")
    activation: Mapped[Real] = about("of the best patch, in the model's units")
    integrated_gradients: Mapped[Real_] = about("null where it was not computed")
    zeroing: Mapped[Real] = about("the logit that is lost")


class TextExemplar(Base, table="text_exemplars", key="uid rank"):
    """A passage of text on which a unit is most active, with its activation at each token."""

    uid: Mapped[Int]
    rank: Mapped[Small] = about("1: the most active")
    layer: Mapped[Small]
    unit: Mapped[Int]
    source: Mapped[str] = about("where the text is from")
    passage: Mapped[Int] = about("its number in that source, from 0")
    activation: Mapped[Real] = about("the greatest over the passage, in the model's units")
    position: Mapped[Small] = about("of the greatest activation, from 0")
    tokens: Mapped[Texts] = about("of the passage")
    activations: Mapped[list[float]] = about("at each token", sqltypes.ARRAY(REAL))


class UnitText(Base, table="unit_text", key="uid"):
    """Whether a unit that fires on the picture of a thing fires on its words."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_concepts: Mapped[Int] = about("categories that were compared")
    rank_correlation: Mapped[Real_] = about("over categories, of pictures and captions")
    auc: Mapped[Real_] = about("does it tell captions that name its category? .5 is chance")
    auc_p: Mapped[Real_] = about("of that area, against chance")


class Replication(Base, table="replication", key="number"):
    """A value that the paper prints, ours, and whether they agree (null: no yes or no)."""

    number: Mapped[Int] = about("its place in the list, from 0")
    section: Mapped[str] = about("of the paper")
    item: Mapped[str] = about("what is compared")
    printed: Mapped[str] = about("the paper's value")
    ours: Mapped[str] = about("this atlas's value")
    agrees: Mapped[bool | None] = about("null: no yes or no")
    note: Mapped[str] = about("how it was compared")


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
