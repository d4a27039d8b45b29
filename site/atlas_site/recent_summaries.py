"""Summaries of the units that were asked for last, kept as they were made.

The same units stand on the pages of many images and of words of one stem, whose concepts follow
one another.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from atlas_db.known_summaries import KnownSummaries
from atlas_db.records import UnitSummary

#: All of a small atlas (10 MB), few of a large one.
_N_KEPT, _N_KEPT_OF_MANY = 1 << 14, 1 << 12


class RecentSummaries(KnownSummaries):
    """Look summaries up as `KnownSummaries` does, in a folder that it wrote.

    Args:
        n_kept: How many are kept at most, but for those of one question; by default all of a small
            atlas.
    """

    def __init__(self, folder: Path, n_kept: int | None = None) -> None:
        super().__init__(folder)
        if n_kept is None:
            n_kept = _N_KEPT if len(self) <= _N_KEPT else _N_KEPT_OF_MANY
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
