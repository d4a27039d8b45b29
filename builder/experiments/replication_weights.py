"""Printed tokens of units beside what the language model's weights alone say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from atlas_db.records import unit_name
from atlas_db.run_format import N_TOKENS
from builder.decoding import float32_product
from builder.experiments.context import ExperimentContext
from builder.experiments.replication_rows import Row, row
from builder.language_model import LanguageModel

SECTION = "decoded units"


def decoded_rows(context: ExperimentContext, printed: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Compare the printed tokens of units with four readings of "decoding"; rows by reading."""
    units = [*printed["decoded_units"], *printed["decoded_uninterpretable_units"]]
    vocabulary = context.run.table("vocabulary").sort_by("token_id")["token"].to_pylist()
    readings: dict[str, list[Row]] = {}
    for norm, has_bias in product((False, True), (False, True)):
        reading = f"{'with' if norm else 'without'} final norm, {'with' if has_bias else 'without'}"
        reading += " bias"
        found = decode(context.model, units, len(vocabulary), norm=norm, has_bias=has_bias)
        readings[reading] = [
            _row(unit, [vocabulary[i].strip() for i in ids], reading)
            for unit, ids in zip(units, found, strict=True)
        ]
    return readings


def _row(unit: Mapping[str, Any], tokens: Sequence[str], reading: str) -> Row:
    wanted = list(unit["top_tokens"])
    ours = list(tokens[: len(wanted)])
    shared = f"{len(set(ours) & set(wanted))} of {len(set(wanted))} words in common."
    item = f"{unit_name(unit['layer'], unit['unit'])}, {reading}"
    return row(SECTION, item, ", ".join(wanted), ", ".join(ours), ours == wanted, shared)


@torch.no_grad()
def decode(
    model: LanguageModel,
    units: Sequence[Mapping[str, Any]],
    n_tokens: int,
    *,
    norm: bool,
    has_bias: bool,
) -> list[list[int]]:
    """Give the most probable tokens of units, {"layer", "unit"} each."""
    vectors = torch.stack([model.write_vectors(unit["layer"])[unit["unit"]] for unit in units])
    if norm:
        vectors = model.final_norm(vectors)
    columns = model.unembedding[:n_tokens].T
    logits = float32_product(vectors, columns)
    bias: Tensor | None = getattr(model.model.get_output_embeddings(), "bias", None)
    if has_bias and bias is not None:
        logits = logits + bias[:n_tokens].float()
    ids: list[list[int]] = logits.topk(min(N_TOKENS, n_tokens), dim=1).indices.tolist()
    return ids
