"""What the weights alone say of every unit: decoded tokens and neighbours.

Unit k writes its row of W_out into the residual stream. Its decoding is
softmax(W_U W_out[k]), the ten most probable tokens (Schwettmann et al. 2023, section 2.2), and
here also the ten that it suppresses most, softmax(-W_U W_out[k]).

Whether the final norm comes first is not said in the paper. The default is without: the formula
is taken as printed, and the norm would divide by the length of one write vector where the model
divides by that of a whole residual stream. `norm="final"` applies it, its bias included; the
unembedding's bias, the same for all units, is left out in both.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import torch
from torch import Tensor

from atlas_db.run_format import N_NEIGHBOURS, N_TOKENS
from builder.language_model import LanguageModel

#: Rows of one matrix product: 1024 x 50,400 float32 logits are 206 MB.
_CHUNK = 1024
NORMS = ("none", "final")


@torch.no_grad()
def decode_units(
    model: LanguageModel, n_tokens: int, *, norm: str = "none", k: int = N_TOKENS
) -> Iterator[pa.Table]:
    """Decode every unit, both signs; a table of `unit_tokens` for each layer.

    Args:
        model: Its unembedding's first `n_tokens` rows are tokens; the rest is padding.
        n_tokens: Size of the tokenizer's vocabulary.
        norm: `none` or `final`: whether the final norm is applied to the write vector.
        k: Tokens for each sign.

    Raises:
        ValueError: `norm` is neither.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    unembedding = model.unembedding[:n_tokens]
    k = min(k, n_tokens)
    for layer in model.layers:
        vectors = model.write_vectors(layer)
        chunks = []
        for start in range(0, model.d_mlp, _CHUNK):
            rows = vectors[start : start + _CHUNK]
            if norm == "final":
                rows = model.final_norm(rows)
            logits = (rows @ unembedding.T).to(torch.promote_types(rows.dtype, torch.float32))
            first_uid = layer * model.d_mlp + start
            chunks += [_token_rows(logits, sign, k, first_uid) for sign in (1, -1)]
        yield pa.concat_tables(chunks).sort_by([("uid", "ascending"), ("sign", "descending")])


def _token_rows(logits: Tensor, sign: int, k: int, first_uid: int) -> pa.Table:
    """Take the top k of `sign * logits` (units, vocabulary) as rows of `unit_tokens`."""
    signed = logits * sign
    top, token_ids = signed.topk(k, dim=1)
    prob = (top - signed.logsumexp(dim=1, keepdim=True)).exp()
    n_units = len(logits)
    return pa.table(
        {
            "uid": torch.arange(n_units).add(first_uid).repeat_interleave(k).numpy(),
            "sign": torch.full((n_units * k,), sign, dtype=torch.int8).numpy(),
            "rank": torch.arange(1, k + 1, dtype=torch.int8).repeat(n_units).numpy(),
            "token_id": token_ids.flatten().cpu().numpy(),
            "logit": (top * sign).flatten().float().cpu().numpy(),
            "prob": prob.flatten().float().cpu().numpy(),
        }
    )


@torch.no_grad()
def write_norms(model: LanguageModel) -> Tensor:
    """Give the length of every unit's write vector: (n_units,) float32, by uid."""
    norms = [model.write_vectors(i).to(torch.float32).norm(dim=1) for i in model.layers]
    return torch.cat(norms).cpu()


@torch.no_grad()
def unit_neighbours(model: LanguageModel, k: int = N_NEIGHBOURS) -> pa.Table:
    """Find each unit's nearest others, over all layers, by cosine of the write vectors."""
    vectors = torch.cat([model.write_vectors(i) for i in model.layers])
    uids = torch.arange(len(vectors), device=vectors.device)
    return _neighbours(vectors, uids, k, ("uid", "neighbour_uid"))


@torch.no_grad()
def token_neighbours(
    model: LanguageModel, token_ids: Tensor, n_tokens: int, k: int = N_NEIGHBOURS
) -> pa.Table:
    """Find the tokens nearest to each of `token_ids` by cosine of the unembedding's rows."""
    vectors = model.unembedding[:n_tokens]
    return _neighbours(vectors, token_ids.to(vectors.device), k, ("token_id", "neighbour_id"))


def _neighbours(vectors: Tensor, rows: Tensor, k: int, names: tuple[str, str]) -> pa.Table:
    """Take for each of `rows` the k other rows of `vectors` (n, d) of greatest cosine."""
    unit_vectors = torch.nn.functional.normalize(vectors.to(torch.float32), dim=1)
    k = min(k, len(vectors) - 1)
    found = [_top_cosines(unit_vectors, part, k) for part in rows.split(_CHUNK)]
    cosine = torch.cat([part[0] for part in found])
    neighbour = torch.cat([part[1] for part in found])
    return pa.table(
        {
            names[0]: rows.repeat_interleave(k).cpu().numpy(),
            "rank": torch.arange(1, k + 1, dtype=torch.int8).repeat(len(rows)).numpy(),
            names[1]: neighbour.flatten().cpu().numpy(),
            "cosine": cosine.flatten().cpu().numpy(),
        }
    )


def _top_cosines(unit_vectors: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scan the columns in blocks, so that memory stays at a block's size."""
    best = torch.full((len(rows), 0), 0.0, device=rows.device)
    index = torch.zeros((len(rows), 0), dtype=torch.int64, device=rows.device)
    for start in range(0, len(unit_vectors), 64 * _CHUNK):
        block = unit_vectors[start : start + 64 * _CHUNK]
        cosine = unit_vectors[rows] @ block.T
        columns = torch.arange(start, start + len(block), device=rows.device)
        cosine.masked_fill_(rows[:, None] == columns, -torch.inf)
        top, where = cosine.topk(min(k, len(block)), dim=1)
        best, index = torch.cat([best, top], dim=1), torch.cat([index, columns[where]], dim=1)
        best, order = best.topk(min(k, best.shape[1]), dim=1)
        index = index.gather(1, order)
    return best, index
