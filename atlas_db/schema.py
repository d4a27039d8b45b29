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
from sqlalchemy.orm import Mapped, relationship

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
    about,
)
from atlas_db.schema_experiments import EXPERIMENT_INDEXES

#: Raised whenever a reader of the old tables would fail or err on the new ones.
SCHEMA_VERSION = 3


class AtlasValue(Base, table="atlas", key="key"):
    """Provenance: a key and its value; objects and lists are JSON."""

    key: Mapped[str] = about("what is said")
    value: Mapped[str] = about("a text, or JSON")


class Layer(Base, table="layers", key="layer"):
    """A layer and how many of its units are in images' top 100."""

    layer: Mapped[Small]
    n_units: Mapped[Int] = about("its units")
    n_top_units: Mapped[Int] = about("units on top of an image: in the top 100 of one at least")
    n_interpretable: Mapped[Int] = about("units that are interpretable")
    n_top_interpretable: Mapped[Int] = about("units that are both")
    n_top_places: Mapped[Big] = about("places in the images' top 100 that its units take")
    share_of_top_places: Mapped[Double] = about("of all places, 0..1")


class Unit(Base, table="units", key="uid"):
    """A unit and its figures over all images and patches."""

    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    top_tokens: Mapped[Texts] = about("the promoted tokens, best first")
    n_images: Mapped[Int] = about("images in whose top 100 it is")
    image_frequency: Mapped[Real] = about("n_images of all images, 0..1")
    is_always_on: Mapped[bool] = about(
        "in over half of the images' top 100, and in far more than others"
    )
    is_interpretable: Mapped[bool] = about("n_dictionary_words is 7 at least")
    n_dictionary_words: Mapped[Small] = about("of the 10 promoted tokens")
    best_attribution: Mapped[Real_] = about("the greatest, in logits; null: in no top 100")
    mean_attribution: Mapped[Real_] = about("over the places that it takes, in logits")
    activation_max: Mapped[Real] = about("over all patches of all images, in the model's units")
    write_norm: Mapped[Real] = about("length of the vector that it writes")
    n_patches: Mapped[Big] = about("patches that were looked at")
    activation_mean: Mapped[Real] = about("over all patches")
    activation_density: Mapped[Real] = about("share of patches with an activation above 0")
    activation_q50: Mapped[Real] = about("median over all patches")
    activation_q90: Mapped[Real] = about("90th percentile over all patches")
    activation_q95: Mapped[Real] = about("95th percentile over all patches: where masks are cut")
    activation_q99: Mapped[Real] = about("99th percentile over all patches")
    histogram: Mapped[list[int]] = about(
        "patches in 128 bins of activation, 64 a sign, 4 an octave from 2**-8",
        sqltypes.ARRAY(BigInteger),
    )

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
    sign: Mapped[Small] = about("1 promoted, -1 suppressed")
    rank: Mapped[Small]
    layer: Mapped[Small]
    unit: Mapped[Int]
    token_id: Mapped[Int]
    token: Mapped[str]
    concept: Mapped[str | None]
    logit: Mapped[Real] = about("the write vector through the unembedding")
    prob: Mapped[Real] = about("softmax(sign * logits) of the token")


class Token(Base, table="tokens", key="token_id"):
    """A token of the vocabulary, and the concept that it folds to."""

    token_id: Mapped[Int]
    token: Mapped[str]
    concept: Mapped[str | None]
    is_special: Mapped[bool] = about("such as the end of a text")
    is_word: Mapped[bool] = about("of the English dictionaries, three letters at least")


class Concept(Base, table="concepts", key="concept"):
    """A folded token that one unit at least promotes."""

    concept: Mapped[str]
    slug: Mapped[str] = about("its name in addresses of pages")
    stem: Mapped[str] = about("words of one stem are a family")
    n_units: Mapped[Int] = about("units that promote it")
    n_layers: Mapped[Int] = about("layers that these are in")
    best_prob: Mapped[Real] = about("the greatest of its units")

    units: Mapped[list[ConceptUnit]] = relationship(
        primaryjoin="foreign(ConceptUnit.concept) == Concept.concept", viewonly=True
    )


