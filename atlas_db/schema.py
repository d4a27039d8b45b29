"""The tables of an atlas, as SQLAlchemy mappings.

Keys and relationships are known to the ORM alone: the DuckDB file declares none, because bulk
loading under a key is three times slower and DuckDB's foreign keys forbid harmless updates.
Every table is stored in the order of its key, so that a look-up touches few row groups;
`INDEXES` names the single columns that have an index as well.

`uid = layer * units_per_layer + unit`. Layers, units, patches, targets and positions count from
0, ranks from 1. Attributions are in logits, activations in the model's units, shares in 0..1.
"""

from __future__ import annotations

from sqlalchemy import REAL, BigInteger
from sqlalchemy import types as sqltypes
from sqlalchemy.orm import Mapped, mapped_column, relationship

from atlas_db.schema_base import (
    Base,
    Big,
    Blob,
    Double,
    Int,
    Real,
    Real_,
    Small,
    Texts,
)
from atlas_db.schema_experiments import EXPERIMENT_INDEXES, EXPERIMENT_VIEWS

#: Raised whenever a reader of the old tables would fail or err on the new ones.
SCHEMA_VERSION = 3


class AtlasValue(Base, table="atlas", key="key"):
    """Provenance: a key and its value; objects and lists are JSON."""

    key: Mapped[str]
    value: Mapped[str]


class Layer(Base, table="layers", key="layer"):
    """A layer and how many of its units are in images' top 100."""

    layer: Mapped[Small]
    n_units: Mapped[Int]
    n_top_units: Mapped[Int]
    n_interpretable: Mapped[Int]
    n_top_interpretable: Mapped[Int]
    n_top_places: Mapped[Big]
    share_of_top_places: Mapped[Double]


