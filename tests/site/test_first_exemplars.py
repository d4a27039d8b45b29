"""What one process kept of a unit's exemplars, another reads."""

from pathlib import Path

import numpy as np
from atlas_site.first_exemplars import N_FIRST, FirstExemplars

from atlas_db.records import ExemplarRecord


def _exemplars(n: int, seed: int) -> list[ExemplarRecord]:
    random = np.random.default_rng(seed)
    return [
        ExemplarRecord(rank, 10 * seed + rank, 1.0, 0, "", random.integers(0, 256, 6, np.uint8))
        for rank in range(1, n + 1)
    ]


def test_rows_are_read_back_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "exemplars"
    FirstExemplars(path, 5, 6).close()
    writer, reader = (FirstExemplars(path, 5, 6, "r+") for _ in range(2))
    kept = {4: _exemplars(16, 4), 0: _exemplars(2, 1), 3: []}
    for uid, exemplars in kept.items():
        writer.keep(uid, exemplars)
    assert reader.of(1) == []  # nobody kept it
    for uid, exemplars in kept.items():
        found = reader.of(uid)
        assert [image_id for image_id, _ in found] == [e.image_id for e in exemplars[:N_FIRST]]
        for (_, heatmap), exemplar in zip(found, exemplars, strict=False):
            assert heatmap.tolist() == exemplar.heatmap.tolist()
    writer.close()
    reader.close()