class ConceptUnit(Base, table="concept_units", key="concept uid"):
    """A unit that promotes a concept, by its best token; those first that show it most often.

    An exemplar shows a concept where people's captions of the image (the generated one where there
    are none) have a word of the concept's stem.
    """

    concept: Mapped[str]
    n_shown: Mapped[Small] = about("how many of the unit's exemplars show it")
    prob: Mapped[Real] = about("of its best token, see unit_tokens")
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    rank: Mapped[Small] = about("of its best token among the unit's")
    token: Mapped[str] = about("its best token, leading space kept")


class ConceptNeighbour(Base, table="concept_neighbours", key="concept rank"):
    """A concept whose token lies near in the unembedding."""

    concept: Mapped[str]
    rank: Mapped[Small]
    neighbour: Mapped[str] = about("the concept that is near")
    cosine: Mapped[Real] = about("of the rows of the unembedding, the nearest pair of their tokens")


class UnitNeighbour(Base, table="unit_neighbours", key="uid rank"):
    """A unit whose write vector points nearly the same way."""

    uid: Mapped[Int]
    rank: Mapped[Small]
    neighbour_uid: Mapped[Int] = about("uid of the other unit")
    cosine: Mapped[Real] = about("of the two write vectors")


class Exemplar(Base, table="exemplars", key="uid rank"):
    """One of the images in which a unit is most active."""

    uid: Mapped[Int]
    rank: Mapped[Small] = about("1: the most active")
    layer: Mapped[Small]
    unit: Mapped[Int]
    image_id: Mapped[Big]
    activation: Mapped[Real] = about("the greatest over the patches, in the model's units")
    patch: Mapped[Small] = about("where it is greatest: from 0, row by row from the top left")

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
    rank: Mapped[Small] = about("1: the least")
    layer: Mapped[Small]
    unit: Mapped[Int]
    image_id: Mapped[Big]
    activation: Mapped[Real] = about("the least over the patches, in the model's units")
    patch: Mapped[Small] = about("where it is least: from 0, row by row from the top left")
    heatmap: Mapped[Blob] = about("a byte a patch, row by row")
    heatmap_scale: Mapped[Real]
    heatmap_zero: Mapped[Real]


class Heatmaps(Base, table="heatmaps", key="uid"):
    """A unit's activation maps over its exemplars.

    `maps` holds the bytes of rank 1, then of rank 2, and so on, `n_patch` bytes each, row by row
    from the top left; of rank r, activation = zeros[r] + scales[r] * byte (SQL lists count from
    1). The view `exemplar_activations` unpacks them.
    """

    uid: Mapped[Int]
    scales: Mapped[list[float]] = about("of each rank", sqltypes.ARRAY(REAL))
    zeros: Mapped[list[float]] = about("of each rank", sqltypes.ARRAY(REAL))
    maps: Mapped[Blob] = about("a byte a patch, rank after rank, row by row")


class Image(Base, table="images", key="image_id"):
    """An image that was read, and the caption that the model gave it."""

    image_id: Mapped[Big]
    file: Mapped[str] = about("below the data set's folder")
    split: Mapped[str] = about("such as val2017")
    width_px: Mapped[Int] = about("of the photograph")
    height_px: Mapped[Int] = about("of the photograph")
    licence_id: Mapped[Int] = about("see licences; -1: not stated")
    source_url: Mapped[str] = about("where the photograph comes from; empty if not stated")
    coco_url: Mapped[str] = about("the photograph itself; empty if not stated")
    caption: Mapped[str] = about("that the model wrote")
    target_words: Mapped[Texts] = about("words of the caption that were attributed")
    categories: Mapped[Texts] = about("names of what is annotated on it")

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
    file: Mapped[str] = about("below the data set's folder")
    reason: Mapped[str] = about("what was wrong with it")


