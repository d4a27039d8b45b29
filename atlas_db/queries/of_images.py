"""Images: lists of them, and all that one image's page shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, func, select

from atlas_db.errors import NotInAtlasError
from atlas_db.queries.of_units import summaries
from atlas_db.queries.paging import check_page, next_offset
from atlas_db.queries.statements import bulk_rows, collector_paused
from atlas_db.records import AttributionRecord, ImageRecord, ImageSummary, Page, TargetRecord
from atlas_db.schema import (
    Attribution,
    Category,
    HumanCaption,
    Image,
    ImageUnit,
    Licence,
    Target,
    Thumbnail,
)

_BLOCK = 100

_SUMMARY: tuple[Any, ...] = (
    Image.image_id,
    Image.file,
    Image.caption,
    Image.target_words,
    Image.categories,
)
_FACTS = (
    "split", "width_px", "height_px", "licence_name", "licence_url", "source_url", "coco_url",
)  # fmt: skip


def _summary_of(row: Any) -> ImageSummary:
    image_id, file, caption, words, categories = row[:5]
    return ImageSummary(image_id, file, caption, tuple(words), tuple(categories))


def images(
    connection: Connection, *, category: str | None = None, limit: int = 50, offset: int = 0
) -> Page[ImageSummary]:
    """List images by their ids, all or those that show an object of a category.

    Raises:
        ValueError: A limit below 1 or an offset below 0.
        NotInAtlasError: The data set has no such category; says which it has.
    """
    check_page(limit, offset)
    conditions = []
    if category is not None:
        names = connection.execute(select(Category.name).order_by(Category.name)).scalars().all()
        if category not in names:
            raise NotInAtlasError(
                f"There is no category {category!r} in this atlas. It has: {', '.join(names)}."
            )
        conditions.append(func.list_contains(Image.categories, category))
    total = connection.execute(select(func.count(Image.image_id)).where(*conditions)).scalar_one()
    rows = connection.execute(
        select(*_SUMMARY).where(*conditions).order_by(Image.image_id).limit(limit).offset(offset)
    ).all()
    return Page(
        tuple(_summary_of(row) for row in rows), total, next_offset(offset, len(rows), total)
    )


def image(connection: Connection, image_id: int) -> ImageRecord:
    """Tell all that an image's page shows.

    Raises:
        NotInAtlasError: There is no such image.
    """
    records = _records(connection, [image_id])
    if not records:
        n_images, least, greatest = connection.execute(
            select(func.count(), func.min(Image.image_id), func.max(Image.image_id))
        ).one()
        raise NotInAtlasError(
            f"Image {image_id} is not in this atlas, which has {n_images} images from {least} to "
            f"{greatest}. Images that could not be read are left out."
        )
    return records[0]


def image_records(
    connection: Connection, first_id: int | None = None, last_id: int | None = None
) -> Iterator[ImageRecord]:
    """Give the records of images by their ids, with a few queries a 100.

    Args:
        first_id, last_id: Between which ids, both included; all images by default.
    """
    chosen = select(Image.image_id).order_by(Image.image_id)
    if first_id is not None:
        chosen = chosen.where(Image.image_id >= first_id)
    if last_id is not None:
        chosen = chosen.where(Image.image_id <= last_id)
    ids = list(connection.execute(chosen).scalars())
    for start in range(0, len(ids), _BLOCK):
        with collector_paused():
            block = _records(connection, ids[start : start + _BLOCK])
        yield from block


def thumbnail(connection: Connection, image_id: int) -> bytes | None:
    """Fetch what the model saw of an image, as WebP; None if the atlas keeps none of it."""
    statement = select(Thumbnail.thumbnail).where(Thumbnail.image_id == image_id)
    return connection.execute(statement).scalar()


def thumbnails(connection: Connection) -> Iterator[tuple[int, bytes]]:
    """Give (image id, what the model saw of it as WebP) of every image that the atlas keeps."""
    kept = select(Thumbnail.image_id).order_by(Thumbnail.image_id)
    ids = list(connection.execute(kept).scalars())
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        wanted = Thumbnail.image_id.between(block[0], block[-1])
        chosen: Any = select(Thumbnail.image_id, Thumbnail.thumbnail).where(wanted)
        rows = bulk_rows(connection, chosen.order_by(Thumbnail.image_id))
        yield from ((image_id, thumbnail) for image_id, thumbnail in rows)


def _records(connection: Connection, ids: list[int]) -> list[ImageRecord]:
    """Look up images that follow one another in the order of ids."""

    def within(column: Any) -> ColumnElement[bool]:
        return column == ids[0] if len(ids) == 1 else column.between(ids[0], ids[-1])

    rows: Sequence[Any] = connection.execute(
        select(
            *_SUMMARY, Image.split, Image.width_px, Image.height_px,
            func.coalesce(Licence.name, ""), func.coalesce(Licence.url, ""),
            Image.source_url, Image.coco_url,
        )
        .outerjoin(Licence, Licence.licence_id == Image.licence_id)
        .where(within(Image.image_id))
        .order_by(Image.image_id)
    ).all()  # fmt: skip
    if not rows:
        return []
    captions = _grouped(connection, HumanCaption, within, ("caption_index", "caption"))
    targets = _grouped(connection, Target, within, tuple(TargetRecord.__dataclass_fields__))
    units = _attributions(connection, ImageUnit, within)
    pairs = _attributions(connection, Attribution, within)
    before, after = _neighbours(connection, ids[0], ids[-1])
    places = [before, *(row[0] for row in rows), after]
    return [
        ImageRecord(
            summary=_summary_of(row),
            **dict(zip(_FACTS, row[5:], strict=True)),
            human_captions=tuple(caption for _, caption in captions.get(row[0], ())),
            targets=tuple(TargetRecord(*target) for target in targets.get(row[0], ())),
            units=units.get(row[0], ()),
            pairs=pairs.get(row[0], ()),
            previous_id=places[number],
            next_id=places[number + 2],
        )
        for number, row in enumerate(rows)
    ]


def _neighbours(connection: Connection, first: int, last: int) -> tuple[int | None, int | None]:
    previous = select(func.max(Image.image_id)).where(Image.image_id < first).scalar_subquery()
    following = select(func.min(Image.image_id)).where(Image.image_id > last).scalar_subquery()
    before, after = connection.execute(select(previous, following)).one()
    return before, after


def _grouped(
    connection: Connection, table: Any, within: Any, names: tuple[str, ...]
) -> dict[int, list[Any]]:
    columns = [getattr(table, name) for name in names]
    rows = connection.execute(
        select(table.image_id, *columns)
        .where(within(table.image_id))
        .order_by(table.image_id, columns[0])
    ).all()
    return {
        key: [tuple(row[1:]) for row in group] for key, group in groupby(rows, key=itemgetter(0))
    }


def _attributions(
    connection: Connection, table: Any, within: Any
) -> dict[int, tuple[AttributionRecord, ...]]:
    names = ("target", "rank", "uid", "layer", "unit", "patch", "attribution", "z", "a", "gradient")
    maps = (table.heatmap, table.heatmap_scale, table.heatmap_zero) if table is ImageUnit else ()
    rows = bulk_rows(
        connection,
        select(table.image_id, *(getattr(table, name) for name in names), *maps)
        .where(within(table.image_id))
        .order_by(table.image_id, table.target, table.rank),
    )
    units = summaries(connection, {row[3] for row in rows})
    return {
        key: tuple(_attribution(row, units[row[3]].top_tokens) for row in group)
        for key, group in groupby(rows, key=itemgetter(0))
    }


def _attribution(row: Any, top_tokens: tuple[str, ...]) -> AttributionRecord:
    values = [*row[1:11], top_tokens]
    packed = row[11:]
    if packed and packed[0]:
        values += [np.frombuffer(packed[0], np.uint8), *packed[1:]]
    return AttributionRecord(*values)


def licences(connection: Connection) -> tuple[tuple[str, str, int], ...]:
    """List the photographs' licences as (name, address, images), the most used first."""
    n_images = func.count(Image.image_id)
    chosen = (
        select(func.coalesce(Licence.name, ""), func.coalesce(Licence.url, ""), n_images)
        .select_from(Image)
        .join(Licence, Licence.licence_id == Image.licence_id, isouter=True)
        .group_by(Licence.name, Licence.url)
        .order_by(n_images.desc(), Licence.name)
    )
    return tuple((row[0], row[1], row[2]) for row in connection.execute(chosen))