class Unit(Base, table="units", key="uid"):
    """A unit and its figures over all images and patches."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    top_tokens: Mapped[Texts]
    n_images: Mapped[Int]  # in whose top 100 it is
    image_frequency: Mapped[Real]
    is_always_on: Mapped[bool]
    is_interpretable: Mapped[bool]
    n_dictionary_words: Mapped[Small]
    best_attribution: Mapped[Real_]
    mean_attribution: Mapped[Real_]  # over the places that it takes
    activation_max: Mapped[Real]
    write_norm: Mapped[Real]
    n_patches: Mapped[Big]
    activation_mean: Mapped[Real]
    activation_density: Mapped[Real]  # share of patches with an activation above 0
    activation_q50: Mapped[Real]
    activation_q90: Mapped[Real]
    activation_q95: Mapped[Real]
    activation_q99: Mapped[Real]
    histogram: Mapped[list[int]] = mapped_column(sqltypes.ARRAY(BigInteger))

    tokens: Mapped[list[UnitToken]] = relationship(
        primaryjoin="foreign(UnitToken.uid) == Unit.uid", viewonly=True
    )
    exemplars: Mapped[list[Exemplar]] = relationship(
        primaryjoin="foreign(Exemplar.uid) == Unit.uid",
        order_by="Exemplar.rank",
        back_populates="of_unit",
        viewonly=True,
    )
    heatmaps: Mapped[Heatmaps] = relationship(
        primaryjoin="foreign(Heatmaps.uid) == Unit.uid", uselist=False, viewonly=True
    )
    images: Mapped[list[UnitImage]] = relationship(
        primaryjoin="foreign(UnitImage.uid) == Unit.uid", viewonly=True
    )


class UnitToken(Base, table="unit_tokens", key="uid sign rank"):
    """A decoded token of a unit: sign 1 promoted, -1 suppressed."""

    uid: Mapped[Int]
    sign: Mapped[Small]
    rank: Mapped[Small]
    layer: Mapped[Small]
    unit: Mapped[Int]
    token_id: Mapped[Int]
    token: Mapped[str]
    concept: Mapped[str | None]
    logit: Mapped[Real]
    prob: Mapped[Real]


class Token(Base, table="tokens", key="token_id"):
    """A token of the vocabulary, and the concept that it folds to."""

    token_id: Mapped[Int]
    token: Mapped[str]
    concept: Mapped[str | None]
    is_special: Mapped[bool]
    is_word: Mapped[bool]  # of the English dictionaries, three letters at least


class Concept(Base, table="concepts", key="concept"):
    """A folded token that one unit at least promotes."""

    concept: Mapped[str]
    slug: Mapped[str]
    stem: Mapped[str]
    n_units: Mapped[Int]
    n_layers: Mapped[Int]
    best_prob: Mapped[Real]

    units: Mapped[list[ConceptUnit]] = relationship(
        primaryjoin="foreign(ConceptUnit.concept) == Concept.concept", viewonly=True
    )


class ConceptUnit(Base, table="concept_units", key="concept uid"):
    """A unit that promotes a concept, by its best token; those first that show it most often.

    An exemplar shows a concept where people's captions of the image (the generated one where there
    are none) have a word of the concept's stem.
    """

    concept: Mapped[str]
    n_shown: Mapped[Small]  # of the unit's exemplars
    prob: Mapped[Real]
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    rank: Mapped[Small]
    token: Mapped[str]


class ConceptNeighbour(Base, table="concept_neighbours", key="concept rank"):
    """A concept whose token lies near in the unembedding."""

    concept: Mapped[str]
    rank: Mapped[Small]
    neighbour: Mapped[str]
    cosine: Mapped[Real]


class UnitNeighbour(Base, table="unit_neighbours", key="uid rank"):
    """A unit whose write vector points nearly the same way."""

    uid: Mapped[Int]
    rank: Mapped[Small]
    neighbour_uid: Mapped[Int]
    cosine: Mapped[Real]


class Exemplar(Base, table="exemplars", key="uid rank"):
    """One of the images in which a unit is most active."""

    uid: Mapped[Int]
    rank: Mapped[Small]
    layer: Mapped[Small]
    unit: Mapped[Int]
    image_id: Mapped[Big]
    activation: Mapped[Real]
    patch: Mapped[Small]

    of_unit: Mapped[Unit] = relationship(
        primaryjoin="foreign(Exemplar.uid) == Unit.uid", back_populates="exemplars", viewonly=True
    )
    image: Mapped[Image] = relationship(
        primaryjoin="foreign(Exemplar.image_id) == Image.image_id", viewonly=True
    )


class NegativeExemplar(Base, table="negative_exemplars", key="uid rank"):
    """One of the images in which a unit's activation is least, and below 0.

    Of gated MLPs alone, and 8 at most: where a unit's activation is negative it promotes the tokens
    that it suppresses elsewhere. activation[p] = heatmap_zero + heatmap_scale * byte[p].
    """

    uid: Mapped[Int]
    rank: Mapped[Small]  # 1: the least
    layer: Mapped[Small]
    unit: Mapped[Int]
    image_id: Mapped[Big]
    activation: Mapped[Real]
    patch: Mapped[Small]
    heatmap: Mapped[Blob]
    heatmap_scale: Mapped[Real]
    heatmap_zero: Mapped[Real]


class Heatmaps(Base, table="heatmaps", key="uid"):
    """A unit's activation maps over its exemplars.

    `maps` holds the bytes of rank 1, then of rank 2, and so on, `n_patch` bytes each, row by row
    from the top left; of rank r, activation = zeros[r] + scales[r] * byte (SQL lists count from
    1). The view `exemplar_activations` unpacks them.
    """

    uid: Mapped[Int]
    scales: Mapped[list[float]] = mapped_column(sqltypes.ARRAY(REAL))
    zeros: Mapped[list[float]] = mapped_column(sqltypes.ARRAY(REAL))
    maps: Mapped[Blob]


class Image(Base, table="images", key="image_id"):
    """An image that was read, and the caption that the model gave it."""

    image_id: Mapped[Big]
    file: Mapped[str]
    split: Mapped[str]
    width_px: Mapped[Int]
    height_px: Mapped[Int]
    licence_id: Mapped[Int]  # -1: not stated
    source_url: Mapped[str]
    coco_url: Mapped[str]
    caption: Mapped[str]
    target_words: Mapped[Texts]
    categories: Mapped[Texts]  # names of what is annotated on it

    targets: Mapped[list[Target]] = relationship(
        primaryjoin="foreign(Target.image_id) == Image.image_id", viewonly=True
    )
    units: Mapped[list[ImageUnit]] = relationship(
        primaryjoin="foreign(ImageUnit.image_id) == Image.image_id", viewonly=True
    )
    human_captions: Mapped[list[HumanCaption]] = relationship(
        primaryjoin="foreign(HumanCaption.image_id) == Image.image_id", viewonly=True
    )
    instances: Mapped[list[Instance]] = relationship(
        primaryjoin="foreign(Instance.image_id) == Image.image_id", viewonly=True
    )


class SkippedImage(Base, table="skipped_images", key="image_id"):
    """An image that could not be read, and why."""

    image_id: Mapped[Big]
    file: Mapped[str]
    reason: Mapped[str]


class Thumbnail(Base, table="thumbnails", key="image_id"):
    """What the model saw of an image, as WebP; none in an atlas made with --images link."""

    image_id: Mapped[Big]
    thumbnail: Mapped[Blob]


class HumanCaption(Base, table="human_captions", key="image_id caption_index"):
    """A caption that a person wrote."""

    image_id: Mapped[Big]
    caption_index: Mapped[Small]
    caption: Mapped[str]


class Category(Base, table="categories", key="category_id"):
    """A kind of object that the data set annotates."""

    category_id: Mapped[Int]
    name: Mapped[str]
    supercategory: Mapped[str]


class Instance(Base, table="instances", key="instance_id"):
    """An annotated object of an image; its mask in COCO's compressed run lengths."""

    image_id: Mapped[Big]
    instance_id: Mapped[Big]
    category_id: Mapped[Int]
    is_crowd: Mapped[bool]
    area_px: Mapped[Double]
    box_x_px: Mapped[Real]
    box_y_px: Mapped[Real]
    box_width_px: Mapped[Real]
    box_height_px: Mapped[Real]
    rle_counts: Mapped[str]


