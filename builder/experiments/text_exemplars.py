"""The passages of text on which each unit is most active, with its activation at each token.

The streaming top-k is that of the images' exemplars (`builder.exemplars`), with the tokens of a
passage in the place of patches; activations are kept as bytes, off by at most 1 / 510 of a
passage's range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from atlas_db.experiment_format import EXPERIMENT_SCHEMAS
from builder.exemplars import LayerExemplars
from builder.experiments.text_passages import MAX_TOKENS, Passage, PassageBatch
from builder.language_model import LanguageModel

N_PASSAGES = 5
TABLE = "text_exemplars"


class TextCollector:
    """Keeps every unit's top passages, and the greatest activation of some units on each passage.

    Args:
        model: Whose units.
        n_passages: How many there will be.
        uid: (n,) units whose greatest activation on every passage is kept.
    """

    def __init__(self, model: LanguageModel, n_passages: int, uid: npt.NDArray[np.int64]) -> None:
        device = model.unembedding.device
        k = max(1, min(N_PASSAGES, n_passages))
        self.d_mlp = model.d_mlp
        self.exemplars = [LayerExemplars(model.d_mlp, MAX_TOKENS, k, device) for _ in model.layers]
        self.peaks = torch.zeros(n_passages, len(uid), device=device)
        units = torch.tensor(uid, device=device)
        layer = units.div(model.d_mlp, rounding_mode="floor")
        self._columns = [(layer == i).nonzero()[:, 0] for i in model.layers]
        self._units = units % model.d_mlp

    def see(self, layer: int, batch: PassageBatch) -> None:
        """Take in one layer of a batch."""
        self.exemplars[layer].update(batch.activations, batch.index)
        columns = self._columns[layer]
        peaks = batch.activations.amax(dim=1)[:, self._units[columns]]
        self.peaks[batch.index[:, None], columns] = peaks.to(self.peaks.dtype)

    def table(self, passages: Sequence[Passage], texts: Sequence[str]) -> pa.Table:
        """Write `text_exemplars`; `texts` are the vocabulary's, by token id."""
        parts = [
            _layer_rows(layer * self.d_mlp, found.rows(), passages, texts)
            for layer, found in enumerate(self.exemplars)
        ]
        return pa.concat_tables(parts).cast(EXPERIMENT_SCHEMAS[TABLE])


def _layer_rows(
    first_uid: int, rows: dict[str, Tensor], passages: Sequence[Passage], texts: Sequence[str]
) -> pa.Table:
    chosen = [passages[i] for i in rows["image_id"].tolist()]
    heatmap = rows["heatmap"].float()
    values = rows["heatmap_zero"][:, None] + rows["heatmap_scale"][:, None] * heatmap
    lengths = np.array([len(passage.token_ids) for passage in chosen], dtype=np.int64)
    is_inside = np.arange(heatmap.shape[1]) < lengths[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    tokens = [texts[i] for passage in chosen for i in passage.token_ids]
    columns: dict[str, Any] = {
        "uid": rows["unit"].numpy() + first_uid,
        "rank": rows["rank"].numpy(),
        "source": [passage.source for passage in chosen],
        "passage": [passage.number for passage in chosen],
        "activation": rows["activation"].numpy(),
        "position": rows["patch"].numpy(),
        "tokens": pa.ListArray.from_arrays(offsets, pa.array(tokens, pa.string())),
        "activations": pa.ListArray.from_arrays(offsets, values.numpy()[is_inside]),
    }
    schema = EXPERIMENT_SCHEMAS[TABLE]
    return pa.table(columns).select(schema.names).cast(schema)
