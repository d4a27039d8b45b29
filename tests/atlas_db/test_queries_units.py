from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from atlas_db import queries
from atlas_db.errors import NotInAtlasError
from atlas_db.histogram import QUANTILE_ERROR_AT_ZERO, QUANTILE_RELATIVE_ERROR
from atlas_db.records import UnitRecord, UnitSummary

N_UNITS, UNITS_PER_LAYER = 96, 32


def expected_summary(truth: Any, uid: int) -> dict[str, Any]:
    places = truth.places.get(uid, [])
    in_order = sorted(places, key=lambda row: (row["image_id"], row["target"]))
    attributions = [row["attribution"] for row in in_order]
    n_images = len({row["image_id"] for row in places})
    promoted = truth.tokens[uid, 1]
    n_words = sum(row["is_word"] for row in promoted)
    usual = sum(len({r["image_id"] for r in rows}) for rows in truth.places.values()) / N_UNITS
    return {
        "uid": uid,
        "layer": uid // UNITS_PER_LAYER,
        "unit": uid % UNITS_PER_LAYER,
        "top_tokens": tuple(row["token"] for row in promoted),
        "n_images": n_images,
        "image_frequency": pytest.approx(n_images / len(truth.images), rel=1e-6),
        "is_always_on": n_images > 0.5 * len(truth.images) and n_images > 4 * usual,
        "is_interpretable": n_words >= 7,
        "n_dictionary_words": n_words,
        "best_attribution": max(attributions, default=None),
        "mean_attribution": pytest.approx(np.mean(attributions), rel=1e-6) if places else None,
        "activation_max": truth.exemplars[uid][0]["activation"],
    }


def fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


@pytest.fixture(scope="module")
def records(connection: Connection) -> list[UnitRecord]:
    return list(queries.unit_records(connection, 0, N_UNITS))


def test_summaries(records: list[UnitRecord], truth: Any) -> None:
    assert len(records) == N_UNITS
    for uid, record in enumerate(records):
        assert fields(record.summary) == expected_summary(truth, uid)
    assert [r.summary.uid for r in records if r.summary.is_always_on] == [7]
    assert {r.summary.n_dictionary_words for r in records} >= {0, 6, 7, 8}


def test_tokens(records: list[UnitRecord], truth: Any) -> None:
    names = ("rank", "token_id", "token", "concept", "logit", "prob")
    for uid, record in enumerate(records):
        for sign, tokens in ((1, record.promoted), (-1, record.suppressed)):
            wanted = [{name: row[name] for name in names} for row in truth.tokens[uid, sign]]
            assert [fields(token) for token in tokens] == wanted


def test_exemplars(records: list[UnitRecord], truth: Any) -> None:
    for uid, record in enumerate(records):
        assert [found.rank for found in record.exemplars] == list(range(1, 12))
        for found, wanted in zip(record.exemplars, truth.exemplars[uid], strict=True):
            for name in ("image_id", "activation", "patch", "heatmap_scale", "heatmap_zero"):
                assert getattr(found, name) == wanted[name]
            assert found.heatmap.tobytes() == wanted["heatmap"]
            assert found.caption == truth.images[wanted["image_id"]]["caption"]
            activations = found.activations()
            assert activations.dtype == np.float32
            assert activations[found.patch] == pytest.approx(found.activation, abs=1e-5)


def test_images(records: list[UnitRecord], truth: Any) -> None:
    for uid, record in enumerate(records):
        wanted = [
            (row["image_id"], truth.words[row["image_id"], row["target"]], row["rank"])
            for row in truth.places.get(uid, [])
        ]
        found = [(image.image_id, image.target_word, image.rank) for image in record.images]
        assert found == wanted[:20]
        attributions = [row["attribution"] for row in truth.places.get(uid, [])]
        assert [image.attribution for image in record.images] == attributions[:20]


def test_statistics(records: list[UnitRecord], truth: Any) -> None:
    norms = {row["uid"]: row["write_norm"] for row in truth.rows("units")}
    for uid, record in enumerate(records):
        rows = [row for row in truth.rows("unit_stats") if row["uid"] == uid]
        n_patches = sum(row["n_patches"] for row in rows)
        total = sum(row["activation_sum"] for row in rows)
        positive = sum(row["n_positive"] for row in rows)
        assert record.write_norm == norms[uid]
        assert record.n_patches == n_patches == 11 * 196
        assert record.activation_mean == pytest.approx(total / n_patches, rel=1e-6)
        assert record.activation_density == pytest.approx(positive / n_patches, rel=1e-6)
        counts = np.sum([row["histogram"] for row in rows], axis=0)
        assert record.histogram == tuple(counts.tolist())


def test_quantiles_against_every_activation(records: list[UnitRecord]) -> None:
    """With 11 images each is an exemplar, so its heatmap gives every activation."""
    for record in records:
        values = np.concatenate([exemplar.activations() for exemplar in record.exemplars])
        step = max(exemplar.heatmap_scale for exemplar in record.exemplars)
        for name, found in record.activation_quantiles.items():
            exact = np.quantile(values, float(name), method="inverted_cdf")
            allowed = max(QUANTILE_RELATIVE_ERROR * abs(exact), QUANTILE_ERROR_AT_ZERO)
            assert abs(found - exact) <= allowed + step
            assert found <= record.summary.activation_max
        assert list(record.activation_quantiles) == ["0.5", "0.9", "0.95", "0.99"]


