"""What is kept of summaries is what would be looked up, and is bounded."""

from pathlib import Path

import numpy as np
from atlas_site.recent_summaries import RecentSummaries
from sqlalchemy import Connection

from atlas_db.known_summaries import KnownSummaries
from atlas_db.queries.of_units import KNOWN_SUMMARIES


def test_summaries_are_those_that_are_known(connection: Connection, tmp_path: Path) -> None:
    known = KnownSummaries.write(connection, tmp_path)
    n_units = len(known._rows)
    recent = RecentSummaries(tmp_path, n_kept=n_units // 2)
    random = np.random.default_rng(0)
    for _ in range(20):
        uids = set(random.integers(0, n_units, n_units // 4).tolist())
        assert recent.of(uids) == known.of(uids)
        assert len(recent._kept) <= n_units // 2


def test_a_question_of_more_than_are_kept_is_answered_whole(
    connection: Connection, tmp_path: Path
) -> None:
    known = KnownSummaries.write(connection, tmp_path)
    recent = RecentSummaries(tmp_path, n_kept=2)
    first = recent.of({1})[1]
    assert recent.of({1})[1] is first
    assert recent.of(range(6)) == known.of(range(6))


def test_a_connection_remembers_it(connection: Connection, tmp_path: Path) -> None:
    KnownSummaries.write(connection, tmp_path)
    recent = RecentSummaries(tmp_path)
    recent.remember(connection)
    assert connection.info[KNOWN_SUMMARIES] is recent
