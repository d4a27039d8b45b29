"""Partial tables merge into what one pass would have found, however they were cut up."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from atlas_db import merge
from atlas_db.errors import RunError
from atlas_db.fixtures import write_synthetic_run
from atlas_db.merge import exemplar_blocks, merged_exemplars, merged_sums

N_UNITS, N_IMAGES = 24, 40


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One set of images in one, three and seven shards."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        n_shards: write_synthetic_run(
            folder / str(n_shards), n_layers=2, units_per_layer=12, n_images=N_IMAGES,
            grid=(3, 4), n_shards=n_shards,
        )
        for n_shards in (1, 3, 7)
    }  # fmt: skip


def files(run: Path, table: str) -> list[Path]:
    return sorted(run.glob(f"shards/*/{table}.parquet"))


def merged(paths: list[Path], blocks: list[range]) -> tuple[list[Any], list[Any]]:
    connection = duckdb.connect()
    names = ", ".join(f"'{path}'" for path in paths)
    connection.execute(f"CREATE VIEW run_exemplars AS FROM read_parquet([{names}])")
    found = [merged_exemplars(connection, units, n_patch=12) for units in blocks]
    connection.close()
    return (
        [row for exemplars, _ in found for row in exemplars.to_pylist()],
        [row for _, heatmaps in found for row in heatmaps.to_pylist()],
    )


@pytest.mark.parametrize("n_shards", [1, 3, 7])
@pytest.mark.parametrize("block", [5, N_UNITS])
def test_exemplars(runs: dict[int, Path], n_shards: int, block: int) -> None:
    paths = files(runs[n_shards], "exemplars")[::-1]
    blocks = [range(i, min(i + block, N_UNITS)) for i in range(0, N_UNITS, block)]
    exemplars, heatmaps = merged(paths, blocks)
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert [row["uid"] for row in heatmaps] == list(range(N_UNITS))
    for uid in range(N_UNITS):
        own = [row for row in rows if row["uid"] == uid]
        own.sort(key=lambda row: (-row["activation"], row["image_id"]))
        own = own[:16]
        found = [row for row in exemplars if row["uid"] == uid]
        for name in ("image_id", "activation", "patch"):
            assert [row[name] for row in found] == [row[name] for row in own]
        assert [row["rank"] for row in found] == list(range(1, 17))
        assert heatmaps[uid]["maps"] == b"".join(row["heatmap"] for row in own)
        assert heatmaps[uid]["scales"] == [row["heatmap_scale"] for row in own]
        assert heatmaps[uid]["zeros"] == [row["heatmap_zero"] for row in own]


def test_ties_go_to_the_lower_image_id(runs: dict[int, Path]) -> None:
    exemplars, _ = merged(files(runs[7], "exemplars"), [range(N_UNITS)])
    pairs = [
        (before, after)
        for before, after in pairwise(exemplars)
        if before["uid"] == after["uid"] and before["activation"] == after["activation"]
    ]
    assert len(pairs) > 10
    assert all(before["image_id"] < after["image_id"] for before, after in pairs)


@pytest.mark.parametrize("n_shards", [1, 3, 7])
def test_sums(runs: dict[int, Path], n_shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "_SUM_BLOCK", 10)
    monkeypatch.setattr(merge, "_SUM_BATCH", 7)
    paths = files(runs[n_shards], "unit_stats")
    tables = list(merged_sums(paths, N_UNITS))
    assert [table.num_rows for table in tables] == [10, 10, 4]
    found = [row for table in tables for row in table.to_pylist()]
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    for uid, row in enumerate(found):
        own = [one for one in rows if one["uid"] == uid]
        n_patches = sum(one["n_patches"] for one in own)
        total = sum(one["activation_sum"] for one in own)
        assert (row["uid"], row["n_patches"]) == (uid, n_patches)
        assert row["activation_mean"] == np.float32(total / n_patches)
        positive = sum(one["n_positive"] for one in own)
        assert row["activation_density"] == np.float32(positive / n_patches)
        assert row["histogram"] == np.sum([one["histogram"] for one in own], axis=0).tolist()


def test_two_rows_for_one_unit_are_refused(runs: dict[int, Path], tmp_path: Path) -> None:
    table = pq.read_table(files(runs[1], "unit_stats")[0])
    path = tmp_path / "unit_stats.parquet"
    pq.write_table(table.take([0, 1, 1]), path)
    with pytest.raises(RunError, match="two rows for one unit"):
        list(merged_sums([path], N_UNITS))


def test_a_heatmap_of_the_wrong_size_is_refused(runs: dict[int, Path]) -> None:
    connection = duckdb.connect()
    path = files(runs[1], "exemplars")[0]
    connection.execute(f"CREATE VIEW run_exemplars AS FROM read_parquet(['{path}'])")
    with pytest.raises(RunError, match="has 12 bytes, wanted one for each of 196 patches"):
        merged_exemplars(connection, range(N_UNITS), n_patch=196)
    connection.close()


@pytest.mark.parametrize("n_shards", [1, 10, 300, 10**6])
def test_blocks_cover_all_units_in_bounded_memory(n_shards: int) -> None:
    n_units = 2000
    blocks = exemplar_blocks(n_units, n_shards, n_patch=196)
    assert [uid for block in blocks for uid in block] == list(range(n_units))
    for block in blocks:
        assert len(block) * 16 * n_shards <= 2**22 or len(block) == 1
    gptj = exemplar_blocks(458_752, n_shards=1, n_patch=196)
    assert max(len(block) for block in gptj) * 16 * 196 <= 2**26
