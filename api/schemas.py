"""What the API answers with, as pydantic models: the OpenAPI document is made from them.

They describe what `atlas_db.as_json` makes of the records; a test holds the two together. Answers
are not validated on their way out (that costs more than the query), so nothing here computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

HEATMAP = (
    "base64 of n_patch bytes, patches row by row from the top left of the grid (`/atlas` has its "
    "rows and columns); the activation at patch p is heatmap_zero + heatmap_scale * byte[p]"
)


def _about(text: str) -> Any:
    return Field(description=text)


def _require_only(*names: str) -> Callable[[dict[str, Any]], None]:
    """Mark all fields but `names` as optional: `fields=` may have left them out."""

    def relax(schema: dict[str, Any]) -> None:
        schema["required"] = list(names)

    return relax


class Record(BaseModel):
    """An object of which every field is always there and no other ever is."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Record):
    code: str = _about("for programs: one word, stable across versions")
    message: str = _about("for people: what was got and what was wanted")
    hint: str = _about("what to do")


class ErrorAnswer(Record):
    """The one shape of every answer with status 400 and above."""

    error: ErrorDetail


class Atlas(Record):
    """The atlas as a whole: where it comes from, and its counts."""

    name: str
    content_hash: str = _about("the same for the same inputs; the ETag of every answer rests on it")
    schema_version: int
    created: str = _about("ISO 8601")
    command: str = _about("that made it")
    is_random: bool = _about("the captioner's weights are random: its captions mean nothing")
    captioner: dict[str, Any] = _about("source, hash, licence and origin of each part")
    dataset: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str] = _about("of the packages that it was made with")
    formula: str = _about("of the attribution")
    n_layers: int
    units_per_layer: int
    grid_rows: int
    grid_columns: int
    n_units: int
    n_images: int
    n_skipped_images: int
    n_concepts: int


class Layer(Record):
    layer: int = _about("counts from 0")
    n_units: int
    n_top_units: int = _about("units that are in the top 100 of one image at least")
    n_interpretable: int
    n_top_interpretable: int
    n_top_places: int = _about("places in the images' top 100 that the layer's units take")
    share_of_top_places: float = _about("0..1")


class Layers(Record):
    rows: list[Layer]


class Token(Record):
    rank: int = _about("counts from 1")
    token_id: int
    token: str = _about("as the model writes it, leading space kept")
    concept: str | None = _about("the token folded; null where nothing is left of it")
    logit: float
    prob: float = _about("0..1")


class UnitSummary(Record):
    name: str = _about("as the paper prints it: L12.U9058")
    uid: int = _about("layer * units_per_layer + unit")
    layer: int
    unit: int
    top_tokens: list[str] = _about("promoted, by falling probability")
    n_images: int = _about("in whose top 100 it is")
    image_frequency: float = _about("n_images as a share of all images, 0..1")
    is_always_on: bool = _about("in the top 100 of so many images that it says little of any")
    is_interpretable: bool = _about("7 of its 10 promoted tokens at least are dictionary words")
    n_dictionary_words: int
    best_attribution: float | None = _about("in logits; null: in no image's top 100")
    mean_attribution: float | None = _about("in logits; null: in no image's top 100")
    activation_max: float


class UnitRow(UnitSummary):
    """A unit in a list; `fields` may leave out all but its uid."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_require_only("uid"))


class Exemplar(Record):
    """One of the images in which a unit is most active."""

    rank: int = _about("counts from 1")
    image_id: int
    activation: float = _about("the greatest over the patches")
    patch: int = _about("where it is, counts from 0")
    caption: str = _about("the model's own")
    heatmap: str = _about(HEATMAP)
    heatmap_scale: float
    heatmap_zero: float


class UnitImage(Record):
    image_id: int
    target_word: str
    rank: int = _about("of the unit in the image's top 100")
    attribution: float = _about("in logits")


class SimilarUnit(Record):
    unit: UnitSummary
    cosine: float = _about("of the two write vectors")


class Unit(UnitSummary):
    """All that a unit's page shows."""

    write_norm: float = _about("of the write vector")
    n_patches: int = _about("over which the statistics run")
    activation_mean: float
    activation_density: float = _about("share of patches with an activation above 0")
    activation_quantiles: dict[str, float]
    histogram: list[int] = _about("of activations: 64 bins a sign, 4 an octave, 2^-8 to 2^8")
    promoted: list[Token]
    suppressed: list[Token]
    exemplars: list[Exemplar]
    negative_exemplars: list[Exemplar] = _about(
        "where its activation is least, and below 0: there it promotes what it suppresses "
        "elsewhere. Of gated MLPs alone"
    )
    images: list[UnitImage] = _about("by falling attribution, 20 at most")
    similar: list[SimilarUnit]
    previous_uid: int | None
    next_uid: int | None


