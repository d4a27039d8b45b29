"""Summaries of the units that were asked for last, kept as they were made.

The same units stand on the pages of many images and of words of one stem, whose concepts follow
one another.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from atlas_db.known_summaries import KnownSummaries
from atlas_db.records import UnitSummary

#: About 5 MB of them.
_N_KEPT = 1 << 13


class RecentSummaries(KnownSummaries):
    """Look summaries up as `KnownSummaries` does, in a folder that it wrote.

    Args:
        n_kept: How many are kept at most, but for those of one question.
    """

    def __init__(self, folder: Path, n_kept: int = _N_KEPT) -> None:
        super().__init__(folder)
        self._n_kept = n_kept
        self._kept: dict[int, UnitSummary] = {}

    def of(self, uids: Collection[int]) -> dict[int, UnitSummary]:
        """Give the summaries of some units."""
        kept = self._kept
        missing = [uid for uid in uids if uid not in kept]
        if len(kept) + len(missing) > self._n_kept:
            kept.clear()
            missing = list(uids)
        kept |= super().of(missing)
        return {uid: kept[uid] for uid in uids}
