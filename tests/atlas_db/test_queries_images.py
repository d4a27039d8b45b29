import io
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Connection

from atlas_db import queries
from atlas_db.errors import NotInAtlasError
from atlas_db.records import ImageRecord

VALUES = ("target", "rank", "uid", "patch", "attribution", "z", "a", "gradient")


@pytest.fixture(scope="module")
def records(connection: Connection) -> list[ImageRecord]:
    return list(queries.image_records(connection))


def rows_of(truth: Any, table: str, image_id: int) -> list[dict[str, Any]]:
    rows = [row for row in truth.rows(table) if row["image_id"] == image_id]
    return sorted(rows, key=lambda row: (row["target"], row["rank"]))


def test_a_range_of_images(connection: Connection, records: list[ImageRecord]) -> None:
    ids = [record.summary.image_id for record in records]
    found = list(queries.image_records(connection, ids[2], ids[5]))
    assert [record.summary for record in found] == [record.summary for record in records[2:6]]
    assert (found[0].previous_id, found[-1].next_id) == (ids[1], ids[6])
    kept = {image_id: queries.thumbnail(connection, image_id) for image_id in ids}
    assert dict(queries.thumbnails(connection)) == {i: t for i, t in kept.items() if t is not None}
    assert any(kept.values())


def test_facts(records: list[ImageRecord], truth: Any) -> None:
    licences = {row["licence_id"]: row for row in truth.rows("licences")}
    ids = list(truth.images)
    assert [record.summary.image_id for record in records] == ids
    for number, record in enumerate(records):
        row = truth.images[ids[number]]
        licence = licences.get(row["licence_id"], {"name": "", "url": ""})
        assert (record.licence_name, record.licence_url) == (licence["name"], licence["url"])
        for name in ("split", "width_px", "height_px", "source_url", "coco_url"):
            assert getattr(record, name) == row[name]
        assert record.summary.file == row["file"]
        assert record.summary.caption == row["caption"]
        assert record.summary.categories == tuple(truth.categories[ids[number]])
        assert record.previous_id == (ids[number - 1] if number else None)
        assert record.next_id == (ids[number + 1] if number + 1 < len(ids) else None)


def test_captions_and_targets(records: list[ImageRecord], truth: Any) -> None:
    for record in records:
        image_id = record.summary.image_id
        captions = [row for row in truth.rows("human_captions") if row["image_id"] == image_id]
        captions.sort(key=lambda row: row["caption_index"])
        assert record.human_captions == tuple(row["caption"] for row in captions)
        wanted = [row for row in truth.rows("targets") if row["image_id"] == image_id]
        found = [
            {"image_id": image_id} | {n: getattr(t, n) for n in t.__dataclass_fields__}
            for t in record.targets
        ]
        assert found == sorted(wanted, key=lambda row: row["target"])
        assert record.summary.target_words == tuple(row["word"] for row in wanted)
        for target in record.targets:
            start = target.char_start
            assert record.summary.caption[start : start + len(target.word)] == target.word
    assert sorted(len(record.targets) for record in records) == [1] * 10 + [2]


def test_top_units_and_pairs(records: list[ImageRecord], truth: Any) -> None:
    for record in records:
        image_id = record.summary.image_id
        for table, found in (("image_units", record.units), ("attributions", record.pairs)):
            wanted = rows_of(truth, table, image_id)
            assert len(found) == len(wanted) > 0
            for one, row in zip(found, wanted, strict=True):
                assert {name: getattr(one, name) for name in VALUES} == {
                    name: row[name] for name in VALUES
                }
                assert (one.layer, one.unit) == divmod(row["uid"], 32)
                tokens = tuple(token["token"] for token in truth.tokens[row["uid"], 1])
                assert one.top_tokens == tokens


def test_the_first_units_have_heatmaps(records: list[ImageRecord], truth: Any) -> None:
    for record in records:
        wanted = rows_of(truth, "image_units", record.summary.image_id)
        for one, row in zip(record.units, wanted, strict=True):
            if one.rank > 5:
                assert one.heatmap is None
                continue
            assert one.heatmap is not None
            assert one.heatmap.tobytes() == row["heatmap"]
            assert (one.heatmap_scale, one.heatmap_zero) == (
                row["heatmap_scale"],
                row["heatmap_zero"],
            )
        assert all(pair.heatmap is None for pair in record.pairs)


def as_text(record: ImageRecord) -> str:
    return repr(record) + repr([u.heatmap is not None and u.heatmap.tolist() for u in record.units])


def test_one_image_is_what_the_bulk_says(
    records: list[ImageRecord], connection: Connection
) -> None:
    for record in records:
        found = queries.image(connection, record.summary.image_id)
        assert as_text(found) == as_text(record)


def test_a_skipped_image_is_not_there(connection: Connection, truth: Any) -> None:
    (skipped,) = truth.manifest["skipped"]
    with pytest.raises(NotInAtlasError, match="which has 11 images from 139 to"):
        queries.image(connection, skipped["image_id"])


def test_list(records: list[ImageRecord], connection: Connection) -> None:
    first = queries.images(connection, limit=4)
    assert (first.total, first.next_offset) == (11, 4)
    rest = queries.images(connection, limit=100, offset=4)
    assert rest.next_offset is None
    assert [*first.rows, *rest.rows] == [record.summary for record in records]


def test_list_by_category(records: list[ImageRecord], connection: Connection) -> None:
    page = queries.images(connection, category="dog")
    wanted = [record.summary for record in records if "dog" in record.summary.categories]
    assert 0 < len(wanted) < 11
    assert list(page.rows) == wanted
    assert queries.images(connection, category="stop sign").rows == ()
    with pytest.raises(NotInAtlasError, match=r"no category 'cat' .* It has: airplane, boat, dog"):
        queries.images(connection, category="cat")


def test_thumbnail(connection: Connection, truth: Any) -> None:
    for image_id, row in truth.images.items():
        found = queries.thumbnail(connection, image_id)
        assert found == row["thumbnail"]
        with Image.open(io.BytesIO(found or b"")) as image:
            assert (image.format, image.size) == ("WEBP", (224, 224))
    assert queries.thumbnail(connection, 1) is None
