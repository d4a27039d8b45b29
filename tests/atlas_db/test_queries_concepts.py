from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from atlas_db import queries
from atlas_db.concepts import slug, stem
from atlas_db.connection import open_atlas
from atlas_db.errors import NotInAtlasError
from atlas_db.fixtures import write_synthetic_run
from atlas_db.ingest import ingest
from atlas_db.records import ConceptRecord, ConceptSummary


def expected_summary(truth: Any, concept: str) -> ConceptSummary:
    units = truth.concepts[concept]
    return ConceptSummary(
        concept,
        slug(concept),
        stem(concept),
        len(units),
        len({uid // 32 for uid in units}),
        max(
            row["prob"]
            for uid in units
            for row in truth.tokens[uid, 1]
            if row["concept"] == concept
        ),
    )


def expected_units(truth: Any, *concepts: str, sort: str = "shown") -> list[tuple[Any, ...]]:
    best: dict[int, tuple[Any, ...]] = {}
    for concept in concepts:
        for uid, row in truth.concepts[concept].items():
            n_shown = truth.n_shown(uid, concept)
            order = (-n_shown, -row["prob"]) if sort == "shown" else (-row["prob"],)
            found = (order, concept, uid, row["rank"], row["token"], row["prob"], n_shown)
            best[uid] = min(best.get(uid, found), found)
    ordered = sorted(best.values(), key=lambda row: (row[0], row[2]))
    return [(uid, concept, *rest) for _, concept, uid, *rest in ordered]


def expected_related(truth: Any, concept: str) -> list[tuple[str, float]]:
    folded = dict.fromkeys(truth.vocabulary)
    for rows in truth.tokens.values():
        folded |= {row["token_id"]: row["concept"] for row in rows}
    near: dict[str, float] = {}
    for row in truth.rows("token_neighbours"):
        other = folded[row["neighbour_id"]]
        if folded[row["token_id"]] == concept and other in truth.concepts and other != concept:
            near[other] = max(near.get(other, -1.0), row["cosine"])
    return sorted(near.items(), key=lambda pair: (-pair[1], pair[0].encode()))[:8]


def units_of(record: ConceptRecord) -> list[tuple[Any, ...]]:
    return [
        (one.unit.uid, one.concept, one.rank, one.token, one.prob, one.n_shown)
        for one in record.units
    ]


@pytest.fixture(scope="module")
def records(connection: Connection) -> dict[str, ConceptRecord]:
    return {record.summary.concept: record for record in queries.concept_records(connection)}


def test_a_range_of_concepts(connection: Connection, records: dict[str, ConceptRecord]) -> None:
    names = list(records)
    part = names[3:11]
    found = list(queries.concept_records(connection, part[0], part[-1]))
    assert found == [records[name] for name in part]


def test_every_concept(records: dict[str, ConceptRecord], truth: Any) -> None:
    assert list(records) == sorted(truth.concepts, key=str.encode)
    for concept, record in records.items():
        assert record.summary == expected_summary(truth, concept)
        assert units_of(record) == expected_units(truth, concept)
        related = [(one.concept, one.cosine) for one in record.related]
        assert related == expected_related(truth, concept)
        for one in record.related:
            assert (one.slug, one.n_units) == (slug(one.concept), len(truth.concepts[one.concept]))
        family = {other for other in truth.concepts if stem(other) == stem(concept)} - {concept}
        assert {one.concept for one in record.family} == family


def test_units_in_a_record_are_the_units_of_the_atlas(
    records: dict[str, ConceptRecord], connection: Connection
) -> None:
    summaries = queries.units(connection, sort="uid", limit=96).rows
    for record in records.values():
        assert all(one.unit == summaries[one.unit.uid] for one in record.units)


@pytest.mark.parametrize("word", ["water", " Water", "boats", "café", "line\nbreak", "strasse"])
def test_exact_is_what_the_bulk_says(
    connection: Connection, records: dict[str, ConceptRecord], word: str
) -> None:
    record = queries.concept(connection, word)
    assert record == records[record.summary.concept]


def test_hostile_tokens_are_concepts(connection: Connection) -> None:
    for token in (" <script>alert(1)</script>", "\"'", "\\xe2\\x96", "../../etc/passwd", "%s{}$"):
        record = queries.concept(connection, token)
        assert token in {one.token for one in record.units}


def test_family(connection: Connection, truth: Any) -> None:
    record = queries.concept(connection, "boats", match="family")
    assert record.summary.concept == "boats"
    assert units_of(record) == expected_units(truth, "boat", "boats", "boating")
    assert len({one.unit.uid for one in record.units}) == len(record.units)


def test_family_answers_for_a_word_that_is_no_concept(connection: Connection, truth: Any) -> None:
    record = queries.concept(connection, "boated", match="family")
    sizes = {concept: len(truth.concepts[concept]) for concept in ("boat", "boats", "boating")}
    assert record.summary.concept == max(sizes, key=lambda concept: sizes[concept])
    assert units_of(record) == expected_units(truth, "boat", "boats", "boating")


def test_related(connection: Connection, truth: Any) -> None:
    record = queries.concept(connection, "snow", match="related")
    near = [concept for concept, _ in expected_related(truth, "snow")]
    assert units_of(record) == expected_units(truth, "snow", *near)[:100]


def test_pages_of_units(connection: Connection, truth: Any) -> None:
    wanted = expected_units(truth, "water")
    record = queries.concept(connection, "water", limit=3, offset=2)
    assert units_of(record) == wanted[2:5]


def test_units_by_probability(connection: Connection, truth: Any) -> None:
    record = queries.concept(connection, "boat", match="family", sort="prob", limit=500)
    assert units_of(record) == expected_units(truth, "boat", "boats", "boating", sort="prob")


def test_units_that_show_a_concept_come_first(tmp_path: Path, truth_of: Any) -> None:
    """With more images than exemplars, units see a concept in different numbers of theirs."""
    run = write_synthetic_run(tmp_path / "run", n_images=60)
    ingest(run, tmp_path / "atlas.duckdb")
    truth = truth_of(run)
    engine = open_atlas(tmp_path / "atlas.duckdb")
    with engine.connect() as connection:
        for word in ("boat", "dog", "pizza"):
            record = queries.concept(connection, word, limit=500)
            assert len({one.n_shown for one in record.units}) > 2
            assert units_of(record) == expected_units(truth, word)
            assert units_of(record) != expected_units(truth, word, sort="prob")
        (bulk,) = queries.concept_records(connection, "dog", "dog")
        assert bulk == queries.concept(connection, "dog")
    engine.dispose()


def test_prefix(connection: Connection, truth: Any) -> None:
    page = queries.concepts(connection, prefix=" BOA", limit=2)
    wanted = [concept for concept in truth.concepts if concept.startswith("boa")]
    wanted.sort(key=lambda concept: (-len(truth.concepts[concept]), concept))
    assert [one.concept for one in page.rows] == wanted[:2]
    assert (page.total, page.next_offset) == (3, 2)


def test_a_prefix_is_no_pattern(connection: Connection) -> None:
    assert [one.concept for one in queries.concepts(connection, prefix="%").rows] == ["%s{}$"]
    assert queries.concepts(connection, prefix="_").total == 0
    assert queries.concepts(connection, prefix="\n").total == 0


def test_all_concepts(connection: Connection, truth: Any) -> None:
    page = queries.concepts(connection, limit=1000)
    wanted = sorted(truth.concepts, key=lambda c: (-len(truth.concepts[c]), c.encode()))
    assert [one.concept for one in page.rows] == wanted


@pytest.mark.parametrize(
    ("typed", "meant"), [("watr", "water"), ("mountian", "mountain"), ("Pizzza", "pizza")]
)
def test_fuzzy_forgives_a_slip(connection: Connection, typed: str, meant: str) -> None:
    page = queries.concepts(connection, prefix=typed, fuzzy=True)
    assert page.rows[0].concept == meant
    assert page.total == len(page.rows)


def test_fuzzy_does_not_forgive_everything(connection: Connection) -> None:
    assert queries.concepts(connection, prefix="xylophone", fuzzy=True).rows == ()
    short = {one.concept for one in queries.concepts(connection, prefix="dig", fuzzy=True).rows}
    assert "dog" in short
    assert "dogs" not in short  # two edits away


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("watr", "No unit promotes 'watr'. Near it: water"),
        ("boated", "No unit promotes 'boated'. Near it: .*boat"),
        ("xylophone", "No unit promotes 'xylophone'. Try a shorter or more common word"),
        ("  ", "has nothing to look up"),
    ],
)
def test_an_unknown_word(connection: Connection, word: str, message: str) -> None:
    with pytest.raises(NotInAtlasError, match=message):
        queries.concept(connection, word)


def test_wrong_arguments(connection: Connection) -> None:
    with pytest.raises(ValueError, match="match must be one of exact, family, related, got 'all'"):
        queries.concept(connection, "water", match="all")
    with pytest.raises(ValueError, match="sort must be one of shown, prob, got 'rank'"):
        queries.concept(connection, "water", sort="rank")
    with pytest.raises(ValueError, match="limit must be >= 1"):
        queries.concepts(connection, limit=0)
