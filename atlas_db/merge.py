"""Merge the shards' partial tables of units, a range of units at a time, in bounded memory.

All merges are associative and commutative: top exemplars by (activation falling, image_id
rising), negative ones by (activation rising, image_id rising), and sums. Sums of activations are
taken in the order of the images, so that the same shards give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas_db.errors import RunError
from atlas_db.histogram import QUANTILES, quantiles
from atlas_db.run_format import N_EXEMPLARS, N_HISTOGRAM_BINS, N_NEGATIVE_EXEMPLARS

#: A unit's sums take 1 KB while they are added up: 2**17 units, 128 MiB.
_SUM_BLOCK = 2**17
_SUM_BATCH = 2**13
#: Partial exemplars that are ranked at once, and bytes of heatmaps that are held at once.
_EXEMPLAR_ROWS = 2**22
_HEATMAP_BYTES = 2**26

_MERGED_EXEMPLARS = f"""
WITH best AS MATERIALIZED (
    SELECT uid, image_id,
        row_number() OVER (PARTITION BY uid ORDER BY activation DESC, image_id) AS merged_rank
    FROM run_exemplars WHERE uid >= $first AND uid < $stop
    QUALIFY merged_rank <= {N_EXEMPLARS} -- a shard's own `rank` would win the name here
)
SELECT uid, merged_rank::SMALLINT AS rank, image_id, activation, patch, heatmap, heatmap_scale,
    heatmap_zero
FROM best JOIN (FROM run_exemplars WHERE uid >= $first AND uid < $stop) USING (uid, image_id)
ORDER BY uid, merged_rank
"""

#: Rows of `negative_exemplars` of a range of units.
MERGED_NEGATIVE = f"""
SELECT uid, row_number() OVER least AS merged_rank, uid // $width AS layer,
    uid % $width AS unit, image_id, activation, patch, heatmap, heatmap_scale, heatmap_zero
FROM run_negative_exemplars WHERE uid >= $first AND uid < $stop
WINDOW least AS (PARTITION BY uid ORDER BY activation, image_id)
QUALIFY merged_rank <= {N_NEGATIVE_EXEMPLARS}
ORDER BY uid, merged_rank
"""


def exemplar_blocks(n_units: int, n_shards: int, n_patch: int) -> list[range]:
    """Cut the units into ranges whose exemplars can be merged at once."""
    by_rows = _EXEMPLAR_ROWS // (N_EXEMPLARS * n_shards)
    size = max(1, min(by_rows, _HEATMAP_BYTES // (N_EXEMPLARS * n_patch)))
    return [range(start, min(start + size, n_units)) for start in range(0, n_units, size)]


def merged_exemplars(
    connection: duckdb.DuckDBPyConnection, units: range, n_patch: int
) -> tuple[pa.Table, pa.Table]:
    """Merge the exemplars of a range of units: rows of `exemplars`, rows of `heatmaps`.

    Raises:
        RunError: A heatmap is not of `n_patch` bytes.
    """
    window = {"first": units.start, "stop": units.stop}
    merged = connection.execute(_MERGED_EXEMPLARS, window).to_arrow_table().combine_chunks()
    exemplars = merged.select(["uid", "rank", "image_id", "activation", "patch"])
    uid = merged["uid"].to_numpy()
    starts = np.flatnonzero(np.diff(uid, prepend=-1)).astype(np.int32)
    offsets = pa.array(np.append(starts, len(uid)).astype(np.int32))
    heatmaps = {"uid": pa.array(uid[starts])}
    for name, column in (("scales", "heatmap_scale"), ("zeros", "heatmap_zero")):
        heatmaps[name] = pa.ListArray.from_arrays(offsets, _flat(merged[column]))
    heatmaps["maps"] = _joined(_flat(merged["heatmap"]), np.append(starts, len(uid)), n_patch)
    return exemplars, pa.table(heatmaps)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _joined(maps: pa.Array, edges: np.ndarray, n_patch: int) -> pa.Array:
    """Join neighbouring values, edges[i] to edges[i + 1], into one; copies no byte."""
    maps = maps.cast(pa.large_binary())
    _, offset_buffer, data = maps.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[maps.offset : maps.offset + len(maps) + 1]
    if np.any(np.diff(offsets) != n_patch):
        size = int(np.diff(offsets)[np.diff(offsets) != n_patch][0])
        raise RunError(
            f"an exemplar's heatmap has {size} bytes, wanted one for each of {n_patch} patches. "
            "Build the run again into a new folder."
        )
    buffers = [None, pa.py_buffer(offsets[edges].tobytes()), data]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(edges) - 1, buffers)


def merged_sums(files: Sequence[Path], n_units: int) -> Iterator[pa.Table]:
    """Add up the shards' `unit_stats`; yields a table for each range of units, in their order.

    Columns: uid, n_patches, activation_mean, activation_density, activation_q50 and so on,
    histogram.
    """
    for start in range(0, n_units, _SUM_BLOCK):
        yield _sums(files, range(start, min(start + _SUM_BLOCK, n_units)))


def _sums(files: Sequence[Path], units: range) -> pa.Table:
    n = len(units)
    histogram = np.zeros((n, N_HISTOGRAM_BINS), np.int64)
    n_patches, n_positive = np.zeros(n, np.int64), np.zeros(n, np.int64)
    total = np.zeros(n)
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(_SUM_BATCH):
            uid = batch["uid"].to_numpy()
            if len(np.unique(uid)) != len(uid):
                raise RunError(f"{file} has two rows for one unit. Run the same build again.")
            inside = (uid >= units.start) & (uid < units.stop)
            place = uid[inside] - units.start
            counts = batch["histogram"].flatten().to_numpy().reshape(-1, N_HISTOGRAM_BINS)
            histogram[place] += counts[inside]
            n_patches[place] += batch["n_patches"].to_numpy()[inside]
            n_positive[place] += batch["n_positive"].to_numpy()[inside]
            total[place] += batch["activation_sum"].to_numpy()[inside]
    seen = np.maximum(n_patches, 1)
    columns = {
        "uid": np.arange(units.start, units.stop, dtype=np.int32),
        "n_patches": n_patches,
        "activation_mean": (total / seen).astype(np.float32),
        "activation_density": (n_positive / seen).astype(np.float32),
    }
    found = quantiles(histogram, n_positive).astype(np.float32)
    for column, q in enumerate(QUANTILES):
        columns[f"activation_q{round(100 * q)}"] = found[:, column]
    table = pa.table(columns)
    lists = pa.FixedSizeListArray.from_arrays(histogram.ravel(), N_HISTOGRAM_BINS)
    return table.append_column("histogram", lists.cast(pa.list_(pa.int64())))