class Thumbnail(Base, table="thumbnails", key="image_id"):
    """What the model saw of an image, as WebP; none in an atlas made with --images link."""

    image_id: Mapped[Big]
    thumbnail: Mapped[Blob] = about("WebP, the model's crop")


class HumanCaption(Base, table="human_captions", key="image_id caption_index"):
    """A caption that a person wrote."""

    image_id: Mapped[Big]
    caption_index: Mapped[Small] = about("from 0, of the image's captions")
    caption: Mapped[str] = about("what the person wrote")


class Category(Base, table="categories", key="category_id"):
    """A kind of object that the data set annotates."""

    category_id: Mapped[Int]
    name: Mapped[str] = about("such as dog")
    supercategory: Mapped[str] = about("such as animal")


class Instance(Base, table="instances", key="instance_id"):
    """An annotated object of an image; its mask in COCO's compressed run lengths."""

    image_id: Mapped[Big]
    instance_id: Mapped[Big] = about("number of the annotation in the data set")
    category_id: Mapped[Int]
    is_crowd: Mapped[bool] = about("a group that was not told apart")
    area_px: Mapped[Double] = about("of the mask, in pixels of the photograph")
    box_x_px: Mapped[Real] = about("left edge")
    box_y_px: Mapped[Real] = about("upper edge")
    box_width_px: Mapped[Real] = about("width of the box")
    box_height_px: Mapped[Real] = about("height of the box")
    rle_counts: Mapped[str] = about("COCO's compressed run lengths of the mask")


class Licence(Base, table="licences", key="licence_id"):
    """The terms under which a photograph may be used."""

    licence_id: Mapped[Int] = about("see images; -1: not stated")
    name: Mapped[str] = about("of the licence")
    url: Mapped[str] = about("of its text")


class Target(Base, table="targets", key="image_id target"):
    """A word of a generated caption whose logit was attributed."""

    image_id: Mapped[Big]
    target: Mapped[Small]
    token_id: Mapped[Int] = about("of the word's token whose logit was attributed")
    word: Mapped[str] = about("as the caption has it")
    position: Mapped[Small] = about("of that token in the caption, from 0")
    char_start: Mapped[Int] = about("of the word in the caption, from 0")
    logit: Mapped[Real] = about("before that token is written")
    prob: Mapped[Real] = about("of that token")


class Attribution(Base, table="attributions", key="image_id target rank"):
    """A (unit, patch) pair among an image's top 100 for a target."""

    image_id: Mapped[Big]
    target: Mapped[Small]
    rank: Mapped[Small] = about("1: the greatest attribution")
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
    rank: Mapped[Small] = about("1: the greatest attribution")
    uid: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    patch: Mapped[Small] = about("its best: from 0, row by row from the top left")
    attribution: Mapped[Real] = about("of the best patch: z * gradient, in logits of the target")
    z: Mapped[Real]
    a: Mapped[Real]
    gradient: Mapped[Real]
    heatmap: Mapped[Blob] = about("a byte a patch, row by row; of the first five units, else empty")
    heatmap_scale: Mapped[Real]
    heatmap_zero: Mapped[Real]


class UnitImage(Base, table="unit_images", key="uid image_id target"):
    """`image_units` by unit, by falling attribution."""

    uid: Mapped[Int]
    attribution: Mapped[Real] = about("of the unit's best patch, in logits of the target")
    image_id: Mapped[Big]
    target: Mapped[Small]
    rank: Mapped[Small] = about("the unit's in the image's top 100")
    target_word: Mapped[str] = about("as the caption has it")


class UnitCategory(Base, table="unit_categories", key="uid category_id"):
    """A unit and a category: the images of the category in whose top 100 the unit is.

    The view `unit_category_figures` has them beside what the experiments measured of the pair.
    """

    uid: Mapped[Int]
    category_id: Mapped[Int]
    layer: Mapped[Small]
    unit: Mapped[Int]
    n_images: Mapped[Int] = about("images of the category in whose top 100 the unit is")
    mean_activation: Mapped[Real] = about("of its best patch, over these images")


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