class Licence(Base, table="licences", key="licence_id"):
    """The terms under which a photograph may be used."""

    licence_id: Mapped[Int]
    name: Mapped[str]
    url: Mapped[str]


class Target(Base, table="targets", key="image_id target"):
    """A word of a generated caption whose logit was attributed."""

    image_id: Mapped[Big]
    target: Mapped[Small]
    token_id: Mapped[Int]
    word: Mapped[str]
    position: Mapped[Small]
    char_start: Mapped[Int]
    logit: Mapped[Real]
    prob: Mapped[Real]


class Attribution(Base, table="attributions", key="image_id target rank"):
    """A (unit, patch) pair among an image's top 100 for a target."""

    image_id: Mapped[Big]
    target: Mapped[Small]
    rank: Mapped[Small]
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    patch: Mapped[Small]
    attribution: Mapped[Real]
    z: Mapped[Real]
    a: Mapped[Real]
    gradient: Mapped[Real]


class ImageUnit(Base, table="image_units", key="image_id target rank"):
    """A unit among an image's top 100 for a target, by its best patch."""

    image_id: Mapped[Big]
    target: Mapped[Small]
    rank: Mapped[Small]
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    patch: Mapped[Small]
    attribution: Mapped[Real]
    z: Mapped[Real]
    a: Mapped[Real]
    gradient: Mapped[Real]
    heatmap: Mapped[Blob]  # of the first five, else empty
    heatmap_scale: Mapped[Real]
    heatmap_zero: Mapped[Real]


class UnitImage(Base, table="unit_images", key="uid image_id target"):
    """`image_units` by unit, by falling attribution."""

    uid: Mapped[Int]
    attribution: Mapped[Real]
    image_id: Mapped[Big]
    target: Mapped[Small]
    rank: Mapped[Small]
    target_word: Mapped[str]


class UnitCategory(Base, table="unit_categories", key="uid category_id"):
    """A unit and a category: the images of the category in whose top 100 the unit is.

    The view `unit_category_figures` has them beside what the experiments measured of the pair.
    """

    uid: Mapped[Int]
    category_id: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int]
    mean_activation: Mapped[Real]  # of its best patch, over these images


#: Table and column of each index.
INDEXES = (
    ("units", "uid"),
    ("unit_tokens", "uid"),
    ("unit_neighbours", "uid"),
    ("unit_images", "uid"),
    ("unit_categories", "uid"),
    ("exemplars", "uid"),
    ("heatmaps", "uid"),
    ("negative_exemplars", "uid"),
    ("concepts", "concept"),
    ("concepts", "stem"),
    ("concept_units", "concept"),
    ("concept_neighbours", "concept"),
    ("images", "image_id"),
    ("thumbnails", "image_id"),
    ("human_captions", "image_id"),
    ("instances", "image_id"),
    ("targets", "image_id"),
    ("attributions", "image_id"),
    ("image_units", "image_id"),
    *EXPERIMENT_INDEXES,
)

#: Tables that atlases of this schema version have had from a later day on: those made before lack
#: them, and where they are empty the content hash is as it was.
LATER_TABLES = ("negative_exemplars", "unit_scores")

#: One row for each exemplar, its map as a list of activations, row by row from the top left.
EXEMPLAR_ACTIVATIONS = """
CREATE VIEW exemplar_activations AS
SELECT exemplars.uid, exemplars.layer, exemplars.unit, exemplars.rank, exemplars.image_id,
    [
        zeros[rank] + scales[rank]
            * ('0x' || hex(array_slice(maps, place, place)))::UTINYINT::FLOAT
        FOR place IN range(
            (rank - 1) * octet_length(maps) // len(scales) + 1,
            rank * octet_length(maps) // len(scales) + 1
        )
    ] AS activations
FROM exemplars JOIN heatmaps USING (uid)
"""

#: Statements that make the views.
VIEWS = (EXEMPLAR_ACTIVATIONS, *EXPERIMENT_VIEWS)