class ConceptSummary(Record):
    """A folded token that one unit at least promotes."""

    concept: str
    slug: str = _about("for addresses of pages: [a-z0-9-]+, unique in the atlas")
    stem: str = _about("shared by the concepts of one family")
    n_units: int
    n_layers: int
    best_prob: float = _about("0..1")


class ConceptRow(ConceptSummary):
    """A concept in a list; `fields` may leave out all but its text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_require_only("concept"))


class ConceptUnit(Record):
    unit: UnitSummary
    concept: str
    rank: int = _about("of the token among the unit's promoted tokens")
    token: str
    prob: float = _about("0..1")


class RelatedConcept(Record):
    concept: str
    slug: str
    cosine: float = _about("of the two rows of the unembedding")
    n_units: int


class Concept(ConceptSummary):
    """All that a concept's page shows."""

    units: list[ConceptUnit] = _about("by falling probability")
    family: list[ConceptSummary] = _about("other concepts of the same stem")
    related: list[RelatedConcept] = _about("near in the model's own unembedding")
    next_cursor: str | None = _about("of the next units; null at the end")


class ImageSummary(Record):
    image_id: int
    file: str
    caption: str = _about("the model's own")
    target_words: list[str]
    categories: list[str]


class ImageRow(ImageSummary):
    """An image in a list; `fields` may leave out all but its id."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_require_only("image_id"))


class Target(Record):
    """A word of the generated caption whose logit was attributed."""

    target: int
    token_id: int
    word: str
    position: int = _about("in the caption's tokens")
    char_start: int = _about("of the word in the caption")
    logit: float
    prob: float = _about("0..1")


class Attribution(Record):
    """A unit at a patch, and what it adds to the target's logit: attribution = z * gradient."""

    name: str
    target: int
    rank: int = _about("counts from 1")
    uid: int
    layer: int
    unit: int
    patch: int
    attribution: float = _about("in logits")
    z: float = _about("pre-activation")
    a: float = _about("activation")
    gradient: float
    top_tokens: list[str]
    heatmap: str | None = _about(HEATMAP + "; null where none is kept")
    heatmap_scale: float
    heatmap_zero: float


class Image(ImageSummary):
    """All that an image's page shows."""

    split: str
    width_px: int
    height_px: int
    licence_name: str
    licence_url: str
    source_url: str
    coco_url: str
    human_captions: list[str]
    targets: list[Target]
    units: list[Attribution] = _about("distinct units, each at its best patch")
    pairs: list[Attribution] = _about("(unit, patch) pairs")
    previous_id: int | None
    next_id: int | None


class UnitPage(Record):
    rows: list[UnitRow]
    total: int
    next_cursor: str | None = _about("give it as `cursor` for the next rows; null at the end")


class SimilarUnits(Record):
    rows: list[SimilarUnit]


class ConceptPage(Record):
    rows: list[ConceptRow]
    total: int
    next_cursor: str | None = _about("give it as `cursor` for the next rows; null at the end")


class ImagePage(Record):
    rows: list[ImageRow]
    total: int
    next_cursor: str | None = _about("give it as `cursor` for the next rows; null at the end")


class Oembed(Record):
    """What oEmbed calls a rich answer: how a unit is shown in another page."""

    version: str
    type: str
    title: str
    provider_name: str
    provider_url: str
    width: int = _about("in pixels, of the frame")
    height: int
    html: str = _about("a frame, to be put into a page as it is")


class SqlColumn(Record):
    name: str = _about("as in each row: columns of one name are told apart as a, a_2")
    type: str = _about("DuckDB's")


class SqlResult(Record):
    columns: list[SqlColumn]
    rows: list[dict[str, Any]] = _about(
        "bytes as base64, dates and decimals as text, numbers that JSON cannot say as null"
    )
    n_rows: int
    truncated: bool = _about("there are more rows than these")


class TableColumn(Record):
    name: str
    type: str = _about("DuckDB's")


class Table(Record):
    table: str
    about: str = _about("what one row is")
    n_rows: int | None = _about("null: a view")
    columns: list[TableColumn]


class SqlLimits(Record):
    """How much one statement may take."""

    statement_bytes: int
    deadline_s: float = _about("then it is stopped")
    memory_mb: int
    rows: int
    bytes: int = _about("of an answer")


class SqlSchema(Record):
    tables: list[Table]
    functions: list[str] = _about("all that a statement may call, beside operators and casts")
    limits: SqlLimits


class Health(Record):
    status: str
