"""Summaries kept in a file are those of the table, wherever they are asked for."""

from pathlib import Path

import pytest

from atlas_db import queries
from atlas_db.connection import open_atlas
from atlas_db.known_summaries import KnownSummaries
from atlas_db.queries.of_units import summaries


@pytest.fixture
def known(connection, tmp_path: Path) -> KnownSummaries:
    return KnownSummaries.write(connection, tmp_path)


def test_every_summary_is_that_of_the_table(connection, known: KnownSummaries) -> None:
    asked = summaries(connection, range(96))
    assert known.of(range(96)) == asked
    assert len(asked) == 96
    assert {one.best_attribution is None for one in asked.values()} == {True, False}


def test_a_connection_that_remembers_gives_the_same_records(
    synthetic_atlas: Path, connection, known: KnownSummaries
) -> None:
    engine = open_atlas(synthetic_atlas)
    with engine.connect() as other:
        known.remember(other)
        assert [one.similar for one in queries.unit_records(other, 0, 96)] == [
            one.similar for one in queries.unit_records(connection, 0, 96)
        ]
        assert list(queries.concept_records(other)) == list(queries.concept_records(connection))
        of_images = [[one.top_tokens for one in i.units] for i in queries.image_records(other)]
        expected = [[one.top_tokens for one in i.units] for i in queries.image_records(connection)]
        assert of_images == expected
    engine.dispose()
