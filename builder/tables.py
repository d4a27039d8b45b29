"""From what the pass found to the run folder's tables (`atlas_db.run_format.SHARD_SCHEMAS`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from atlas_db.run_format import N_HISTOGRAM_BINS, SHARD_SCHEMAS
from builder.attribution import TopRows
from builder.detection import Detection, TargetResult
from builder.exemplars import LayerExemplars
from builder.statistics import LayerStatistics


def binary_column(rows: Tensor) -> pa.Array:
    """Make a binary column of the rows of a (n, width) uint8 tensor, without a Python loop."""
    n, width = rows.shape
    offsets = pa.py_buffer(np.arange(n + 1, dtype=np.int32) * width)
    data = pa.py_buffer(rows.contiguous().numpy())
    return pa.Array.from_buffers(pa.binary(), n, [None, offsets, data])


class ShardTables:
    """Collects one shard's rows, batch by batch.

    Args:
        n_layers, d_mlp, n_patch: The model's dimensions and the patches of an image.
        k: Exemplars of each unit.
        n_negative: Negative exemplars of each unit; 0 for a table that is not there.
        device: Where exemplars and statistics are kept while streaming.
    """

    def __init__(
        self,
        n_layers: int,
        d_mlp: int,
        n_patch: int,
        *,
        k: int,
        n_negative: int = 0,
        device: torch.device,
    ) -> None:
        self.d_mlp = d_mlp
        self._exemplars = [LayerExemplars(d_mlp, n_patch, k, device) for _ in range(n_layers)]
        self._negative = [
            LayerExemplars(d_mlp, n_patch, n_negative, device, sign=-1)
            for _ in range(n_layers if n_negative else 0)
        ]
        self._statistics = [LayerStatistics(d_mlp, device) for _ in range(n_layers)]
        self._rows: dict[str, list[pa.Table]] = {
            name: [] for name in ("captions", "targets", "attributions", "image_units")
        }

    def see_activations(self, layer: int, activations: Tensor, image_ids: Tensor) -> None:
        """Take in a layer's activations (batch, patch, d_mlp) of the images `image_ids`."""
        self._exemplars[layer].update(activations, image_ids)
        if self._negative:
            self._negative[layer].update(activations, image_ids)
        self._statistics[layer].update(activations)

    def add(
        self, image_ids: Sequence[int], thumbnails: Sequence[bytes], detection: Detection
    ) -> None:
        """Take in what detection found in a batch."""
        captions = [caption.strip() for caption in detection.captions]
        self._append(
            "captions", {"image_id": image_ids, "caption": captions, "thumbnail": thumbnails}
        )
        for nth, result in enumerate(detection.results):
            self._add_targets(nth, image_ids, result, detection.captions)
            self._add_top("attributions", nth, image_ids, result.pairs)
            self._add_top("image_units", nth, image_ids, result.units, _heatmap_columns(result))

    def _add_targets(
        self, nth: int, image_ids: Sequence[int], result: TargetResult, captions: Sequence[str]
    ) -> None:
        has = [i for i, target in enumerate(result.targets) if target is not None]
        found = [target for target in result.targets if target is not None]
        indents = [len(captions[i]) - len(captions[i].lstrip()) for i in has]
        self._append(
            "targets",
            {
                "image_id": [image_ids[i] for i in has],
                "target": [nth] * len(has),
                "token_id": result.token_id[has].numpy(),
                "word": [target.word for target in found],
                "position": [target.position for target in found],
                "char_start": [
                    target.char_start - indent
                    for target, indent in zip(found, indents, strict=True)
                ],
                "logit": result.logit[has].float().numpy(),
                "prob": result.prob[has].float().numpy(),
            },
        )

    def _add_top(
        self,
        name: str,
        nth: int,
        image_ids: Sequence[int],
        rows: TopRows,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        image, column = (rows.uid >= 0).nonzero(as_tuple=True)
        table = {
            "image_id": np.asarray(image_ids, dtype=np.int64)[image.numpy()],
            "target": np.full(len(image), nth),
            "rank": (column + 1).numpy(),
            "uid": rows.uid[image, column].numpy(),
            "patch": rows.patch[image, column].numpy(),
        }
        for key in ("attribution", "z", "a", "gradient"):
            table[key] = getattr(rows, key)[image, column].float().numpy()
        for key, values in (extra or {}).items():
            table[key] = values(image, column)
        self._append(name, table)

    def _append(self, name: str, columns: Mapping[str, Any]) -> None:
        schema = SHARD_SCHEMAS[name]
        arrays = [_array(columns[field.name], field.type) for field in schema]
        self._rows[name].append(pa.table(arrays, schema=schema))

    def tables(self) -> dict[str, pa.Table]:
        """Give all tables of the shard."""
        tables = {
            name: pa.concat_tables([SHARD_SCHEMAS[name].empty_table(), *parts])
            for name, parts in self._rows.items()
        }
        tables["exemplars"] = pa.concat_tables(self._unit_tables(self._exemplars, _exemplar_table))
        if self._negative:
            negative = self._unit_tables(self._negative, _exemplar_table)
            tables["negative_exemplars"] = pa.concat_tables(negative)
        tables["unit_stats"] = pa.concat_tables(self._unit_tables(self._statistics, _stats_table))
        return tables

    def _unit_tables(self, layers: Iterable[Any], make: Any) -> list[pa.Table]:
        return [make(layer.rows(), i * self.d_mlp) for i, layer in enumerate(layers)]


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values.cast(kind)
    return pa.array(values).cast(kind) if isinstance(values, np.ndarray) else pa.array(values, kind)


def _heatmap_columns(result: TargetResult) -> dict[str, Any]:
    """Give, by column, a function of (image, rank - 1) that makes its values.

    Only the first units of an image have a map; the others' is empty.
    """
    n_maps = result.heatmap.shape[1]

    def heatmap(image: Tensor, column: Tensor) -> pa.Array:
        maps = [
            result.heatmap[i, c].numpy().tobytes() if c < n_maps else b""
            for i, c in zip(image.tolist(), column.tolist(), strict=True)
        ]
        return pa.array(maps, pa.binary())

    def number(values: Tensor) -> Any:
        return lambda image, column: np.where(
            column.numpy() < n_maps, values[image, column.clamp(max=n_maps - 1)].numpy(), 0
        )

    return {
        "heatmap": heatmap,
        "heatmap_scale": number(result.heatmap_scale),
        "heatmap_zero": number(result.heatmap_zero),
    }


def _exemplar_table(rows: Mapping[str, Tensor], first_uid: int) -> pa.Table:
    columns = {name: rows[name].numpy() for name in rows if name not in ("unit", "heatmap")}
    columns["uid"] = rows["unit"].numpy() + first_uid
    columns["heatmap"] = binary_column(rows["heatmap"])
    schema = SHARD_SCHEMAS["exemplars"]
    return pa.table([_array(columns[field.name], field.type) for field in schema], schema=schema)


def _stats_table(rows: Mapping[str, Tensor], first_uid: int) -> pa.Table:
    histogram = pa.FixedSizeListArray.from_arrays(
        pa.array(rows["histogram"].flatten().numpy()), N_HISTOGRAM_BINS
    )
    columns = {name: rows[name].numpy() for name in rows if name != "histogram"}
    columns["uid"] = np.arange(first_uid, first_uid + len(histogram))
    schema = SHARD_SCHEMAS["unit_stats"]
    arrays = [_array(columns[name], schema.field(name).type) for name in schema.names[:-1]]
    return pa.table([*arrays, histogram.cast(schema.field("histogram").type)], schema=schema)