def test_similar_units(records: list[UnitRecord], truth: Any, connection: Connection) -> None:
    near: dict[int, list[Any]] = {}
    for row in truth.rows("unit_neighbours"):
        near.setdefault(row["uid"], []).append((row["neighbour_uid"], row["cosine"]))
    for uid, record in enumerate(records):
        assert [(one.unit.uid, one.cosine) for one in record.similar] == near[uid]
        assert [one.unit for one in record.similar] == [
            records[neighbour].summary for neighbour, _ in near[uid]
        ]
    assert queries.similar_units(connection, 5, limit=3) == records[5].similar[:3]
    assert queries.similar_units(connection, N_UNITS) == ()


def test_neighbours_in_order(records: list[UnitRecord]) -> None:
    pairs = [(record.previous_uid, record.next_uid) for record in records]
    assert pairs[0] == (None, 1)
    assert pairs[50] == (49, 51)
    assert pairs[-1] == (N_UNITS - 2, None)


def test_one_unit_is_what_the_bulk_says(records: list[UnitRecord], connection: Connection) -> None:
    for layer, unit in ((0, 0), (1, 7), (2, 31)):
        found = fields(queries.unit(connection, layer, unit))
        wanted = fields(records[layer * UNITS_PER_LAYER + unit])
        for one in (found, wanted):
            one["exemplars"] = [
                {**fields(row), "heatmap": row.heatmap.tolist()} for row in one["exemplars"]
            ]
        assert found == wanted


@pytest.mark.parametrize(
    ("layer", "unit", "message"),
    [
        (3, 0, "Layer 3 is not in this atlas: its layers are 0 to 2"),
        (-1, 0, "Layer -1 is not"),
        (1, 32, r"L1.U32 is not in this atlas: the units of layer 1 are 0 to 31"),
        (1, -1, r"L1.U-1 is not"),
    ],
)
def test_an_unknown_unit(connection: Connection, layer: int, unit: int, message: str) -> None:
    with pytest.raises(NotInAtlasError, match=message):
        queries.unit(connection, layer, unit)


FILTERS: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda unit, truth: True),
    ({"layer": 1}, lambda unit, truth: unit.layer == 1),
    ({"min_images": 2}, lambda unit, truth: unit.n_images >= 2),
    ({"interpretable": True}, lambda unit, truth: unit.is_interpretable),
    ({"interpretable": False, "layer": 2}, lambda unit, truth: (
        not unit.is_interpretable and unit.layer == 2
    )),
    ({"always_on": True}, lambda unit, truth: unit.uid == 7),
    ({"always_on": False}, lambda unit, truth: unit.uid != 7),
    ({"concept": " WATER"}, lambda unit, truth: unit.uid in truth.concepts["water"]),
    ({"concept": "   "}, lambda unit, truth: False),
]  # fmt: skip


@pytest.mark.parametrize(("filters", "keeps"), FILTERS)
def test_filters(
    connection: Connection, truth: Any, records: list[UnitRecord], filters: Any, keeps: Any
) -> None:
    page = queries.units(connection, **filters, sort="uid", limit=N_UNITS)
    wanted = [record.summary for record in records if keeps(record.summary, truth)]
    assert page.rows == tuple(wanted)
    assert page.total == len(wanted)
    assert page.next_offset is None


def by_none_last(value: float | None) -> float:
    return float("inf") if value is None else -value


SORTS: dict[str, Any] = {
    "images": lambda u: (-u.n_images, by_none_last(u.best_attribution), u.uid),
    "attribution": lambda u: (by_none_last(u.best_attribution), u.uid),
    "activation": lambda u: (-u.activation_max, u.uid),
    "uid": lambda u: u.uid,
}


@pytest.mark.parametrize("sort", SORTS)
def test_sorts_and_pages(connection: Connection, records: list[UnitRecord], sort: str) -> None:
    found: list[UnitSummary] = []
    offset: int | None = 0
    while offset is not None:
        page = queries.units(connection, sort=sort, limit=40, offset=offset)
        assert page.total == N_UNITS
        found += page.rows
        offset = page.next_offset
    assert found == sorted((record.summary for record in records), key=SORTS[sort])


def test_wrong_arguments(connection: Connection) -> None:
    with pytest.raises(ValueError, match=r"sort must be one of images, .*, got 'size'"):
        queries.units(connection, sort="size")
    with pytest.raises(ValueError, match="limit must be >= 1, got 0"):
        queries.units(connection, limit=0)
    with pytest.raises(ValueError, match="offset must be >= 0, got -1"):
        queries.units(connection, offset=-1)
    with pytest.raises(NotInAtlasError, match="Layer 9"):
        queries.units(connection, layer=9)


def test_examples_are_interpretable_and_shown_by_several_images(
    connection: Connection, records: list[UnitRecord]
) -> None:
    good = [
        record.summary
        for record in records
        if record.summary.is_interpretable
        and not record.summary.is_always_on
        and record.summary.n_images
    ]
    good.sort(key=lambda unit: (unit.n_images < 3, -(unit.mean_attribution or 0), unit.uid))
    assert queries.examples(connection, limit=5) == tuple(good[:5])
